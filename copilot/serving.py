"""A turn's events over HTTP: by long poll, and as a stream of server-sent events.

For whoever may read them: people and bots are asked for different things, and are served alike. What waits for
something to happen holds no database connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse

from common.db import db
from common.errors import AppError
from common.paging import number
from copilot.events.follow import PAGE, Beat, Event, follow, read_page
from copilot.turns.wait import Follower

logger = logging.getLogger(__name__)

SSE_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    "X-Vercel-AI-UI-Message-Stream": "v1",
}
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": heartbeat\n\n"

#: Seconds between two looks at who may read what; with the second of a beat, five at most.
CHECK_SECONDS = 4.0


async def watch(turn_id: uuid.UUID, after: int, *, check: Callable[[], object]) -> AsyncIterator[Event | Beat]:
    """Follow a turn (``copilot.events.follow``) for as long as ``check`` lets it.

    Args:
        check: called in a database thread every few seconds; what it raises comes through.
    """
    due = time.monotonic() + CHECK_SECONDS
    async with aclosing(follow(turn_id, after)) as items:  # type: ignore[type-var]
        async for item in items:
            if time.monotonic() >= due:
                await db(check, pool="follow")
                due = time.monotonic() + CHECK_SECONDS
            yield item


async def events_object(turn_id: uuid.UUID, after: int, wait: float, follower: Follower) -> dict[str, Any]:
    """Return the events after ``after``, at most a page of them; with ``wait``, once there is one or the seconds
    are over.
    """
    page = await db(read_page, turn_id, after, pool="follow")
    if wait and not page.events and not page.terminal:
        await _until_event(turn_id, after, wait, follower)
        page = await db(read_page, turn_id, after, pool="follow")
    events = page.events[:PAGE]
    cut = len(events) < len(page.events)
    return {
        "events": [{"seq": seq, "chunk": chunk} for seq, chunk in events],
        "next": events[-1][0] if events else after,
        "terminal": page.terminal and not cut,
    }


async def _until_event(turn_id: uuid.UUID, after: int, seconds: float, follower: Follower) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), aclosing(follower(turn_id, after)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, Event) and item.seq is not None:
                    return


def resume_from(request: HttpRequest) -> int:
    """Return the seq after which a stream begins: ``Last-Event-ID``, or ``after``.

    Raises:
        Invalid: it is no number.
    """
    query = request.GET.copy()
    if last := request.headers.get("Last-Event-ID", "").strip():
        query["after"] = last
    return number(query, "after", default=0) or 0


def stream_response(turn_id: uuid.UUID, after: int, follower: Follower) -> StreamingHttpResponse:
    """Return a turn's events after ``after``, as they happen, as server-sent events."""
    return StreamingHttpResponse(
        _sse(turn_id, after, follower), content_type="text/event-stream", headers=SSE_HEADERS
    )


async def _sse(turn_id: uuid.UUID, after: int, follower: Follower) -> AsyncIterator[bytes]:
    """Yield the stream; its last words are always the same, so that no client waits for more."""
    try:
        async with aclosing(follower(turn_id, after)) as items:  # type: ignore[type-var]
            async for item in items:
                yield HEARTBEAT if isinstance(item, Beat) else _event(item)
    except AppError:
        logger.info("stream refused", extra={"action": "stream_refused", "turn_id": turn_id})
    except Exception:
        # The headers are sent: all that is left to say is that this stream is over. The client may resume.
        logger.exception("stream broke", extra={"action": "stream_broke", "turn_id": turn_id})
    yield DONE


def _event(event: Event) -> bytes:
    data = json.dumps(event.chunk, ensure_ascii=False, separators=(",", ":"))
    prefix = f"id: {event.seq}\n" if event.seq is not None else ""
    return f"{prefix}data: {data}\n\n".encode()
