"""Which bot a session belongs to, and which thread of the platform it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Place:
    """A thread of a bot; ``thread`` is what the bot itself calls it."""

    bot_id: UUID
    thread: dict[str, Any]


def place_of(session_id: UUID) -> Place | None:
    """Return the thread that a session is of; None for a session that is no bot's."""
    return None
