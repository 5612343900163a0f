"""Which rows are older than they are kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone


def end_of_keeping(days: int) -> datetime | None:
    """Return the moment before which nothing is kept that is kept for so many days; 0 days: for ever, None.

    It is a matter of days: whose clock wrote the rows makes no difference.
    """
    return timezone.now() - timedelta(days=days) if days else None


def oldest_before(rows: QuerySet[Any], end: datetime | None, *, moment: str, most: int) -> list[Any]:
    """Return the ids of those among the ``most`` oldest rows that were written before ``end``; None: none was.

    Ids grow with time, so the oldest rows are the first ones: whatever else there is is not read, and needs no
    index on its age.

    Args:
        moment: the column that says when a row was written.
    """
    if end is None:
        return []
    oldest = rows.order_by("pk").values_list("pk", moment)[:most]
    return [row_id for row_id, at in oldest if at < end]
