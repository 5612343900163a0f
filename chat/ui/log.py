"""The events that a response tells: those that a turn's log has by now, without what was taken back, then all
others as they come."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from chat.api.watch import watch
from common.auth import Caller
from copilot.events.fold import standing
from copilot.events.follow import PAGE, Beat, Event, read_page
from copilot.events.log import Row
from copilot.events.schema import Chunk
from copilot.models import Turn


@dataclass(frozen=True, slots=True)
class Told:
    """A turn's log by now: what stands of it, the seq up to which it was read, and whether that is its end."""

    rows: list[Row]
    cursor: int
    terminal: bool


def read_told(turn_id: uuid.UUID) -> Told:
    """Read a turn's log (sync)."""
    rows: list[Row] = []
    while True:
        page = read_page(turn_id, rows[-1][0] if rows else 0)
        rows += page.events
        if page.terminal or len(page.events) < PAGE:
            return Told(standing(rows), rows[-1][0] if rows else 0, page.terminal)


async def events_after(caller: Caller, turn_id: uuid.UUID, after: int, told: Told) -> AsyncGenerator[Event | Beat]:
    """Yield the events after a seq, first those that were read, and end after the terminal one.

    Raises:
        NotFound, NotAuthenticated: the caller may not read them any more.
    """
    for seq, chunk in told.rows:
        if seq > after:
            yield Event(seq, chunk)
    if told.terminal:
        return
    async with aclosing(watch(caller, turn_id, told.cursor)) as items:  # type: ignore[type-var]
        async for item in items:
            yield item


def asks_person(chunk: Chunk) -> bool:
    """Whether the turn itself asks a person; what its children ask is decided elsewhere, while it goes on."""
    return chunk["type"] == "data-approval" and "parent_call" not in chunk["data"]


def still_waits(turn_id: uuid.UUID, chunk: Chunk) -> bool:
    """Whether what is asked is still to be decided: a log also tells of what was, long ago (sync)."""
    waiting = Turn.objects.filter(pk=turn_id, status=Turn.Status.REQUIRES_ACTION)
    return waiting.filter(action_id=chunk["data"]["approval"]["id"]).exists()
