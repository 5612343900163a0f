"""What the admin pages of this app share."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest


class Looking(admin.ModelAdmin):  # type: ignore[type-arg] # not subscriptable at run time
    """Nothing can be added, edited or deleted; what can be done is an action."""

    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All that is shown."""
        return self.fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Rows are made by commands and by people's confirmations."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing can be edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What is revoked or over stays, as the record that it existed."""
        return False
