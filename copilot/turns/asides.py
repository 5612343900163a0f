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
from copilot.turns.progress import token_amounts


def record_aside(
    *, user_id: uuid.UUID, session_id: uuid.UUID, step: int, model: str, usage: Usage, cost: Cost
) -> None:
    """Keep what a model call for a side question used: for the person, whatever became of the session."""
    columns = {"user_id": user_id, "step": step, "model": model, **token_amounts(usage)}
    columns |= {"cost_microdollars": cost.microdollars, "cost_source": cost.source}
    try:
        _store(session_id=session_id, **columns)
    except IntegrityError:
        _store(**columns)  # the session was deleted meanwhile


@transact
def _store(**columns: Any) -> None:
    insert(UsageRecord(fence=0, **columns))
