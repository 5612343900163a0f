"""How long usage is kept."""

from __future__ import annotations

from datetime import UTC, datetime, time

from django.conf import settings

from common.ages import end_of_keeping
from copilot.usage.windows import windows_of


def usage_end() -> datetime | None:
    """Return the moment before which no usage is kept; None: everything is.

    It is the beginning of a week: a sum over a day or a week has all of its records, or none.
    """
    end = end_of_keeping(settings.USAGE_RETENTION_DAYS)
    if end is None:
        return None
    _, week = windows_of(end)
    return datetime.combine(week.starts_on, time(), UTC)
