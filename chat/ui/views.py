"""The three calls of an AI SDK front end. Plain async views: what waits holds no connection."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse

from chat.api.serializers import CancelBody
from chat.api.turns import cancelled
from chat.ui.begin import Segment, begin, resume
from chat.ui.chats import find_session
from chat.ui.request import BODY_MAX, ChatRequest, parse
from chat.ui.stream import sse
from common.auth import Caller, api_view_async
from common.bodies import decode, read_body, read_raw
from common.db import db
from common.errors import NotFound
from common.paging import number
from copilot.serving import SSE_HEADERS

#: The client's major version of the AI SDK, unless it says another.
SDK = 6


@api_view_async(methods=("POST",))
async def chat_view(request: HttpRequest, *, caller: Caller) -> StreamingHttpResponse:
    """Do what a front end asks for, and stream what follows from it."""
    sdk = _sdk(request)
    asked = await asyncio.to_thread(_read, request)  # the whole conversation may be in it
    return _stream(caller, await db(begin, caller, asked), sdk)


@api_view_async()
async def chat_stream_view(request: HttpRequest, chat: str, *, caller: Caller) -> HttpResponseBase:
    """Stream the response that is under way from its beginning; nothing when there is none."""
    sdk = _sdk(request)
    segment = await db(resume, caller.user, chat)
    return _stream(caller, segment, sdk) if segment else HttpResponse(status=HTTPStatus.NO_CONTENT)


@api_view_async(methods=("POST",))
async def chat_stop_view(request: HttpRequest, chat: str, *, caller: Caller) -> JsonResponse:
    """Stop what runs in a chat, or only the turn that the body names."""
    body = read_body(CancelBody, request)
    session = await db(find_session, caller.user, chat)
    if session is None:
        raise NotFound("There is no such chat.")
    return await cancelled(caller, session_id=str(session.pk), turn_id=body.get("turn"))


def _sdk(request: HttpRequest) -> int:
    return number(request.GET, "sdk", default=SDK) or SDK


def _read(request: HttpRequest) -> ChatRequest:
    raw = read_raw(request, most=BODY_MAX)
    body: Any = decode(request, raw)
    return parse(body)


def _stream(caller: Caller, segment: Segment, sdk: int) -> StreamingHttpResponse:
    return StreamingHttpResponse(sse(caller, segment, sdk), content_type="text/event-stream", headers=SSE_HEADERS)
