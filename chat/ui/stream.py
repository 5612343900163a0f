"""One response: the events of a turn up to its end or its next pause, as server-sent events.

Closing it changes nothing for the turn. Nothing here holds a database connection while it waits.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from chat.ui.begin import Segment
from chat.ui.log import asks_person, events_after, read_told, still_waits
from chat.ui.speech import Speech
from common.auth import Caller
from common.db import db
from common.errors import AppError
from copilot.events.follow import Beat
from copilot.events.schema import Chunk
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
    told = await db(read_told, segment.turn_id, pool="follow")
    for seq, chunk in told.rows:
        if seq <= segment.after:  # the client has these: what they left open is known, and nothing is said
            _ = speech.ask(chunk) if asks_person(chunk) else speech.take(seq, chunk)
    if segment.after:
        for said in speech.begin(segment.message_id):
            yield said
    async with aclosing(events_after(caller, segment.turn_id, segment.after, told)) as events:
        async for item in events:
            if isinstance(item, Beat):
                yield item
                continue
            pauses = asks_person(item.chunk) and await db(still_waits, segment.turn_id, item.chunk, pool="follow")
            for said in speech.ask(item.chunk) if pauses else speech.take(item.seq, item.chunk):
                yield said
            if pauses:
                return


def _event(chunk: Chunk) -> bytes:
    return f"data: {json.dumps(chunk, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
