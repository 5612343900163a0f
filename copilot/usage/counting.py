"""Counting a record in the windows of its own time, together with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import InterfaceError, OperationalError

from common.errors import Busy
from copilot.models import UsageRecord
from copilot.usage.counters import Amounts, do_add

logger = logging.getLogger(__name__)


def do_count(
    record: UsageRecord, cost: int, *, unknown: bool, settled: tuple[datetime, Amounts] | None = None
) -> None:
    """Count a call, in the transaction that keeps it: the last statement, all sessions of a person share the rows.

    A call that cost nothing changes nothing.

    Args:
        record: where the call was added. It counts in the windows of when that was begun, also past midnight.
        cost: microdollars, as far as they are known.
        unknown: the record is from now on one whose cost is not wholly known.
        settled: what its turn has reserved no longer, and when that was reserved.
    """
    amounts = Amounts(used=cost, unknown=int(unknown))
    if any(amounts):
        do_add(record.user_id, (record.created_at, amounts), *([settled] if settled else []))


@contextmanager
def telling_of_loss(user_id: Any, **of_what: Any) -> Iterator[None]:
    """Tell the operator of what cannot be recorded, unless the database is only away: then it is repeated."""
    try:
        yield
    except (OperationalError, InterfaceError, Busy):
        raise
    except Exception:
        logger.exception("usage lost", extra={"action": "usage_lost", "user": user_id, **of_what})
        raise
