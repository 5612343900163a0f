"""Keeping what was left out of a model's view, as the worker that holds the turn."""

from __future__ import annotations

import uuid
from typing import Any

from common.db import db_now
from common.prepared import insert
from copilot.events import schema
from copilot.events.log import EventBatch, StaleTurn
from copilot.models import Compaction
from copilot.models.session import locked_session
from copilot.turns.journal import journal, touch


def keep_compaction(
    batch: EventBatch, *, turn_id: uuid.UUID, fence: int, session_id: uuid.UUID, made: Compaction
) -> int:
    """Store it and mark it in the answer, in the transaction of ``batch``; the lines before it stay too.

    Returns the seq up to which the events now belong to rows.

    Args:
        made: not saved yet, with no secret in it; the turn and the session are seen to here.

    Raises:
        StaleTurn: the turn is held no longer.
    """
    if not locked_session(session_id):
        raise StaleTurn
    batch.append(schema.data("compaction", shown_of(made)), schema.status("compacted"))
    touch(turn_id, fence, sealed_seq=batch.seq, progress_at=db_now())
    made.turn_id, made.session_id = turn_id, session_id
    insert(made)
    sizes = {"tokens_before": made.tokens_before, "tokens_after": made.tokens_after}
    journal(turn_id, "compacted", up_to=made.up_to, summarised=bool(made.summary), seq=batch.seq, **sizes)
    return batch.seq


def shown_of(made: Compaction) -> dict[str, Any]:
    """Return what people are told: ``kind`` is ``summary``, ``left_out`` (no summary could be made) or
    ``results`` (only tool results were shortened)."""
    kind = "results" if made.last_id is None else "summary" if made.summary else "left_out"
    return {"kind": kind, "tokens_before": made.tokens_before, "tokens_after": made.tokens_after}
