"""A turn's events, by long poll and by SSE. Plain async views: what waits holds no connection."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse

from chat.api.parsing import number, seconds_to_wait
from chat.api.watch import watch
from common.auth import Caller, api_view_async
from common.db import db
from common.errors import AppError
from copilot import selectors
from copilot.events.follow import PAGE, Beat, Event, read_page

logger = logging.getLogger(__name__)

SSE_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    "X-Vercel-AI-UI-Message-Stream": "v1",
}
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": heartbeat\n\n"


@api_view_async()
async def turn_events_view(request: HttpRequest, turn_id: str, *, caller: Caller) -> JsonResponse:
    """Answer with the events after ``after``; with ``wait``, once there is one or the time is over."""
    after = number(request.GET, "after", default=0) or 0
    wait = seconds_to_wait(request.GET)
    turn = await db(selectors.turn_of, caller.user, turn_id)
    page = await db(read_page, turn.id, after, pool="follow")
    if wait and not page.events and not page.terminal:
        await _until_event(caller, turn.id, after, wait)
        page = await db(read_page, turn.id, after, pool="follow")
    events = page.events[:PAGE]
    cut = len(events) < len(page.events)
    return JsonResponse(
        {
            "events": [{"seq": seq, "chunk": chunk} for seq, chunk in events],
            "next": events[-1][0] if events else after,
            "terminal": page.terminal and not cut,
        }
    )


async def _until_event(caller: Caller, turn_id: uuid.UUID, after: int, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), aclosing(watch(caller, turn_id, after)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, Event) and item.seq is not None:
                    return


@api_view_async()
async def turn_stream_view(request: HttpRequest, turn_id: str, *, caller: Caller) -> StreamingHttpResponse:
    """Answer with the events after ``Last-Event-ID`` (or ``after``) as they happen, as server-sent events."""
    after = _resume_from(request)
    turn = await db(selectors.turn_of, caller.user, turn_id)
    return StreamingHttpResponse(
        _sse(caller, turn.id, after), content_type="text/event-stream", headers=SSE_HEADERS
    )


def _resume_from(request: HttpRequest) -> int:
    query = request.GET.copy()
    if last := request.headers.get("Last-Event-ID", "").strip():
        query["after"] = last
    return number(query, "after", default=0) or 0


async def _sse(caller: Caller, turn_id: uuid.UUID, after: int) -> AsyncIterator[bytes]:
    """Yield the stream; its last words are always the same, so that no client waits for more."""
    try:
        async with aclosing(watch(caller, turn_id, after)) as items:  # type: ignore[type-var]
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
