"""Approvals in the admin: to be looked at. Staff may end what waits, and never decide for another person."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from approvals.actions import cancel, expire
from approvals.models import Action, AuditEntry, Rule
from approvals.objects import action_object
from approvals.signals import StaleAction
from common.admin import ReadOnlyAdmin, short
from common.errors import Busy


def _readable(value: object) -> str:
    """JSON as people read it; escaped like any text."""
    return json.dumps(value, ensure_ascii=False, indent=2) if value not in (None, {}, []) else "-"


@admin.register(Action)
class ActionAdmin(ReadOnlyAdmin):
    """What people are asked. What it is about is on its own page only, as the person is shown it."""

    actions = ("expire_selected", "stop_turns")
    list_display = (
        "short_id",
        "kind",
        "status",
        "user",
        "of_turn",
        "surface",
        "created_at",
        "expires_at",
        "resolved_at",
    )
    list_filter = ("status", "kind", "created_at")
    list_select_related = ("user",)
    search_fields = ("user__username",)
    id_columns = ("pk", "turn", "session")
    ordering = ("-pk",)
    fields = (
        "id",
        "kind",
        "status",
        "user",
        "session",
        "turn",
        "question",
        "options",
        "asked",
        "reason",
        "scopes",
        "goes_on",
        "created_at",
        "expires_at",
        "resolved_at",
        "reached_at",
        "decided_by",
        "surface",
        "scope",
        "decided",
        "answer",
    )
    readonly_fields = ("asked", "decided")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Action]:
        """Lists are read without what it is about, and nobody is shown what is sealed."""
        return super().get_queryset(request).defer("requests", "decisions", "sealed", "digest")

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Who may change actions may end them; there is nothing else about them to change."""
        return request.user.has_perm("approvals.change_action")

    @admin.display(description="id", ordering="pk")
    def short_id(self, action: Action) -> str:
        """The end of the id."""
        return short(action.pk)

    @admin.display(description="turn", ordering="turn")
    def of_turn(self, action: Action) -> str:
        """The end of the turn's id."""
        return short(action.turn)

    @admin.display(description="requests")
    def asked(self, action: Action) -> str:
        """What the person is shown."""
        return _readable(action_object(action)["requests"])

    @admin.display(description="decisions")
    def decided(self, action: Action) -> str:
        """What the person decided, as it is shown."""
        return _readable(action_object(action).get("decisions"))

    @admin.action(description="Expire now, as if nobody had answered", permissions=["end"])
    def expire_selected(self, request: HttpRequest, queryset: QuerySet[Action]) -> None:
        """End the selected ones that still wait as their time would."""
        actor = request.user.get_username()
        self._end(request, queryset, lambda pk: expire(pk, actor=actor, surface="admin"), "Expired")

    @admin.action(description="Stop their turns", permissions=["end"])
    def stop_turns(self, request: HttpRequest, queryset: QuerySet[Action]) -> None:
        """End the turns that wait for the selected ones."""
        actor = request.user.get_username()
        self._end(
            request, queryset, lambda pk: cancel(pk, reason="operator", actor=actor, surface="admin"), "Stopped"
        )

    def _end(
        self, request: HttpRequest, queryset: QuerySet[Action], end: Callable[[uuid.UUID], bool], done: str
    ) -> None:
        """End them one by one: each under the locks of its own turn, whatever becomes of the others."""
        counts = {"ended": 0, "not waiting": 0, "busy": 0}
        for pk in queryset.values_list("pk", flat=True):
            try:
                counts["ended" if end(pk) else "not waiting"] += 1
            except (StaleAction, Busy):
                counts["busy"] += 1
        words = [f"{done} {counts['ended']}."]
        if counts["not waiting"]:
            words.append(f"{counts['not waiting']} did not wait any more.")
        if counts["busy"]:
            words.append(f"{counts['busy']} moved at this moment: look again.")
        self.message_user(request, " ".join(words), messages.WARNING if counts["busy"] else messages.SUCCESS)


@admin.register(Rule)
class RuleAdmin(ReadOnlyAdmin):
    """What people want remembered; each revokes their own."""

    list_display = ("short_id", "user", "tool", "everywhere", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("user",)
    search_fields = ("user__username", "tool")
    id_columns = ("pk", "session")
    ordering = ("-pk",)
    fields = ("id", "user", "session", "tool", "pattern", "created_at")

    @admin.display(description="id", ordering="pk")
    def short_id(self, rule: Rule) -> str:
        """The end of the id."""
        return short(rule.pk)

    @admin.display(description="all sessions", boolean=True)
    def everywhere(self, rule: Rule) -> bool:
        """Whether it counts in every session."""
        return rule.session is None


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who decided what. What it was about is on its own page only."""

    list_display = ("at", "event", "decision", "tool", "user", "actor", "surface", "scope", "of_action")
    list_filter = ("event", "at")
    list_select_related = ("user",)
    search_fields = ("user__username", "actor", "tool")
    id_columns = ("pk", "action", "session", "turn", "tool_call")
    ordering = ("-at", "-pk")
    fields = (
        "id",
        "at",
        "event",
        "user",
        "actor",
        "surface",
        "action",
        "session",
        "turn",
        "tool_call",
        "tool",
        "decision",
        "scope",
        "text",
        "as_shown",
        "as_decided",
    )
    readonly_fields = ("as_shown", "as_decided")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        """Lists are read without texts and arguments."""
        return super().get_queryset(request).defer("text", "shown", "final")

    @admin.display(description="approval", ordering="action")
    def of_action(self, entry: AuditEntry) -> str:
        """The end of the action's id."""
        return short(entry.action)

    @admin.display(description="shown")
    def as_shown(self, entry: AuditEntry) -> str:
        """The arguments that the person was shown."""
        return _readable(entry.shown)

    @admin.display(description="final")
    def as_decided(self, entry: AuditEntry) -> str:
        """The arguments with which the call may run, as they are shown."""
        return _readable(entry.final)
