"""Keys, bots and links in the admin: to be looked at, switched off and removed; no secret is ever shown."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from common.errors import NotFound
from linking import webhook_admin  # noqa: F401 - registers its pages
from linking.admin_base import Looking
from linking.bots import revoke_bot_key, switch_bot
from linking.keys import revoke_key
from linking.links import unlink
from linking.models import Bot, BotKey, Link, LinkToken, PersonalKey, ServerLink, Thread, UserLink


@admin.register(PersonalKey)
class PersonalKeyAdmin(Looking):
    """Read-only; revocation is the one action."""

    list_display = ["prefix", "user", "label", "scopes", "created_at", "last_used_at", "revoked_at"]
    list_select_related = ["user"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["user__username", "label", "prefix"]
    fields = ("user", "label", "scopes", "prefix", "created_at", "last_used_at", "revoked_at")
    actions = ["revoke"]

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[PersonalKey]) -> None:
        """Revoke each key and say how many there were to revoke."""
        revoked = 0
        for key in queryset.select_related("user"):
            try:
                revoke_key(user=key.user, key_id=key.pk)
            except NotFound:
                continue  # revoked before
            revoked += 1
        self.message_user(request, f"Revoked: {revoked}.", messages.SUCCESS)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Allow revocation to those who may change keys."""
        return bool(request.user.has_perm("linking.change_personalkey"))


@admin.register(Bot)
class BotAdmin(Looking):
    """Read-only; a bot can be switched off and on."""

    list_display = ["name", "platform", "created_at", "disabled_at"]
    list_filter = ["platform", ("disabled_at", admin.EmptyFieldListFilter)]
    search_fields = ["name"]
    fields = ("name", "platform", "created_at", "disabled_at")
    actions = ["switch_off", "switch_on"]

    @admin.action(description="Switch the selected bots off", permissions=["switch"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Bot]) -> None:
        """Make all their keys useless until they are switched on again."""
        done = sum(switch_bot(bot_id=bot.pk, on=False) for bot in queryset)
        self.message_user(request, f"Switched off: {done}.", messages.SUCCESS)

    @admin.action(description="Switch the selected bots on", permissions=["switch"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[Bot]) -> None:
        """Let their keys work again."""
        done = sum(switch_bot(bot_id=bot.pk, on=True) for bot in queryset)
        self.message_user(request, f"Switched on: {done}.", messages.SUCCESS)

    def has_switch_permission(self, request: HttpRequest) -> bool:
        """Allow it to those who may change bots."""
        return bool(request.user.has_perm("linking.change_bot"))


@admin.register(BotKey)
class BotKeyAdmin(Looking):
    """Read-only; revocation is the one action."""

    list_display = ["prefix", "bot", "scopes", "created_at", "last_used_at", "revoked_at"]
    list_select_related = ["bot"]
    list_filter = ["bot", ("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["bot__name", "prefix"]
    fields = ("bot", "scopes", "prefix", "created_at", "last_used_at", "revoked_at")
    actions = ["revoke"]

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[BotKey]) -> None:
        """Revoke each key and say how many there were to revoke."""
        revoked = sum(revoke_bot_key(key_id=key.pk) for key in queryset)
        self.message_user(request, f"Revoked: {revoked}.", messages.SUCCESS)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Allow revocation to those who may change keys."""
        return bool(request.user.has_perm("linking.change_botkey"))


class _LinkAdmin(Looking):
    """Read-only, but for removing links; the owner can do so too."""

    list_display = ["__str__", "bot", "owner", "asked_by_name", "created_at"]
    list_select_related = ["bot", "owner"]
    list_filter = ["bot__platform", "bot"]
    search_fields = ["owner__username", "platform_name", "platform_id"]

    def has_delete_permission(self, request: HttpRequest, obj: Link | None = None) -> bool:
        """Ask Django's own permission."""
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Let threads go with their link, though nobody deletes one by itself."""
        shown, counts, _, protected = super().get_deleted_objects(objs, request)
        return shown, counts, set(), protected

    def delete_model(self, request: HttpRequest, obj: Link) -> None:
        """Unlink as the owner would: what the bot asked for there is stopped."""
        with suppress(NotFound):  # the owner was faster
            unlink(user=obj.owner, link_id=obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Link]) -> None:
        """Unlink each of them."""
        for link in queryset.select_related("owner"):
            self.delete_model(request, link)


@admin.register(ServerLink)
class ServerLinkAdmin(_LinkAdmin):
    """Links of servers."""

    fields = (
        "bot",
        "owner",
        "platform_id",
        "platform_name",
        "asked_by",
        "asked_by_name",
        "allows_personal",
        "created_at",
    )


@admin.register(UserLink)
class UserLinkAdmin(_LinkAdmin):
    """Links of private messages."""

    fields = ("bot", "owner", "platform_id", "platform_name", "asked_by", "asked_by_name", "created_at")


@admin.register(Thread)
class ThreadAdmin(Looking):
    """Which sessions are conversations on a platform."""

    list_display = ["created_at", "bot", "place", "session_id"]
    list_select_related = ["bot", "server_link", "user_link"]
    list_filter = ["bot"]
    search_fields = ["thread_id", "=session__id"]
    fields = ("bot", "server_link", "user_link", "thread_id", "session_id", "created_at")

    @admin.display(description="place")
    def place(self, thread: Thread) -> str:
        """What is linked."""
        return str(thread.link)


@admin.register(LinkToken)
class LinkTokenAdmin(Looking):
    """Read-only, without what a token or code could be found by."""

    list_display = ["created_at", "kind", "bot", "platform_name", "wrong_codes", "expires_at", "used_at"]
    list_select_related = ["bot"]
    list_filter = ["kind", "bot", ("used_at", admin.EmptyFieldListFilter)]
    search_fields = ["platform_name", "platform_id"]
    fields = (
        "bot",
        "kind",
        "platform_id",
        "platform_name",
        "platform_user_id",
        "platform_user_name",
        "wrong_codes",
        "created_at",
        "expires_at",
        "used_at",
        "superseded_at",
    )
