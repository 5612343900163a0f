"""A turn's events, by long poll and by SSE. Plain async views: what waits holds no connection."""

from __future__ import annotations

import functools

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse

from chat.api.parsing import number, seconds_to_wait
from chat.api.watch import watch
from common.auth import Caller, api_view_async
from common.db import db
from copilot import selectors
from copilot.serving import events_object, resume_from, stream_response


@api_view_async()
async def turn_events_view(request: HttpRequest, turn_id: str, *, caller: Caller) -> JsonResponse:
    """Answer with the events after ``after``; with ``wait``, once there is one or the time is over."""
    after = number(request.GET, "after", default=0) or 0
    wait = seconds_to_wait(request.GET)
    turn = await db(selectors.turn_of, caller.user, turn_id)
    return JsonResponse(await events_object(turn.id, after, wait, functools.partial(watch, caller)))


@api_view_async()
async def turn_stream_view(request: HttpRequest, turn_id: str, *, caller: Caller) -> StreamingHttpResponse:
    """Answer with the events after ``Last-Event-ID`` (or ``after``) as they happen, as server-sent events."""
    after = resume_from(request)
    turn = await db(selectors.turn_of, caller.user, turn_id)
    return stream_response(turn.id, after, functools.partial(watch, caller))
