"""The day and the week in which something counts, both in UTC. Weeks are those of ISO 8601: they begin on Monday.

Whoever asks gives the moment on the database's clock, so that all hosts agree on when a window begins.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from copilot.models import UsageCounter

_DAYS = {UsageCounter.Window.DAY.value: 1, UsageCounter.Window.WEEK.value: 7}


class Window(NamedTuple):
    """A day or a week. In this order, days first, counters are written: so nobody waits in a circle."""

    kind: str
    starts_on: date

    @property
    def resets_at(self) -> datetime:
        """The moment from which on another window counts."""
        end = self.starts_on + timedelta(days=_DAYS[self.kind])
        return datetime.combine(end, time(), UTC)


def windows_of(moment: datetime) -> tuple[Window, Window]:
    """Return the day and the week that an aware moment belongs to."""
    day = moment.astimezone(UTC).date()
    monday = day - timedelta(days=day.weekday())
    return Window(UsageCounter.Window.DAY.value, day), Window(UsageCounter.Window.WEEK.value, monday)
