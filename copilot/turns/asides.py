"""What a side question leaves: a record of what it used, and nothing in its session."""

from __future__ import annotations

import uuid

from django.db import IntegrityError

from common.db import transact
from common.prepared import insert
from copilot.models import UsageRecord
from copilot.providers.base import Usage
from copilot.providers.pricing import UNKNOWN, Cost
from copilot.turns.progress import new_record
from copilot.usage.counting import do_count, telling_of_loss


def record_aside(
    *,
    aside: uuid.UUID,
    call: int,
    user_id: uuid.UUID,
    session_id: uuid.UUID,
    model: str,
    usage: Usage,
    cost: Cost,
    answered_by: str = "",
) -> None:
    """Keep what a model call for a side question used: for the person, whatever became of the session.

    May be repeated when it is not known whether it was stored: each call counts once.

    Args:
        call: which model call of this side question it was, from 1.
    """
    of_what = {"aside": aside, "step": call, "fence": 0, "model": model, "answered_by": answered_by}
    with telling_of_loss(user_id, aside=aside):
        try:
            _store(new_record(user_id, usage, cost, session_id=session_id, **of_what), cost)
        except IntegrityError:
            if not UsageRecord.objects.filter(aside=aside, step=call).exists():
                _store(new_record(user_id, usage, cost, **of_what), cost)  # the session was deleted meanwhile


@transact
def _store(record: UsageRecord, cost: Cost) -> None:
    insert(record)
    do_count(record, cost.microdollars or 0, unknown=cost.source == UNKNOWN)
