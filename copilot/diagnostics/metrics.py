"""How the server does, in figures: one measurement, of one moment, in a few queries that all have an index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, Q
from django.db.models.functions import TruncHour

from common.db import db_now, read_clock, seconds_ago
from copilot.diagnostics.broker import queue_depth
from copilot.diagnostics.categories import HOURS, counts
from copilot.diagnostics.facts import snapshot
from copilot.diagnostics.invalid import KINDS, invalid_turns
from copilot.models import Message, Turn, TurnEvent, Worker
from copilot.turns.finish import ran_ms

#: Seconds that the broker may take to connect, and to answer.
PATIENCE = 0.25
#: The latest claims that the dispatch lag is made of.
CLAIMS = 200
#: Hours of the series.
SERIES = 24
#: Workers that are listed, those that were seen last.
WORKERS = 200
_HOUR, _DAY = 3600, 86_400


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A process that runs turns, as it described itself ``seen_seconds`` ago."""

    host: str
    pid: int
    version: str
    slots: int
    running: int
    seen_seconds: float
    loop_lag_ms: int
    stopping: bool
    #: Its lease has not run out: its turns are its own.
    alive: bool


@dataclass(frozen=True, slots=True)
class DispatchLag:
    """Milliseconds from a turn's place in the queue to its claim, over the latest ``claims`` of them."""

    claims: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class LogSize:
    """How much the event log holds: estimates, because counting would read all of it."""

    #: None: the database has not looked yet.
    rows: int | None
    #: On SQLite of the whole database.
    bytes: int


@dataclass(frozen=True, slots=True)
class Hour:
    """What ended within the hour that begins ``at`` a moment."""

    at: datetime
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How many turns ended in a way: within the last hour, within the last day."""

    hour: int
    day: int

    @property
    def per_hour(self) -> float:
        """How many within an hour of the last day."""
        return round(self.day / 24, 2)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of one moment."""

    #: On the database's clock.
    timestamp: datetime
    #: Of look-back, for ``counts["failed"]``.
    hours: float
    #: Turns by category, as many as its list has.
    counts: dict[str, int]
    #: Invalid turns by what is wrong with them; one may count more than once.
    invalid_kinds: dict[str, int]
    #: Messages that wait for a turn in sessions where none is live: there must be none.
    stranded_messages: int
    #: Queued turns that no worker has held yet.
    never_started: int
    #: Turns that were asked to stop and have not ended.
    stop_unconfirmed: int
    #: None: nobody knows. Beside ``counts["queued"]``: many more of those are hints that got lost.
    broker_queue_depth: int | None
    #: How long the turn that has run for longest has run, pauses not counted; None: none runs.
    oldest_running_seconds: float | None
    #: People whose turns run or are queued.
    active_users: int
    completed: Ended
    failed: Ended
    #: None: nothing was claimed yet.
    dispatch_lag: DispatchLag | None
    log: LogSize
    workers: list[WorkerState]
    #: The last 24 hours by the clock (UTC), oldest first; the last one is not over.
    series: list[Hour]

    @property
    def active_sessions(self) -> int:
        """Sessions with a turn that runs or is queued: none has more than one."""
        return self.counts["running"] + self.counts["queued"]


def measure(*, hours: float = HOURS) -> Metrics:
    """Return the figures of this moment.

    Args:
        hours: of look-back, for the number of failed turns.
    """
    depth = queue_depth(patience=PATIENCE)
    with snapshot():
        now = read_clock()
        by_category = counts(hours=hours)
        queued = Turn.objects.filter(status="queued")
        running = Turn.objects.filter(status="running")
        return Metrics(
            timestamp=now,
            hours=hours,
            counts=by_category,
            invalid_kinds=_invalid_kinds() if by_category["invalid"] else {},
            stranded_messages=_stranded_messages(),
            never_started=queued.filter(started_at__isnull=True).count(),
            stop_unconfirmed=Turn.objects.to_stop().count(),
            broker_queue_depth=depth,
            oldest_running_seconds=_oldest_running(),
            completed=_ended(Turn.Status.COMPLETED),
            failed=_ended(Turn.Status.FAILED),
            dispatch_lag=_dispatch_lag(),
            log=_log_size(),
            workers=_workers(),
            series=_series(now),
            active_users=queued.values("user").union(running.values("user")).count(),
        )


def _invalid_kinds() -> dict[str, int]:
    found = {kind: invalid_turns().filter(condition).count() for kind, condition in KINDS.items()}
    return {kind: count for kind, count in found.items() if count}


def _stranded_messages() -> int:
    live = Turn.objects.live().filter(session=OuterRef("session"))
    return Message.objects.filter(~Exists(live), state=Message.State.QUEUED, held=False).count()


def _oldest_running() -> float | None:
    running = Turn.objects.filter(status=Turn.Status.RUNNING, claimed_at__isnull=False)
    running = running.with_beginning().with_time()
    turn = running.order_by(F("beginning")).first()
    return round((turn.running_ms + ran_ms(turn)) / 1000, 3) if turn else None


def _ended(status: str) -> Ended:
    ended = Turn.objects.filter(status=status, finished_at__gte=seconds_ago(_DAY))
    last = Q(finished_at__gte=seconds_ago(_HOUR))
    found = ended.aggregate(day=Count("finished_at"), hour=Count("finished_at", filter=last))
    return Ended(**found)


def _dispatch_lag() -> DispatchLag | None:
    """Look at turns that run and at those that were completed last: other ends leave more to chance."""
    times = Turn.objects.filter(claimed_at__isnull=False).values_list("claimed_at", "queued_at")
    running = times.filter(status=Turn.Status.RUNNING).order_by("-claimed_at")[:CLAIMS]
    completed = times.filter(status=Turn.Status.COMPLETED).order_by("-finished_at")[:CLAIMS]
    latest = sorted([*running, *completed], reverse=True)[:CLAIMS]
    lags = sorted((claimed - queued) / timedelta(milliseconds=1) for claimed, queued in latest if claimed)
    return DispatchLag(len(lags), _percentile(lags, 50), _percentile(lags, 99)) if lags else None


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the smallest value that so many percent of all do not exceed."""
    return round(ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1], 3)


_POSTGRES_LOG = "SELECT reltuples::bigint, pg_total_relation_size(oid) FROM pg_class WHERE oid = %s::regclass"
#: Rows are numbered as they come; the gaps that pruning left count too.
_SQLITE_LOG = """
    SELECT (SELECT MAX(rowid) FROM copilot_turnevent) - (SELECT MIN(rowid) FROM copilot_turnevent) + 1,
           page_count * page_size
      FROM pragma_page_count(), pragma_page_size()
"""


def _log_size() -> LogSize:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_POSTGRES_LOG, [TurnEvent._meta.db_table])
            rows, size = cursor.fetchone()
            return LogSize(rows if rows >= 0 else None, size)
        cursor.execute(_SQLITE_LOG)
        rows, size = cursor.fetchone()
        return LogSize(rows or 0, size)


def _workers() -> list[WorkerState]:
    seen = Worker.objects.annotate(now=db_now()).order_by("-seen_at", "host", "pid")[:WORKERS]
    return [_state(worker, (worker.now - worker.seen_at).total_seconds()) for worker in seen]


def _state(worker: Worker, silence: float) -> WorkerState:
    return WorkerState(
        host=worker.host,
        pid=worker.pid,
        version=worker.version,
        slots=worker.slots,
        running=worker.running,
        seen_seconds=round(max(silence, 0.0), 3),
        loop_lag_ms=worker.loop_lag_ms,
        stopping=worker.stopping,
        alive=silence <= settings.TURN_LEASE_SECONDS,
    )


def _series(now: datetime) -> list[Hour]:
    latest = now.replace(minute=0, second=0, microsecond=0)
    hours = [latest - timedelta(hours=ago) for ago in reversed(range(SERIES))]
    completed, failed = _by_hour(Turn.Status.COMPLETED, hours[0]), _by_hour(Turn.Status.FAILED, hours[0])
    return [Hour(at, completed.get(at, 0), failed.get(at, 0)) for at in hours]


def _by_hour(status: str, since: datetime) -> dict[datetime, int]:
    ended = Turn.objects.filter(status=status, finished_at__gte=since)
    hours = ended.annotate(hour=TruncHour("finished_at", tzinfo=UTC)).order_by()
    return dict(hours.values_list("hour").annotate(ended=Count("finished_at")))
