"""Following a session over a websocket: its turns one after the other, and their text as rendered blocks."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from common.db import db
from common.markdown import Block, BlockRenderer
from common.prepared import prepared
from copilot.events.follow import Beat, follow
from copilot.events.log import Row, read_events
from copilot.models import Turn
from copilot.models.turn import LIVE

Push = Callable[[dict[str, Any]], Awaitable[None]]
#: A finished block, and the part it belongs to.
Rendered = tuple[str, Block]

#: Seconds after which a session is looked at for new turns without a hint.
LOOK_SECONDS = 5.0
#: New turns read at once.
TURNS_AT_ONCE = 20
#: Characters from which on a text is rendered in a thread, so that the event loop stays quick.
LARGE = 1_500


@dataclass(frozen=True, slots=True)
class Begun:
    """A turn and when it was created: a place in the order of a session's turns."""

    turn_id: uuid.UUID
    created_at: datetime


class SessionFollower:
    """Sends every event of a session's turns from a starting point on, exactly once and in order."""

    def __init__(self, session_id: uuid.UUID, push: Push, *, html: bool) -> None:
        self._session_id = session_id
        self._push = push
        self._html = html
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def look_for_turns(self) -> None:
        """Something changed in the session: a new turn may have begun."""
        self._idle.clear()
        self._news.set()

    async def caught_up(self) -> None:
        """Wait until the turn being followed has been sent to its end; a few seconds at most."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            return  # the page learns the end from the snapshot, and its text from the rows

    async def run(self, turn_id: uuid.UUID | None, after: int) -> None:
        """Follow ``turn_id`` after ``after``, or the live turn from its beginning, then every later turn."""
        self._idle.clear()
        first, newest = await db(self._where_to_begin, turn_id, pool="follow")
        if first is not None:
            await self._follow_turn(first, after)
        while True:
            self._news.clear()
            later = await db(self._turns_after, newest, pool="follow")
            for begun in later:
                newest = begun
                await self._follow_turn(begun.turn_id, 0)
            if later or self._news.is_set():
                continue
            self._idle.set()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._idle.clear()

    def _where_to_begin(self, turn_id: uuid.UUID | None) -> tuple[uuid.UUID | None, Begun | None]:
        turns = Turn.objects.filter(session_id=self._session_id).order_by("-created_at")
        turns = turns.filter(pk=turn_id) if turn_id is not None else turns
        newest = turns.values_list("pk", "created_at", "status").first()
        if newest is None:
            return None, None
        pk, created_at, status = newest
        return (pk if turn_id is not None or status in LIVE else None), Begun(pk, created_at)

    def _turns_after(self, newest: Begun | None) -> list[Begun]:
        if newest is None:
            return [Begun(*row) for row in _turns_of(self._session_id)]
        return [Begun(*row) for row in _later_turns_of(self._session_id, newest.created_at, newest.turn_id)]

    async def _follow_turn(self, turn_id: uuid.UUID, after: int) -> None:
        turn = str(turn_id)
        blocks = Blocks() if self._html else None
        if blocks is not None and after:
            await self._render_earlier(blocks, turn_id, after)
        async with aclosing(follow(turn_id, after)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, Beat):
                    continue
                frame: dict[str, Any] = {"type": "event", "turn": turn, "chunk": item.chunk}
                if item.seq is not None:
                    frame["seq"] = item.seq
                await self._push(frame)
                if blocks is not None:
                    await self._push_blocks(turn, item.seq, await blocks.take(item.chunk))

    async def _render_earlier(self, blocks: Blocks, turn_id: uuid.UUID, after: int) -> None:
        """Send the blocks up to ``after`` again: their frames may have been lost with the last connection."""
        events = await db(read_events, turn_id, pool="follow")
        for seq, rendered in await asyncio.to_thread(blocks.take_all, [row for row in events if row[0] <= after]):
            await self._push_blocks(str(turn_id), seq, rendered)

    async def _push_blocks(self, turn: str, seq: int | None, rendered: list[Rendered]) -> None:
        for part, block in rendered:
            about = {"type": "html", "turn": turn, "after": seq, "part": part}
            await self._push({**about, "from": block.start, "to": block.end, "html": block.html})


@prepared
def _turns_of(session_id: Any) -> Any:
    turns = Turn.objects.filter(session_id=session_id).order_by("created_at")
    return turns.values_list("pk", "created_at")[:TURNS_AT_ONCE]


@prepared
def _later_turns_of(session_id: Any, created_at: Any, turn_id: Any) -> Any:
    # The turn itself is left out by its id: SQLite compares times as texts, and the same time may be written
    # with and without its fraction.
    turns = Turn.objects.filter(session_id=session_id, created_at__gte=created_at).exclude(pk=turn_id)
    return turns.order_by("created_at").values_list("pk", "created_at")[:TURNS_AT_ONCE]


class Blocks:
    """The text parts of a turn as rendered blocks, each as soon as it is finished."""

    def __init__(self) -> None:
        self._renderers: dict[str, BlockRenderer] = {}

    def take_all(self, events: list[Row]) -> list[tuple[int, list[Rendered]]]:
        """Take many chunks at once; for a thread, a long turn takes a while."""
        return [(seq, rendered) for seq, chunk in events if (rendered := self._take(chunk))]

    async def take(self, chunk: dict[str, Any]) -> list[Rendered]:
        """Take the next chunk; return the blocks that it finished, with the part they belong to."""
        renderer = self._renderers.get(chunk.get("id", ""))
        if renderer is not None and renderer.waiting + len(chunk.get("delta", "")) > LARGE:
            return await asyncio.to_thread(self._take, chunk)
        return self._take(chunk)

    def _take(self, chunk: dict[str, Any]) -> list[Rendered]:
        kind = chunk["type"]
        if kind == "text-delta":
            renderer = self._renderers.get(chunk["id"])
            return [(chunk["id"], block) for block in renderer.feed(chunk["delta"])] if renderer else []
        if kind == "text-start":
            self._renderers[chunk["id"]] = BlockRenderer()
        elif kind == "text-end":
            renderer = self._renderers.pop(chunk["id"], None)
            return [(chunk["id"], block) for block in renderer.end()] if renderer else []
        elif kind == "data-rollback":
            self._renderers.clear()  # what is taken back was still open, what stays has ended
        return []
