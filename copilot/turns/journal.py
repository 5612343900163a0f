"""The journal of a turn, and the fence that its writers stand behind."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import F

from copilot.events.log import StaleTurn
from copilot.models import Turn, TurnLog


def journal(turn_id: uuid.UUID, kind: str, **data: Any) -> None:
    """Record a transition, in the transaction that makes it."""
    TurnLog.objects.create(turn_id=turn_id, kind=kind, data=data)


def touch(turn_id: uuid.UUID, fence: int, **changes: Any) -> None:
    """Change (at least lock) the turn's row if it is still held under ``fence``.

    Every write of a worker is in a transaction that begins with this.

    Raises:
        StaleTurn: the turn ended, was taken over or handed back meanwhile.
    """
    changes = changes or {"fence": F("fence")}
    if Turn.objects.held_by(turn_id, fence).update(**changes) != 1:
        raise StaleTurn
