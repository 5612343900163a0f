"""Taking a turn over from a worker that is gone, and handing one back that stops in good order."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from common.db import db_now, seconds_ago, transact
from common.metrics import handed_back, taken_over
from copilot.events import schema
from copilot.events.log import EventBatch, StaleTurn, from_outside
from copilot.models import Session, Turn
from copilot.models.session import locked_session
from copilot.turns.begin import do_touch_session
from copilot.turns.claim import PROBATION_ATTEMPT
from copilot.turns.dispatch import REDISPATCH_SECONDS, dispatch_on_commit
from copilot.turns.finish import Ending, cancelled, do_finish, failed, ran_ms
from copilot.turns.journal import journal, touch

logger = logging.getLogger(__name__)

#: Seconds that a turn on probation waits before it may run again.
PROBATION_SECONDS = 10


def take_over(turn_id: uuid.UUID, *, lease: float) -> bool:
    """Take over a running turn whose lease ran out ``lease`` seconds ago or more.

    Return whether it was ours to take. It is queued again, ended as stopped when somebody had asked for that, or
    failed as ``worker_lost`` after ``TURN_MAX_ATTEMPTS``.
    """
    session_id = Turn.objects.filter(pk=turn_id).values_list("session_id", flat=True).first()
    if session_id is None:
        return False
    return _take_over(session_id, turn_id, lease)


@from_outside
@transact
def _take_over(session_id: uuid.UUID, turn_id: uuid.UUID, lease: float) -> bool:
    session = Session.objects.locked().filter(pk=session_id).first()
    turn = Turn.objects.orphaned(lease).locked().filter(pk=turn_id).first()
    if session is None or turn is None:
        return False
    do_take_over(session, turn)
    return True


def do_take_over_if_orphaned(session: Session, turn: Turn) -> bool:
    """Take ``turn`` over if its lease ran out; so nothing needs a timer to be alive. Under the session lock."""
    if turn.status != Turn.Status.RUNNING:
        return False
    orphan = Turn.objects.orphaned(settings.TURN_LEASE_SECONDS).locked().filter(pk=turn.pk).first()
    if orphan is None:
        return False
    do_take_over(session, orphan)
    return True


def take_over_on_sight(turn: Turn) -> bool:
    """Take ``turn`` over if the row that was read looks like an expired lease; for whoever opens its session.

    Cheap where there is nothing to do: the database is asked only when this host's clock finds the lease old.
    """
    lease = settings.TURN_LEASE_SECONDS
    if turn.status != Turn.Status.RUNNING or turn.heartbeat_at is None:
        return False
    if timezone.now() - turn.heartbeat_at < timedelta(seconds=lease):
        return False
    return take_over(turn.id, lease=lease)


def do_take_over(session: Session, turn: Turn) -> None:
    """Give up the worker of a turn that was read as orphaned under the session lock."""
    batch = EventBatch.after_log(turn.id)
    if turn.stop_requested_at is not None:
        do_finish(session, turn, batch, cancelled(turn.stop_reason or "stopped"))
    elif turn.attempt >= settings.TURN_MAX_ATTEMPTS:
        do_finish(session, turn, batch, _worker_lost(turn))
    else:
        attempt = turn.attempt + 1
        wait = PROBATION_SECONDS if attempt >= PROBATION_ATTEMPT else 0
        transaction.on_commit(taken_over.inc, robust=True)
        _requeue(turn, attempt=attempt, not_before=seconds_ago(-wait) if wait else None)
        batch.append(schema.status("recovered", attempt=attempt))
        journal(turn.id, "recovered", attempt=attempt, worker=str(turn.worker), fence=turn.fence + 1)
        do_touch_session(session)
        if not wait:
            dispatch_on_commit(turn.id)
    batch.write()
    logger.warning(
        "turn taken over", extra={"action": "turn_taken_over", "turn_id": turn.id, "attempt": turn.attempt}
    )


def _worker_lost(turn: Turn) -> Ending:
    return failed(
        "worker_lost",
        f"The process that ran this turn was lost {turn.attempt} times.",
        hint="Send the message again. If it happens again, ask the operator to look at the worker's log.",
        retryable=True,
    )


def hand_back(batch: EventBatch, *, session_id: uuid.UUID, turn_id: uuid.UUID, fence: int) -> None:
    """Queue a turn again as the worker that holds it, because this process stops. Costs no attempt.

    A turn that somebody asked to stop ends instead.

    Raises:
        StaleTurn: it is held no longer.
    """
    sessions = locked_session(session_id)
    if not sessions:
        raise StaleTurn
    session = sessions[0]
    touch(turn_id, fence)
    turn = Turn.objects.get(pk=turn_id)
    if turn.stop_requested_at is not None:  # nobody would claim it: it would wait for ever
        do_finish(session, turn, batch, cancelled(turn.stop_reason or "stopped"))
        return
    transaction.on_commit(handed_back.inc, robust=True)
    _requeue(turn, attempt=turn.attempt, not_before=None)
    batch.append(schema.status("recovered", reason="handed_back"))
    journal(turn.id, "handed_back", fence=turn.fence + 1)
    do_touch_session(session)
    dispatch_on_commit(turn.id)


def _requeue(turn: Turn, **changes: object) -> None:
    changed = Turn.objects.held_by(turn.id, turn.fence).update(
        status=Turn.Status.QUEUED,
        fence=F("fence") + 1,
        worker=None,
        heartbeat_at=None,
        queued_at=db_now(),
        redispatch_at=seconds_ago(-REDISPATCH_SECONDS),
        dispatches=0,
        running_ms=F("running_ms") + ran_ms(turn),
        **changes,
    )
    if changed != 1:
        raise StaleTurn
