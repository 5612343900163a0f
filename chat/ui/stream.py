"""One response: the events of a turn up to its end or its next pause, as server-sent events.

Closing it changes nothing for the turn. Nothing here holds a database connection while it waits.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from chat.api.watch import watch
from chat.ui.begin import Segment
from chat.ui.speech import Speech
from common.auth import Caller
from common.db import db
from common.errors import AppError
from copilot.events.fold import standing
from copilot.events.follow import PAGE, Beat, Event, read_page
from copilot.events.log import Row
from copilot.events.schema import Chunk
from copilot.models import Turn
from copilot.serving import DONE, HEARTBEAT

logger = logging.getLogger(__name__)


async def sse(caller: Caller, segment: Segment, sdk: int) -> AsyncIterator[bytes]:
    """Yield the response; its last words are always the same, so that no client waits for more."""
    about = {"turn_id": segment.turn_id}
    try:
        async with aclosing(_response(caller, segment, Speech(sdk, segment.message_id))) as chunks:
            async for chunk in chunks:
                yield HEARTBEAT if isinstance(chunk, Beat) else _event(chunk)
    except AppError:
        logger.info("response refused", extra={"action": "stream_refused", **about})
    except Exception:
        # The headers are sent: all that is left to say is that this stream is over. The client may resume.
        logger.exception("response broke", extra={"action": "stream_broke", **about})
    yield DONE


async def _response(caller: Caller, segment: Segment, speech: Speech) -> AsyncGenerator[Chunk | Beat]:
    """Yield the chunks of a response: first all that the log has by now, without what was taken back."""
    told = await db(_told, segment.turn_id, pool="follow")
    for seq, chunk in told.rows:
        if seq <= segment.after:  # the client has these: what they left open is known, and nothing is said
            _ = speech.ask(chunk) if _asks(chunk) else speech.take(seq, chunk)
    if segment.after:
        for said in speech.begin(segment.message_id):
            yield said
    async with aclosing(_events(caller, segment, told)) as events:
        async for item in events:
            if isinstance(item, Beat):
                yield item
                continue
            pauses = _asks(item.chunk) and await db(_waits, segment.turn_id, item.chunk, pool="follow")
            for said in speech.ask(item.chunk) if pauses else speech.take(item.seq, item.chunk):
                yield said
            if pauses:
                return


@dataclass(frozen=True, slots=True)
class _Told:
    """A turn's log by now: what stands of it, the seq up to which it was read, and whether that is its end."""

    rows: list[Row]
    cursor: int
    terminal: bool


def _told(turn_id: uuid.UUID) -> _Told:
    rows: list[Row] = []
    while True:
        page = read_page(turn_id, rows[-1][0] if rows else 0)
        rows += page.events
        if page.terminal or len(page.events) < PAGE:
            return _Told(standing(rows), rows[-1][0] if rows else 0, page.terminal)


async def _events(caller: Caller, segment: Segment, told: _Told) -> AsyncGenerator[Event | Beat]:
    for seq, chunk in told.rows:
        if seq > segment.after:
            yield Event(seq, chunk)
    if told.terminal:
        return
    async with aclosing(watch(caller, segment.turn_id, told.cursor)) as items:  # type: ignore[type-var]
        async for item in items:
            yield item


def _asks(chunk: Chunk) -> bool:
    """Whether the turn itself asks a person; what its children ask is decided elsewhere, while it goes on."""
    return chunk["type"] == "data-approval" and "parent_call" not in chunk["data"]


def _waits(turn_id: uuid.UUID, chunk: Chunk) -> bool:
    """Whether what is asked is still to be decided: a log also tells of what was, long ago."""
    waiting = Turn.objects.filter(pk=turn_id, status=Turn.Status.REQUIRES_ACTION)
    return waiting.filter(action_id=chunk["data"]["approval"]["id"]).exists()


def _event(chunk: Chunk) -> bytes:
    return f"data: {json.dumps(chunk, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
