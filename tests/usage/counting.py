"""What counts for the present day and week, without the records that made it."""

from __future__ import annotations

from typing import Any

from copilot.models import UsageCounter, User
from copilot.usage.limits import usage_of


def count(user: User, day: int = 500_000, week: int = 3_000_000, **over: Any) -> None:
    """Have so many microdollars counted."""
    for standing, amount in zip(usage_of(user.pk).windows, (day, week), strict=True):
        about = {"window": standing.window.kind, "starts_on": standing.window.starts_on}
        UsageCounter.objects.create(user=user, used=amount, **about, **over)


def counted(user: User) -> tuple[int, int]:
    """Return what counts towards the limits of the day and of the week."""
    usage = usage_of(user.pk)
    return usage.day.counted, usage.week.counted
