"""What a side question leaves: a record of what it used, and nothing in its session."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import IntegrityError

from common.db import transact
from common.prepared import insert
from copilot.models import UsageRecord
from copilot.providers.base import Usage
from copilot.providers.pricing import Cost
from copilot.turns.measures import count_use_on_commit, counting_accounting_errors
from copilot.turns.progress import token_amounts


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
    columns = {"aside": aside, "step": call, "user_id": user_id, "model": model, **token_amounts(usage)}
    columns |= {"cost_microdollars": cost.microdollars, "cost_source": cost.source}
    columns |= {"estimated": usage.estimated, "answered_by": answered_by}
    with counting_accounting_errors():
        try:
            _store(usage, session_id=session_id, **columns)
        except IntegrityError:
            if not UsageRecord.objects.filter(aside=aside, step=call).exists():
                _store(usage, **columns)  # the session was deleted meanwhile


@transact
def _store(usage: Usage, **columns: Any) -> None:
    insert(UsageRecord(fence=0, **columns))
    count_use_on_commit(columns["model"], token_amounts(usage), columns["cost_microdollars"])
