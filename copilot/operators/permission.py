"""Who may act on other people's turns."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission

from copilot.models import User

#: Beyond being a member of staff, who may look; superusers have it.
OPERATE_TURNS = "copilot.operate_turns"


def may_operate(user: Any) -> bool:
    """Whether ``user`` may stop, requeue and clean up turns of everybody."""
    return bool(user.is_active and user.is_staff and user.has_perm(OPERATE_TURNS))


def let_operate(user: User) -> None:
    """Make ``user`` a member of staff who may operate turns."""
    if not user.is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])
    app, name = OPERATE_TURNS.split(".")
    user.user_permissions.add(*Permission.objects.filter(content_type__app_label=app, codename=name))
