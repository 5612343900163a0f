"""How much a person may use in a day and in a week, and whether that is reached.

A limit is the operator's setting times the person's tier; 0 is none. While neither is set, nothing here asks the
database.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet

from common.db import db_now
from common.errors import NotFound, UsageLimit
from common.prepared import prepared
from copilot.models import UsageCounter, User
from copilot.usage.windows import Window, windows_of

#: What callers know the windows as.
NAMES = {"day": "daily", "week": "weekly"}


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand in one window, in microdollars; a ``limit`` of 0 is none."""

    window: Window
    limit: int
    used: int = 0
    forgiven: int = 0
    reserved: int = 0
    #: Records whose cost is not, or not wholly, among what was used.
    unknown: int = 0

    @property
    def counted(self) -> int:
        """What counts towards the limit."""
        return self.used - self.forgiven

    @property
    def percent_used(self) -> float:
        """What counts in percent of the limit: 100.0 exactly when it is reached, and never more."""
        if self.counted >= self.limit:
            return 100.0
        return min(round(100 * self.counted / self.limit, 1), 99.9)

    def has_room(self, *, beside: int = 0) -> bool:
        """Whether less than the limit was used, ``beside`` being what is held back of it."""
        return not self.limit or self.counted + beside < self.limit


@dataclass(frozen=True, slots=True)
class Usage:
    """How things stand with a person at a moment of the database's clock."""

    at: datetime
    tier: int
    day: Standing
    week: Standing

    @property
    def windows(self) -> tuple[Standing, Standing]:
        """Both windows, the shorter one first."""
        return self.day, self.week


def limits_are_set() -> bool:
    """Whether the operator limits what people use at all."""
    return bool(settings.USAGE_DAILY_LIMIT_MICRODOLLARS or settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS)


def usage_of(user_id: Any) -> Usage:
    """Return what a person used today and this week, and may use."""
    tier, now = person_now(user_id)
    day, week = windows_of(now)
    counters = _counters(user_id, day.starts_on.isoformat(), week.starts_on.isoformat())
    found = {kind: counts for kind, *counts in counters}
    limits = limits_of(tier)
    standing = {
        window: Standing(window, limits[window.kind], *found.get(window.kind, ())) for window in (day, week)
    }
    return Usage(now, tier, standing[day], standing[week])


def limits_of(tier: int) -> dict[str, int]:
    """Return the limits of a tier by the kind of window, in microdollars; 0 is none."""
    return {
        "day": settings.USAGE_DAILY_LIMIT_MICRODOLLARS * max(1, tier),
        "week": settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS * max(1, tier),
    }


def person_now(user_id: Any) -> tuple[int, datetime]:
    """Return a person's tier and the time by the database's clock.

    Raises:
        NotFound: there is no such person any more.
    """
    found = _person(user_id)
    if not found:
        raise NotFound
    return found[0]


def check(user_id: Any) -> None:
    """Make sure that a person may begin something that costs.

    Raises:
        UsageLimit: a limit is reached; what live turns may still cost counts too.
    """
    if refusal := refusal_of(user_id):
        raise refusal


def refusal_of(user_id: Any, *, apart_from: int = 0) -> UsageLimit | None:
    """Return the error that whoever begins something gets, None where there is room.

    Args:
        apart_from: microdollars that a turn of the person reserved and is about to give back.
    """
    if not limits_are_set():
        return None
    usage = usage_of(user_id)
    for standing in usage.windows:
        if not standing.has_room(beside=standing.reserved - apart_from):
            return refused(standing.window, usage.at)
    return None


def check_spent(user_id: Any) -> None:
    """Make sure that a turn which has begun may go on: what others reserved is no reason to end it.

    Raises:
        UsageLimit: what was used has reached a limit.
    """
    if not limits_are_set():
        return
    usage = usage_of(user_id)
    for standing in usage.windows:
        if not standing.has_room():
            raise refused(standing.window, usage.at)


def refused(window: Window, now: datetime) -> UsageLimit:
    """Return the error for a window whose limit is reached."""
    resets_at = window.resets_at
    reached = f"The usage limit for this {window.kind} is reached."
    return UsageLimit(
        f"{reached} A new {window.kind} begins on {resets_at:%Y-%m-%d} at 00:00 UTC.",
        window=NAMES[window.kind],
        resets_at=resets_at.isoformat().replace("+00:00", "Z"),
        retry_after=max(1, math.ceil((resets_at - now).total_seconds())),
    )


@prepared
def _person(user_id: Any) -> QuerySet[User, tuple[int, datetime]]:
    return User.objects.filter(pk=user_id).annotate(time=db_now()).values_list("tier", "time")


@prepared
def _counters(user_id: Any, day: Any, monday: Any) -> QuerySet[UsageCounter, Any]:
    day_or_week = Q(window="day", starts_on=day) | Q(window="week", starts_on=monday)
    counters = UsageCounter.objects.filter(day_or_week, user_id=user_id)
    return counters.values_list("window", "used", "forgiven", "reserved", "unknown")
