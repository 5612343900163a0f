"""Keys in the admin: to be looked at and revoked, never read or edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from common.errors import NotFound
from linking.keys import revoke_key
from linking.models import PersonalKey


@admin.register(PersonalKey)
class PersonalKeyAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # not subscriptable at run time
    """Read-only; revocation is the one action."""

    list_display = ["prefix", "user", "label", "scopes", "created_at", "last_used_at", "revoked_at"]
    list_select_related = ["user"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["user__username", "label", "prefix"]
    fields = ("user", "label", "scopes", "prefix", "created_at", "last_used_at", "revoked_at")
    readonly_fields = ("user", "label", "scopes", "prefix", "created_at", "last_used_at", "revoked_at")
    show_full_result_count = False
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

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Keys are issued by their owner or by ``manage.py issue_key``."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing of a key can be edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A revoked key stays, as the record that it existed."""
        return False
