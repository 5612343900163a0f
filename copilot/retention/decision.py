"""The decision to delete a person: it locks them out and marks the account, and there is no way back from it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable

from django.contrib.auth.hashers import make_password
from django.db.models import QuerySet

from common.db import db_now, transact
from common.errors import Conflict, NotFound
from copilot.models import User
from copilot.operators.audit import record

logger = logging.getLogger(__name__)


@transact
def begin_deletion(user_id: uuid.UUID, *, by: User | None, operated: bool) -> None:
    """Lock a person out for good and have everything of theirs deleted. Again: changes nothing.

    Args:
        by: who decided it: the person, or an operator; None: somebody at the server's own command line.
        operated: it is an act of an operator, and goes on their record.

    Raises:
        NotFound: there is no such person.
        Conflict: ``last_superuser``: nobody would be left to operate the server.
    """
    chiefs = _lock_chiefs()
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        raise NotFound("There is no such user.")
    if [chief.pk for chief in chiefs] == [user.pk]:
        raise Conflict(
            f"{user.get_username()} is the last active superuser. Make somebody else one first.",
            code="last_superuser",
        )
    locked_out = {"is_active": False, "password": make_password(None)}
    if not User.objects.filter(pk=user.pk, deleting_at__isnull=True).update(deleting_at=db_now(), **locked_out):
        return
    if operated:
        record(by, "delete_user", target_user=user, requested=1, affected=1)
    logger.info("deleting a person", extra={"action": "person_deleting", "user_id": user.pk})


def leaves_a_superuser(people: Iterable[User]) -> bool:
    """Whether somebody could operate the server without these people, if anybody can now."""
    chiefs = set(_chiefs().values_list("pk", flat=True))
    return not chiefs or not chiefs <= {user.pk for user in people}


def _lock_chiefs() -> list[User]:
    """Return who can operate the server. Of two who go at once, the second one sees that the first is gone."""
    return list(_chiefs().select_for_update(no_key=True).order_by("pk"))


def _chiefs() -> QuerySet[User]:
    return User.objects.filter(is_superuser=True, is_active=True)
