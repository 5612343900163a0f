"""``POST ui/ag-ui``. A plain async view: what waits holds no connection."""

from __future__ import annotations

import asyncio

from django.http import HttpRequest, StreamingHttpResponse

from chat.agui.begin import begin
from chat.agui.request import RunRequest, parse
from chat.agui.stream import sse
from chat.ui.request import BODY_MAX
from common.auth import Caller, api_view_async
from common.bodies import decode, read_raw
from common.db import db

SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@api_view_async(methods=("POST",))
async def run_view(request: HttpRequest, *, caller: Caller) -> StreamingHttpResponse:
    """Do what a run asks for, and stream what follows from it."""
    asked = await asyncio.to_thread(_read, request)  # the whole conversation is in it
    run = await db(begin, caller, asked)
    return StreamingHttpResponse(sse(caller, asked, run), content_type="text/event-stream", headers=SSE_HEADERS)


def _read(request: HttpRequest) -> RunRequest:
    return parse(decode(request, read_raw(request, most=BODY_MAX)))
