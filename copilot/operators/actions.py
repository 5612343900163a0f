"""What operators do to turns that are stuck: stop them, have them taken up, or give them up.

Each act takes the ids of any number of turns and does what is possible: a turn that does not fit any more, or that
somebody else has changed meanwhile, is left as it is and not counted. One that fails is logged and keeps no other
waiting. Each act is recorded with its operator before it begins, and with what came of it when it ends.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError
from django.db.models import QuerySet

from approvals.signals import StaleAction
from common.db import seconds_ago, transact
from common.errors import Busy
from copilot.diagnostics.categories import rows_of
from copilot.diagnostics.invalid import invalid_turns
from copilot.events.log import EventBatch, from_outside
from copilot.models import Session, Turn, User
from copilot.operators import audit
from copilot.turns.dispatch import REDISPATCH_SECONDS, dispatch, run_here
from copilot.turns.finish import Ending, cancelled, do_finish, failed
from copilot.turns.journal import journal
from copilot.turns.stops import CHUNK, request_stops, settle_with_children

logger = logging.getLogger(__name__)

#: Seconds that one request works at most: less than proxies wait. What is left over is done by doing it again.
WORK_SECONDS = 45.0
#: Seconds in which a request settles the stops that it stored; the sweep settles the others.
SETTLE_SECONDS = 15.0
#: Ids that a record keeps; of larger selections it keeps the number.
NOTED_IDS = 50
#: Categories that no worker looks after.
ABANDONED = ("orphaned", "stuck_queued")


@dataclass(slots=True)
class Outcome:
    """How many turns an act was wanted for, and how many it changed."""

    requested: int
    affected: int = 0


def stop(turn_ids: Iterable[uuid.UUID], *, operator: User, category: str = "") -> Outcome:
    """Ask turns to stop, with all that they started; counts those that had not ended.

    Nothing is waited for: who waits for a worker or a person ends now or within seconds, who runs when its worker
    hears of it, and at the latest when it is taken from it.
    """
    with _recorded("stop", turn_ids, operator, category) as (ids, outcome):
        asked: dict[uuid.UUID, bool] = {}
        for start in range(0, len(ids), CHUNK):
            asked |= request_stops(ids[start : start + CHUNK], reason="operator")
            outcome.affected = len(asked)  # stored for good, also if the next ones cannot be
        unheld = [turn_id for turn_id, is_held in asked.items() if not is_held]
        for turn_id in _while_time_lasts(unheld, SETTLE_SECONDS):
            _tried(lambda pk: settle_with_children(pk, actor=operator.get_username()), turn_id)
    return outcome


def requeue(turn_ids: Iterable[uuid.UUID], *, operator: User, category: str = "") -> Outcome:
    """Have queued turns taken up now; the same turns, of the same people. Others are left alone."""
    with _recorded("requeue", turn_ids, operator, category) as (ids, outcome):
        heard = True
        for turn_id in _while_time_lasts(ids, WORK_SECONDS):
            if _tried(_make_due, turn_id):
                outcome.affected += 1
                heard = heard and dispatch(turn_id)  # a broker that hangs costs seconds: it is asked once
        if not heard:
            run_here(outcome.affected)
    return outcome


def cleanup(turn_ids: Iterable[uuid.UUID], *, operator: User, category: str = "") -> Outcome:
    """Fail turns that no worker looks after; those of ``category``, or of any such category.

    Whether one still is among them is decided under its locks: a turn whose worker came back is left to it.
    """
    categories = (category,) if category else ABANDONED
    with _recorded("cleanup", turn_ids, operator, category) as (ids, outcome):
        for turn_id in _while_time_lasts(ids, WORK_SECONDS):
            outcome.affected += _tried(lambda pk: _give_up(pk, categories), turn_id)
    return outcome


#: What operators may do to turns, by the names that categories and addresses use.
ACTIONS: dict[str, Callable[..., Outcome]] = {"stop": stop, "requeue": requeue, "cleanup": cleanup}


def fitting(action: str) -> QuerySet[Turn]:
    """Return the turns that an act could be done to right now, by its name in ``ACTIONS``."""
    match action:
        case "stop":
            return Turn.objects.live()
        case "requeue":
            return _waiting()
        case _:
            return rows_of("orphaned") | rows_of("stuck_queued")


def _waiting() -> QuerySet[Turn]:
    return Turn.objects.filter(status=Turn.Status.QUEUED, stop_requested_at__isnull=True)


@transact
def _make_due(turn_id: uuid.UUID) -> bool:
    due = {"not_before": None, "dispatches": 0, "redispatch_at": seconds_ago(-REDISPATCH_SECONDS)}
    if _waiting().filter(pk=turn_id).update(**due) != 1:
        return False
    journal(turn_id, "requeued")
    return True


@from_outside
@transact
def _give_up(turn_id: uuid.UUID, categories: Sequence[str]) -> bool:
    session = Session.objects.locked().filter(turns__pk=turn_id).first()
    # Locked as it is found: a heartbeat comes before that, and the turn is not found, or too late.
    found = (rows_of(name).locked().filter(pk=turn_id).first() for name in categories)
    turn = next((turn for turn in found if turn is not None), None)
    if session is None or turn is None:
        return False
    batch = EventBatch.after_log(turn.id)
    do_finish(session, turn, batch, _given_up(turn))
    batch.write()
    return True


def _given_up(turn: Turn) -> Ending:
    if turn.stop_requested_at is not None:
        return cancelled(turn.stop_reason or "stopped")
    hint = "Send the message again."
    if turn.status == Turn.Status.RUNNING:
        detail = "The process that ran this turn was lost, and the operator gave the turn up."
        return failed("worker_lost", detail, hint=hint, retryable=True)
    detail = "No worker took up this turn for a long time, and the operator gave it up."
    return failed("stalled", detail, hint=hint, retryable=True)


def _tried(act: Callable[[uuid.UUID], bool], turn_id: uuid.UUID) -> bool:
    try:
        return act(turn_id)
    except (OperationalError, InterfaceError):
        raise  # the database is away: the others would fare no better
    except (Busy, StaleAction):
        logger.warning("turn is busy", extra={"action": "operator_busy", "turn_id": turn_id})
    except Exception:
        logger.exception(
            "operator's act on one turn failed", extra={"action": "operator_failed", "turn_id": turn_id}
        )
    return False


def _while_time_lasts(ids: Sequence[uuid.UUID], seconds: float) -> Iterator[uuid.UUID]:
    end = time.monotonic() + seconds
    for done, turn_id in enumerate(ids):
        if time.monotonic() > end:
            logger.warning(
                "operator's act cut short", extra={"action": "operator_cut_short", "left": len(ids) - done}
            )
            return
        yield turn_id


@contextmanager
def _recorded(
    action: str, turn_ids: Iterable[uuid.UUID], operator: User, category: str
) -> Iterator[tuple[list[uuid.UUID], Outcome]]:
    """Record the act before it begins, and then what has come of it, also if it breaks off.

    Invalid turns are asked for and never touched: somebody has to look at each.
    """
    ids = list(dict.fromkeys(turn_ids))
    invalid = set(invalid_turns().values_list("pk", flat=True))
    outcome = Outcome(requested=len(ids))
    data = {"turns": [str(turn_id) for turn_id in ids]} if len(ids) <= NOTED_IDS else {}
    entry = audit.begin(operator, action, category=category, requested=outcome.requested, data=data)
    try:
        yield [turn_id for turn_id in ids if turn_id not in invalid], outcome
    finally:
        audit.end(entry, affected=outcome.affected)
        about = {"operator": operator.pk, "of_category": category or None}
        counts = {"requested": outcome.requested, "affected": outcome.affected}
        logger.info("operator acted", extra={"action": f"operator_{action}", **about, **counts})
