"""What the rows say right now, for ``/metrics``: counts of what is live, never of what has ended.

Each query has a partial index, so that it costs what is there to be counted, however many turns there were before.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import Count, DurationField, ExpressionWrapper, Min, Sum

from approvals.models import Action
from common.db import db_now, seconds_ago
from common.metrics import Reading
from copilot.models import Turn, Worker
from copilot.models.turn import LIVE, TurnQuerySet

#: Seconds after which a worker that was not seen is not counted any more.
SEEN_SECONDS = 10


def figures() -> list[Reading]:
    """Return the figures of this moment."""
    return [
        Reading("turns", "Turns that have not ended.", ("status", "origin"), _turns()),
        Reading("queue_lag_seconds", "How long the oldest turn that may start waits.", (), {(): _queue_lag()}),
        Reading("silence_seconds", "How long the quietest running turn has said nothing.", (), {(): _silence()}),
        Reading("turns_orphaned", "Running turns whose worker's lease ran out.", (), {(): _orphaned()}),
        Reading("approvals_waiting", "Approvals and questions that wait for a person.", ("kind",), _waiting()),
        *_workers(),
    ]


def _turns() -> dict[tuple[str, ...], float]:
    counts: dict[tuple[str, ...], float] = {
        (status, origin): 0 for status in LIVE for origin in Turn.Origin.values
    }
    for status in LIVE:  # one by one: each has its index
        rows = Turn.objects.filter(status=status).values_list("origin").annotate(count=Count("pk")).order_by()
        counts |= {(status, origin): count for origin, count in rows}
    return counts


def _queue_lag() -> float:
    return _oldest(Turn.objects.claimable(), "queued_at")


def _silence() -> float:
    return _oldest(Turn.objects.filter(status=Turn.Status.RUNNING), "progress_at")


def _oldest(turns: TurnQuerySet, moment: str) -> float:
    """Seconds since the earliest such moment of these turns, 0 where there are none."""
    since = ExpressionWrapper(db_now() - Min(moment), output_field=DurationField())
    age: timedelta | None = turns.aggregate(age=since)["age"]
    return max(0.0, age.total_seconds()) if age else 0.0


def _orphaned() -> int:
    return Turn.objects.orphaned(settings.TURN_LEASE_SECONDS).count()


def _waiting() -> dict[tuple[str, ...], float]:
    counts: dict[tuple[str, ...], float] = {(kind,): 0 for kind in Action.Kind.values}
    rows = Action.objects.pending().values_list("kind").annotate(count=Count("pk")).order_by()
    return counts | {(kind,): count for kind, count in rows}


def _workers() -> list[Reading]:
    alive = Worker.objects.filter(seen_at__gt=seconds_ago(SEEN_SECONDS), stopping=False)
    found = alive.aggregate(processes=Count("pk"), slots=Sum("slots"))
    return [
        Reading("workers", "Worker processes that are alive and admit turns.", (), {(): found["processes"]}),
        Reading("worker_slots", "Turns that they may run at once.", (), {(): found["slots"] or 0}),
    ]
