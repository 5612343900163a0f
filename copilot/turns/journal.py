"""The journal of a turn, and the fence that its writers stand behind."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.db import connection
from django.db.models import F

from copilot.events.log import StaleTurn
from copilot.models import Turn, TurnLog


def journal(turn_id: uuid.UUID, kind: str, **data: Any) -> None:
    """Record a transition, in the transaction that makes it.

    Plain SQL: each turn has several entries, and the database fills in the time.
    """
    identifier = TurnLog._meta.get_field("turn").target_field.get_db_prep_value(turn_id, connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TurnLog._meta.db_table} (turn_id, kind, data) VALUES (%s, %s, %s)",  # noqa: S608
            [identifier, kind, json.dumps(data)],
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
