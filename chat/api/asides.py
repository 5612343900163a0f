"""Side questions: one answer as server-sent events, beside whatever runs in the session."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing

from django.http import HttpRequest, StreamingHttpResponse

from chat.api.serializers import AsideBody
from common.auth import Caller, api_view_async, check_still_valid
from common.bodies import read_body
from common.db import db
from common.errors import NotAuthenticated
from copilot import selectors
from copilot.agent.aside import SideAnswer, begin_aside
from copilot.events.follow import Beat
from copilot.serving import DONE, HEARTBEAT, SSE_HEADERS


@api_view_async(methods=("POST",))
async def aside_view(request: HttpRequest, session_id: str, *, caller: Caller) -> StreamingHttpResponse:
    """Answer a question from what the session shows, without tools; nothing is written to the session."""
    text = read_body(AsideBody, request)["text"]
    answer = await begin_aside(user=caller.user, session_id=session_id, text=text)
    return StreamingHttpResponse(
        _Stream(caller, session_id, answer), content_type="text/event-stream", headers=SSE_HEADERS
    )


class _Stream:
    """The answer's bytes. Django closes it with the response, wherever in the stream the client went away."""

    def __init__(self, caller: Caller, session_id: str, answer: SideAnswer) -> None:
        self._pieces = _sse(caller, session_id, answer)
        self.close = answer.leave

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces


async def _sse(caller: Caller, session_id: str, answer: SideAnswer) -> AsyncIterator[bytes]:
    """Yield the answer; closing this ends the model's call."""

    async def still_allowed() -> None:
        await db(_check, caller, session_id, pool="follow")

    async with aclosing(answer.chunks(still_allowed)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Beat):
                yield HEARTBEAT
            else:
                yield f"data: {json.dumps(chunk, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
    yield DONE


def _check(caller: Caller, session_id: str) -> None:
    if not check_still_valid(caller):
        raise NotAuthenticated
    selectors.session_of(caller.user, session_id)
