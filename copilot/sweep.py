"""The sweep: finds what nobody is looking after and sets it going again. Each rule is one guarded step.

It runs each second on a thread of its own in every process that works, and by hand as ``manage.py sweep``; on
PostgreSQL one at a time, by an advisory lock.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.models import Exists, OuterRef, Q

from approvals import actions as approvals
from approvals.models import Action
from approvals.reach import reach_due
from common.db import db_now, release_connections, seconds_ago, transact
from common.errors import Busy
from copilot.events.log import EventBatch, from_outside
from copilot.files import delete_leftovers, delete_unsent
from copilot.models import Message, Session, Turn, TurnEvent, Worker
from copilot.signals import sweeping
from copilot.turns import children
from copilot.turns.begin import do_pass_on
from copilot.turns.cancel import CONFIRM_SECONDS, finish_unconfirmed, settle_stop
from copilot.turns.dispatch import REDISPATCH_MAX, REDISPATCH_SECONDS, dispatch, run_here, runs_here
from copilot.turns.finish import Ending, do_finish, failed, ran_ms
from copilot.turns.recover import take_over
from copilot.turns.sessions import delete_expired_session, expired_sessions, forget_deleted_turns
from copilot.turns.submit import do_live_turn

logger = logging.getLogger(__name__)

INTERVAL = 1.0
#: A pass that begins this late (a laptop slept) only renews its clock: everyone's heartbeat is as old.
LATE = 10.0
BATCH = 200
#: Turns whose events one pass removes.
PRUNED_AT_ONCE = 50
#: Temporary sessions that one pass deletes.
DELETED_AT_ONCE = 20
#: Logs that one pass compares with the turns; from the newest to the oldest, then again.
LOGS_AT_ONCE = 500
NEWEST = uuid.UUID(int=2**128 - 1)
_looked_before = NEWEST
#: Turns that wait for a person of which one pass looks for what they wait for; the oldest first, then again.
WAITS_AT_ONCE = 500
OLDEST = uuid.UUID(int=0)
_asked_after = OLDEST
#: Queued messages of which one pass looks whether anything runs in their sessions; session by session, then again.
QUEUES_AT_ONCE = 500
_queued_after = OLDEST
ADVISORY_LOCK = 0x686F6C64  # "hold"


def sweep(rules: Sequence[Rule] | None = None) -> dict[str, int]:
    """Make one pass with all rules, or some; return how many rows each acted on, idle rules left out."""
    with _alone() as alone:
        if not alone:
            return {}
        there: dict[str, bool] = {status: _any(status) for status in (Turn.Status.RUNNING, Turn.Status.QUEUED)}
        done = {
            rule.name: rule.act()
            for rule in (RULES if rules is None else rules)
            if rule.about is None or there[rule.about]
        }
    return {name: count for name, count in done.items() if count}


def _any(status: str) -> bool:
    """Whether there is any turn in this state: on most passes of a quiet server there is none to look at."""
    return Turn.objects.filter(status=status).exists()


@contextmanager
def _alone() -> Iterator[bool]:
    if connection.vendor != "postgresql":
        yield True
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_LOCK])
        (alone,) = cursor.fetchone()
    try:
        yield alone
    finally:
        if alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])


def _orphaned() -> int:
    """Running turns whose worker is gone."""
    lease = settings.TURN_LEASE_SECONDS
    return _each(_ids(Turn.objects.orphaned(lease)), lambda turn_id: take_over(turn_id, lease=lease))


def _unconfirmed_stops() -> int:
    """Stop requests that the worker did not act on and whose requester is gone."""
    due = Turn.objects.unconfirmed(CONFIRM_SECONDS)
    return _each(_ids(due), lambda turn_id: finish_unconfirmed(turn_id, CONFIRM_SECONDS))


def _unsettled_stops() -> int:
    """Stop requests for turns that no worker holds, and whose requester is gone: nobody takes such a turn up."""
    due = Turn.objects.to_stop().filter(stop_requested_at__lte=seconds_ago(CONFIRM_SECONDS))
    return _each(_ids(due.exclude(status=Turn.Status.RUNNING)), settle_stop)


def _stalled() -> int:
    """Running turns in which nothing happened for longer than any tool may take."""
    silence = 2 * settings.TOOL_MAX_SECONDS + 60
    detail = f"Nothing happened in this turn for {silence:g} seconds."
    due = Q(status=Turn.Status.RUNNING, progress_at__lt=seconds_ago(silence))
    return _fail(due, failed("stalled", detail, retryable=True))


def _over_time() -> int:
    """Running turns over their time, pauses not counted, whose worker did not end them by itself."""
    limit_ms = (settings.TURN_MAX_SECONDS + 30) * 1000
    ending = failed("timeout", f"The turn ran longer than {settings.TURN_MAX_SECONDS:g} seconds.", retryable=True)
    running = Turn.objects.filter(status=Turn.Status.RUNNING).with_time()
    turns = running.only("status", "fence", "claimed_at", "running_ms")
    over = {turn.pk: Q(fence=turn.fence) for turn in turns if turn.running_ms + ran_ms(turn) > limit_ms}
    return _each(over, lambda turn_id: _fail_one(turn_id, over[turn_id], ending))


def _fail(due: Q, ending: Ending) -> int:
    return _each(_ids(Turn.objects.filter(due)), lambda turn_id: _fail_one(turn_id, due, ending))


@from_outside
@transact
def _fail_one(turn_id: uuid.UUID, due: Q, ending: Ending) -> bool:
    session = Session.objects.locked().filter(turns__pk=turn_id).first()
    turn = Turn.objects.filter(due, pk=turn_id).first()
    if session is None or turn is None:
        return False
    batch = EventBatch.after_log(turn.id)
    do_finish(session, turn, batch, ending)
    batch.write()
    return True


def _orphaned_children() -> int:
    """Turns in child sessions whose parent was stopped or failed."""
    return _each(_ids(children.orphans()), children.stop_orphan)


def _untold_ends() -> int:
    """Turns in child sessions that ended behind the back of their parent."""
    return _each(_ids(children.untold()), children.tell_parent)


def _undispatched() -> int:
    """Queued turns that no worker was told of lately; fewer and fewer times, and not while all slots are taken."""
    if settings.EMBEDDED and not runs_here():
        return 0  # by hand: what this process tells its own broker nobody hears. The server's next pass tells
    slots = sum(Worker.objects.filter(seen_at__gt=seconds_ago(10)).values_list("slots", flat=True))
    if slots and Turn.objects.filter(status=Turn.Status.RUNNING, awaits_child=False).count() >= slots:
        return 0
    due = Turn.objects.claimable().filter(redispatch_at__lte=db_now()).order_by("queued_at")
    turns = list(due.values_list("pk", "dispatches")[:BATCH])
    told = 0
    for turn_id, dispatches in turns:
        if not _note_dispatch(turn_id, dispatches):
            continue
        told += 1
        if not dispatch(turn_id):
            break  # a broker that hangs costs seconds: it is asked once a pass
    if turns:
        # Nobody came for them: Celery may take half a minute to come back to a broker that was away.
        run_here(len(turns))
    return told


def _note_dispatch(turn_id: uuid.UUID, dispatches: int) -> bool:
    wait = min(REDISPATCH_SECONDS * 2 ** min(dispatches + 1, 10), REDISPATCH_MAX)
    waiting = Turn.objects.filter(pk=turn_id, status=Turn.Status.QUEUED, dispatches=dispatches)
    return waiting.update(dispatches=dispatches + 1, redispatch_at=seconds_ago(-wait)) == 1


def _overdue_approvals() -> int:
    """Actions that nobody decided in time."""
    return _each(approvals.expire_overdue(), approvals.expire)


def _waiting_for_nothing() -> int:
    """Turns that wait for a decision which cannot come: what was asked is gone."""
    global _asked_after
    waiting = Turn.objects.filter(status=Turn.Status.REQUIRES_ACTION, action_id__gt=_asked_after)
    rows = waiting.order_by("action_id").values_list("action_id", "pk")[:WAITS_AT_ONCE]
    asked = {action_id: turn_id for action_id, turn_id in rows if action_id}
    _asked_after = max(asked) if len(asked) == WAITS_AT_ONCE else OLDEST
    there = set(Action.objects.pending().filter(pk__in=asked).values_list("pk", flat=True)) if asked else set()
    due = Q(~Exists(Action.objects.pending().filter(pk=OuterRef("action_id"))), status=Turn.Status.REQUIRES_ACTION)
    detail = "What was to be approved is gone, so nothing of it ran."
    ending = failed("unknown", detail, hint="Send the message again.", retryable=True)
    gone = [turn_id for action_id, turn_id in asked.items() if action_id not in there]
    return _each(gone, lambda turn_id: _fail_one(turn_id, due, ending))


def _stranded_messages() -> int:
    """Queued messages, not held, of a session where nothing runs: there must be none."""
    global _queued_after
    queued = Message.objects.filter(state=Message.State.QUEUED, held=False, session_id__gt=_queued_after)
    sessions = list(queued.order_by("session_id").values_list("session_id", flat=True)[:QUEUES_AT_ONCE])
    _queued_after = sessions[-1] if len(sessions) == QUEUES_AT_ONCE else OLDEST
    if not sessions:
        return 0
    live = Turn.objects.live().filter(session_id__in=set(sessions)).values_list("session_id", flat=True)
    return _each(set(sessions) - set(live), _deliver)


@from_outside
@transact
def _deliver(session_id: uuid.UUID) -> bool:
    session = Session.objects.locked().filter(pk=session_id).first()
    if session is None or do_live_turn(session) is not None:
        return False
    waiting = list(session.messages.queued().filter(held=False))
    if not waiting:
        return False
    do_pass_on(session, waiting)
    logger.error("stranded messages delivered", extra={"action": "stranded", "session_id": session_id})
    return True


@transact
def _gone_workers() -> int:
    """Workers that were not seen for a day."""
    return Worker.objects.filter(seen_at__lt=seconds_ago(86400)).delete()[0]


@transact
def _old_events() -> int:
    """Events of turns that ended long ago; the terminal one stays, so that a follower still learns the end."""
    due = Turn.objects.filter(finished_at__lt=seconds_ago(settings.EVENT_RETENTION_SECONDS), pruned=False)
    turns = list(due.values_list("pk", "last_seq")[:PRUNED_AT_ONCE])
    removed = sum(TurnEvent.objects.filter(turn_id=pk, seq__lt=last_seq).delete()[0] for pk, last_seq in turns)
    Turn.objects.filter(pk__in=[pk for pk, _ in turns]).update(pruned=True)
    return removed


def _leftover_events() -> int:
    """Events of turns that were deleted while they ran, and whose worker was lost before it could remove them."""
    global _looked_before
    removed, following = forget_deleted_turns(_looked_before, LOGS_AT_ONCE)
    _looked_before = following or NEWEST
    return removed


def _expired_sessions() -> int:
    """Temporary sessions whose last turn ended long ago."""
    seconds = settings.TEMPORARY_SESSION_SECONDS
    due = expired_sessions(seconds, DELETED_AT_ONCE)
    return _each(due, lambda session_id: delete_expired_session(session_id, seconds))


def _unsent_files() -> int:
    """Uploads that were sent nowhere for a day."""
    return delete_unsent()


def _leftover_contents() -> int:
    """Contents of files that are gone, such as those of deleted people."""
    return delete_leftovers()


def _unreached() -> int:
    """Decisions that wait for somebody who has no page in front."""
    return reach_due()


def _elsewhere() -> int:
    """What other apps look after."""
    return _told(rarely=False)


def _elsewhere_rarely() -> int:
    """What other apps tidy up."""
    return _told(rarely=True)


def _told(*, rarely: bool) -> int:
    return sum(int(count or 0) for _, count in sweeping.send(Rule, rarely=rarely))


def _each(ids: Iterable[uuid.UUID], act: Callable[[uuid.UUID], bool]) -> int:
    """Act on each and count; one that cannot be settled must not keep the others waiting."""
    done = 0
    for row_id in ids:
        try:
            done += act(row_id)
        except (OperationalError, InterfaceError):
            raise  # the database is away: the others would fare no better
        except Busy:
            continue  # somebody works on it right now: the next pass looks again
        except Exception:
            logger.exception("sweep of one row failed", extra={"action": "sweep_row_failed", "row": row_id})
    return done


def _ids(turns: object) -> list[uuid.UUID]:
    return list(turns.values_list("pk", flat=True)[:BATCH])  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to look for: in turns of a state, or in general, on each pass or on each n-th."""

    act: Callable[[], int]
    about: str | None = None
    every: int = 1

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return self.act.__name__.strip("_")

    @property
    def meaning(self) -> str:
        """What it looks for, in a sentence."""
        return " ".join((self.act.__doc__ or "").split())


RULES: tuple[Rule, ...] = (
    Rule(_orphaned, Turn.Status.RUNNING),
    Rule(_unconfirmed_stops, Turn.Status.RUNNING),
    Rule(_unsettled_stops),
    Rule(_stalled, Turn.Status.RUNNING, every=10),
    Rule(_over_time, Turn.Status.RUNNING, every=10),
    Rule(_orphaned_children),
    Rule(_untold_ends),
    Rule(_undispatched, Turn.Status.QUEUED),
    Rule(_overdue_approvals),
    Rule(_waiting_for_nothing, every=60),
    Rule(_unreached, every=2),
    Rule(_stranded_messages),
    Rule(_gone_workers, every=600),
    Rule(_old_events, every=10),
    Rule(_expired_sessions, every=10),
    Rule(_leftover_events, every=60),
    Rule(_unsent_files, every=600),
    Rule(_leftover_contents, every=3600),
    Rule(_elsewhere),
    Rule(_elsewhere_rarely, every=600),
)


class Sweeper:
    """Sweeps each second on a thread of its own."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the pass that runs come to its end, and no other begin."""
        self._ended.set()
        self._thread.join(5)

    def _run(self) -> None:
        last = time.time()
        passes = 0
        while not self._ended.wait(INTERVAL):
            passes += 1
            late = time.time() - last > LATE
            last = time.time()
            if late:
                continue
            try:
                done = sweep([rule for rule in RULES if passes % rule.every == 0])
            except DatabaseError as error:
                logger.warning("sweep failed", extra={"action": "sweep_failed", "error": repr(error)})
            except Exception:
                # A bug in one rule must not end the sweeping of this process.
                logger.exception("sweep failed", extra={"action": "sweep_failed"})
            else:
                if done:
                    logger.info("swept", extra={"action": "swept", **done})
            finally:
                release_connections()
                last = time.time()
