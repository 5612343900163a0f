"""Deleting a person with everything that is theirs, in steps with which anybody can go on.

Once it is decided (``decision.py``) the sweep takes some steps on each pass; ``manage.py delete_user`` takes all.
Each is a transaction that looks for what is left, so that whoever comes second, or after a crash, finds less. The
account goes last.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session as Login
from django.db import IntegrityError, transaction

from approvals import audit
from approvals.models import Action
from approvals.signals import StaleAction
from common.db import transact
from common.errors import Busy, NotFound
from common.faults import reach
from copilot.files import removal_of
from copilot.models import File, OperatorEntry, Session, Turn, UsageRecord, User
from copilot.signals import deleting
from copilot.turns.cancel import CONFIRM_SECONDS, finish_unconfirmed, request_stop
from copilot.turns.sessions import delete_session

logger = logging.getLogger(__name__)

#: Rows that one step deletes.
BATCH = 500
#: Logins that one step reads to find a person's.
LOGINS_AT_ONCE = 500
#: Up to which login they were read, for each person who is being deleted. Another process begins again.
_logins_read: dict[uuid.UUID, str] = {}


class Progress(Enum):
    """How far the deletion of a person is."""

    MORE = "more"
    WAITING = "waiting"  # for a turn to end, or for a lock: nothing can be done right now
    DONE = "done"


def being_deleted(most: int) -> list[uuid.UUID]:
    """Return people whose deletion has begun, the earliest first."""
    leaving = User.objects.filter(deleting_at__isnull=False).order_by("deleting_at")
    return list(leaving.values_list("pk", flat=True)[:most])


def go_on(user_id: uuid.UUID) -> Progress:
    """Take one step in the deletion of a person for whom it has begun."""
    user = User.objects.filter(pk=user_id, deleting_at__isnull=False).first()
    if user is None:
        _logins_read.pop(user_id, None)
        return Progress.DONE
    try:
        if _stop(user):
            return Progress.WAITING
        if any(step(user) for step in _STEPS):
            reach("person_step")
            return Progress.MORE
        if not _do_forget(user):
            return Progress.MORE
        _logins_read.pop(user.pk, None)
        return Progress.DONE
    except (Busy, IntegrityError):
        return Progress.WAITING  # somebody works on it, or something came in at the last moment


def _stop(user: User) -> bool:
    """Stop what runs; return whether something still does. A worker that does not answer loses its turn."""
    live = Turn.objects.live().filter(user=user)
    for turn in live.only("session", "status", "stop_requested_at")[:BATCH]:
        try:
            if turn.stop_requested_at is not None and turn.status == Turn.Status.RUNNING:
                finish_unconfirmed(turn.pk, CONFIRM_SECONDS)
            else:
                request_stop(user=user, session_id=turn.session_id, turn_id=turn.pk, reason="stopped")
        except (NotFound, StaleAction, Busy):
            continue  # it moved at this moment: the next look finds it as it is then
    return live.exists()


def _delete_session(user: User) -> int:
    roots = Session.objects.filter(user=user, parent__isnull=True)  # a child goes with its parent
    found = roots.values_list("pk", flat=True)[:1]  # any of them: nothing is sorted for it
    for session_id in found:
        with suppress(NotFound):  # whoever else goes on with it was faster
            delete_session(user=user, session_id=session_id)
    return len(found)


@transact
def _delete_files(user: User) -> int:
    ids = list(File.objects.filter(user=user).values_list("pk", flat=True)[:BATCH])
    File.objects.filter(pk__in=ids).delete()
    transaction.on_commit(removal_of(ids), robust=True)
    return len(ids)


@transact
def _delete_actions(user: User) -> int:
    ids = list(Action.objects.filter(user=user).values_list("pk", flat=True)[:BATCH])
    return Action.objects.filter(pk__in=ids).delete()[0] if ids else 0


def _make_log_nobodys(user: User) -> int:
    return audit.make_nobodys(user.pk, user.get_username(), BATCH)


@transact
def _delete_usage(user: User) -> int:
    ids = list(UsageRecord.objects.filter(user=user).values_list("pk", flat=True)[:BATCH])
    return UsageRecord.objects.filter(pk__in=ids).delete()[0] if ids else 0


def _delete_elsewhere(user: User) -> int:
    return sum(int(count or 0) for _, count in deleting.send(User, user=user))


def _log_out(user: User) -> int:
    """Delete their logins. They are worth nothing since the account is inactive; whose they are is inside them, so
    all that there are have to be read: some in each step, and each once.
    """
    unread = Login.objects.filter(pk__gt=_logins_read.get(user.pk, "")).order_by("pk")
    logins = list(unread[:LOGINS_AT_ONCE])
    mine = [login.pk for login in logins if login.get_decoded().get(SESSION_KEY) == str(user.pk)]
    if mine:
        Login.objects.filter(pk__in=mine).delete()
    if logins:
        _logins_read[user.pk] = logins[-1].pk
    return len(logins)


_STEPS: tuple[Callable[[User], int], ...] = (
    _delete_session,
    _delete_files,
    _delete_actions,
    _make_log_nobodys,
    _delete_usage,
    _delete_elsewhere,
    _log_out,
)


@transact
def _do_forget(user: User) -> bool:
    """Delete the account with the little that is left; return whether it is gone.

    Raises:
        IntegrityError: a request that was under way has just written something more.
    """
    if Session.objects.filter(user=user).exists():
        return False
    people = ContentType.objects.get_for_model(User)
    LogEntry.objects.filter(content_type=people, object_id=str(user.pk)).delete()
    # Past the model's own refusal: what was done stays on record, to nobody.
    OperatorEntry._base_manager.filter(target_user=user.pk).update(target_user=None)
    found: Any = User.objects.filter(pk=user.pk).select_for_update().first()
    if found is not None:
        found.delete()
        logger.info("person deleted", extra={"action": "person_deleted", "user_id": user.pk})
    return True
