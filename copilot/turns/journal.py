"""The journal of a turn, and the fence that its writers stand behind."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.db.models import F

from common.statements import cursor_that_prepares
from copilot.events.log import StaleTurn
from copilot.models import Turn, TurnLog


def journal(turn_id: uuid.UUID, kind: str, **data: Any) -> None:
    """Record a transition, in the transaction that makes it."""
    journal_each(kind, {turn_id: data})


def journal_each(kind: str, turns: Mapping[uuid.UUID, dict[str, Any]]) -> None:
    """Record the same transition of some turns, each with its data, with one statement.

    Plain SQL: each turn has several entries, and the database fills in the time.
    """
    prepare = TurnLog._meta.get_field("turn").target_field.get_db_prep_value
    rows = [(prepare(turn_id, connection), kind, json.dumps(data)) for turn_id, data in turns.items()]
    with cursor_that_prepares(connection, len(rows)) as cursor:
        cursor.execute(
            f"INSERT INTO {TurnLog._meta.db_table} (turn_id, kind, data) "  # noqa: S608
            f"VALUES {', '.join(['(%s, %s, %s)'] * len(rows))}",
            [value for row in rows for value in row],
        )


def touch(turn_id: uuid.UUID, fence: int, **changes: Any) -> None:
    """Change (at least lock) the turn's row if it is still held under ``fence``.

    Every write of a worker is in a transaction that begins with this.

    Raises:
        StaleTurn: the turn ended, was taken over or handed back meanwhile.
    """
    changes = changes or {"fence": F("fence")}
    if Turn.objects.held_by(turn_id, fence).update(**changes) != 1:
        raise StaleTurn
