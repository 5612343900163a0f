"""The categories by which operators look at turns: by what keeps a turn alive, never by its age alone.

They overlap: an orphaned turn is running, too, and so is one that runs for long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.db.models import F

from common.db import seconds_ago
from copilot.diagnostics.invalid import invalid_turns
from copilot.models import Turn
from copilot.models.turn import TurnQuerySet

#: The look-back where nobody asks for another one.
HOURS = 24.0


@dataclass(frozen=True, slots=True)
class Category:
    """Turns that an operator looks at together, and what may be done about them.

    Attributes:
        name: as in the API.
        title: for people.
        meaning: which turns these are, in a sentence.
        actions: of ``stop``, ``requeue`` and ``cleanup``.
        rows: the turns, in the order in which they are listed; given the hours of look-back, which only
            ``failed`` has.
    """

    name: str
    title: str
    meaning: str
    actions: tuple[str, ...]
    rows: Callable[[float], TurnQuerySet]


def _running(hours: float) -> TurnQuerySet:
    return Turn.objects.filter(status=Turn.Status.RUNNING).order_by("claimed_at", "pk")


def _queued(hours: float) -> TurnQuerySet:
    return Turn.objects.filter(status=Turn.Status.QUEUED).order_by("queued_at", "pk")


def _waiting(hours: float) -> TurnQuerySet:
    return Turn.objects.filter(status=Turn.Status.REQUIRES_ACTION).order_by("progress_at", "pk")


def _orphaned(hours: float) -> TurnQuerySet:
    return Turn.objects.orphaned(settings.TURN_LEASE_SECONDS).order_by("heartbeat_at", "pk")


def _failed(hours: float) -> TurnQuerySet:
    recent = Turn.objects.filter(status=Turn.Status.FAILED, finished_at__gte=seconds_ago(hours * 3600))
    return recent.order_by("-finished_at", "-pk")


def _long_running(hours: float) -> TurnQuerySet:
    return Turn.objects.longer_than(settings.DIAG_LONG_RUNNING_SECONDS).order_by(F("beginning"), "pk")


def _stuck_queued(hours: float) -> TurnQuerySet:
    return _queued(hours).filter(queued_at__lt=seconds_ago(settings.DIAG_STUCK_QUEUED_SECONDS))


def _invalid(hours: float) -> TurnQuerySet:
    return invalid_turns().order_by("created_at", "pk")


CATEGORIES: dict[str, Category] = {
    category.name: category
    for category in (
        Category("running", "Running", "A worker holds it.", ("stop",), _running),
        Category("queued", "Queued", "It waits for a worker.", ("stop", "requeue"), _queued),
        Category("waiting", "Waiting", "It waits for a person's decision.", ("stop",), _waiting),
        Category(
            "orphaned",
            "Orphaned",
            "It is running, but its worker did not renew the lease.",
            ("stop", "cleanup"),
            _orphaned,
        ),
        Category("failed", "Failed", "It failed within the hours of look-back.", (), _failed),
        Category(
            "long_running",
            "Long running",
            "It has run for longer than DIAG_LONG_RUNNING_SECONDS, pauses not counted.",
            ("stop",),
            _long_running,
        ),
        Category(
            "stuck_queued",
            "Stuck in the queue",
            "It has been queued for longer than DIAG_STUCK_QUEUED_SECONDS.",
            ("stop", "requeue", "cleanup"),
            _stuck_queued,
        ),
        Category("invalid", "Invalid", "It is in a state that must not be; somebody has to look.", (), _invalid),
    )
}


def rows_of(name: str, *, hours: float = HOURS) -> TurnQuerySet:
    """Return the turns of a category.

    Args:
        hours: of look-back, for ``failed``.

    Raises:
        KeyError: there is no such category.
    """
    return CATEGORIES[name].rows(hours)


def counts(*, hours: float = HOURS) -> dict[str, int]:
    """Return how many turns each category has, by its name."""
    return {name: rows_of(name, hours=hours).count() for name in CATEGORIES}
