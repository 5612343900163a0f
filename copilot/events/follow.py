"""Following a turn: one generator under websockets, SSE, long polls and waiters.

What is right comes from reading the log alone. The turn's group only makes it fast: a hint that continues the
cursor is passed on, any other means "read the log". After a second of silence the rows are asked anyway whether
there is something to read.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from common.db import db
from common.metrics import chunk_lag_seconds, followers, healed_by_follower
from common.prepared import prepared
from copilot.events import schema
from copilot.events.glance import glance
from copilot.events.listen import listen
from copilot.events.log import Row, read_events
from copilot.events.publish import turn_group
from copilot.events.schema import Chunk
from copilot.models import Message, Turn
from copilot.models.turn import TERMINAL

PAGE = 500
BUFFER = 256
#: Seconds to wait for the turn's group before the log is read: a moment, unless the channel layer hangs.
JOIN_SECONDS = 0.25
#: Seconds of silence before the log is read again: while it runs, and while it waits for a slot or a person.
SILENCE_RUNNING = 1.0
SILENCE_WAITING = 4.0


@dataclass(frozen=True, slots=True)
class Event:
    """A chunk with its seq; transient chunks have none."""

    seq: int | None
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Beat:
    """Nothing happened for a while: a moment to check permissions and to keep the connection alive."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some events after a cursor; ``terminal`` when the turn's last event is among them or before them."""

    events: list[Row]
    terminal: bool
    live: bool


def read_page(turn_id: uuid.UUID, after: int, limit: int = PAGE) -> Page:
    """Read up to ``limit`` events after ``after``.

    When older events were pruned, ``data-reset`` with the stored parts stands in for them, under the seq just
    before the events that are left.
    """
    found = _state_of(turn_id)
    if not found:
        return Page([], terminal=True, live=False)
    [(status, last_seq)] = found
    # The status is read first: events that end a turn are never missed between the two reads.
    events = read_events(turn_id, after, limit)
    if events and events[0][0] > after + 1:
        events = events[: limit - 1]
        events.insert(0, (events[0][0] - 1, schema.data("reset", {"parts": _stored_parts(turn_id)})))
    newest = events[-1][0] if events else after
    terminal = bool(events and schema.is_terminal(events[-1][1])) or (last_seq is not None and newest >= last_seq)
    return Page(events, terminal=terminal, live=status == Turn.Status.RUNNING)


@prepared
def _state_of(turn_id: Any) -> Any:
    return Turn.objects.filter(pk=turn_id).values_list("status", "last_seq")


def _stored_parts(turn_id: uuid.UUID) -> list[dict[str, Any]]:
    answers = Message.objects.settled().filter(turn_id=turn_id, role=Message.Role.ASSISTANT).order_by("seq")
    return [part for parts in answers.values_list("parts", flat=True) for part in parts]


class _Inbox:
    """Hints from the turn's group, in a bounded buffer; overflow keeps only the fact of being behind."""

    def __init__(self, turn_id: uuid.UUID) -> None:
        self._group = turn_group(turn_id)
        self._turn = str(turn_id)
        self._buffer: deque[tuple[int | None, Chunk]] = deque()
        self._behind = False
        #: When the oldest of the buffer was made, by the clock of who made it; 0: not known.
        self.since = 0.0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> _Inbox:
        followers.inc()
        self._task = asyncio.create_task(listen(self._group, self._hear))
        return self

    async def __aexit__(self, *exc: object) -> None:
        followers.dec()
        if self._task is not None:
            self._task.cancel()
            # Not ``await self._task``: whoever cancels us meanwhile must not be mistaken for its end.
            await asyncio.wait([self._task])

    def _hear(self, message: dict[str, Any] | None) -> None:
        if message is None:
            self._behind = True
            self._news.set()
        # Other versions beside this one may say other things; a channel's name may have been another follower's.
        elif message["type"] == "turn.events" and message["turn"] == self._turn:
            if not (self._buffer and self.since):
                self.since = message.get("since", 0.0)
            self._put(message["events"])

    def _put(self, events: list[tuple[int | None, Chunk]]) -> None:
        if len(self._buffer) + len(events) > BUFFER:
            self._buffer.clear()
            self._behind = True
        else:
            self._buffer.extend((seq, chunk) for seq, chunk in events)
        self._news.set()

    async def joined(self, seconds: float) -> None:
        """Wait until the group is joined, or cannot be; what was heard so far is in the log that is read next."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self.take()

    async def wait(self, seconds: float) -> bool:
        """Wait for hints; return False after ``seconds`` of silence."""
        if not self._buffer and not self._behind:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        return bool(self._buffer) or self._behind

    def take(self) -> tuple[list[tuple[int | None, Chunk]], bool]:
        """Return the hints and whether some were lost."""
        events, behind = list(self._buffer), self._behind
        self._buffer.clear()
        self._behind = False
        return events, behind


async def follow(turn_id: uuid.UUID, after: int = 0) -> AsyncIterator[Event | Beat]:
    """Yield the turn's events after ``after`` exactly once and in order, and end after the terminal one.

    A ``Beat`` is yielded after each silence, before the log is read again, and at least every five seconds.
    Whoever follows checks permissions on entry and at beats; following holds no database connection.
    """
    cursor = after
    async with _Inbox(turn_id) as inbox:
        await inbox.joined(JOIN_SECONDS)  # whoever reads first has to read again then
        live = True
        beat_at = time.monotonic()
        while True:
            while True:
                page = await db(read_page, turn_id, cursor, pool="follow")
                for cursor, chunk in page.events:
                    yield Event(cursor, chunk)
                if page.terminal:
                    return
                live = page.live
                if len(page.events) < PAGE:
                    break
            behind = False
            while not behind:
                if not await inbox.wait(SILENCE_RUNNING if live else SILENCE_WAITING):
                    beat_at = time.monotonic()
                    yield Beat()
                    seen = await glance(turn_id)
                    behind = seen is None or seen.newest > cursor or seen.status in TERMINAL
                    if behind:
                        healed_by_follower.inc()
                    live = seen is not None and seen.status == Turn.Status.RUNNING
                    continue
                if time.monotonic() - beat_at >= SILENCE_WAITING:
                    beat_at = time.monotonic()
                    yield Beat()
                events, behind = inbox.take()
                passed_on, since = cursor, inbox.since
                live = live or bool(events)  # it runs, whatever it did when the log was read
                for seq, chunk in events:
                    if seq is None:
                        yield Event(None, chunk)
                    elif seq == cursor + 1:
                        cursor = seq
                        yield Event(seq, chunk)
                        if schema.is_terminal(chunk):
                            return
                    elif seq > cursor:
                        behind = True
                        healed_by_follower.inc()
                        break
                if cursor > passed_on and since:
                    # Whoever follows has sent them when it asks for more. The clocks of hosts differ a little.
                    chunk_lag_seconds.observe(max(0.0, time.time() - since))
