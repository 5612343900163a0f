"""A name for each request and each websocket, by which its lines in every log are found."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Any

from common.logs import without_tokens
from common.redaction import redact_text
from common.tracing import span, traceparent
from common.trail import follow_trail

HEADER = b"x-request-id"
_TRACEPARENT = b"traceparent"
#: What another's name may look like to be taken over: it is stored, sent back and logged.
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BEGINS = {"http.response.start", "websocket.accept"}


class RequestIds:
    """Gives what comes in the id of its ``X-Request-ID``, or a new one, and says so in the answer.

    Pure ASGI, around everything else. A websocket has one id for as long as it is open.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        request_id = _given(scope["headers"]) or secrets.token_hex(16)
        named = (HEADER, request_id.encode())

        async def sending(message: Any) -> None:
            if message["type"] in _BEGINS:
                message = {**message, "headers": [*message.get("headers", ()), named]}
            await send(message)

        parent = _header(scope["headers"], _TRACEPARENT)
        about = {"path": without_tokens(scope["path"]), "request_id": request_id}
        with span(f"{scope['type']} request", parent=parent, **about):
            with follow_trail(request_id=request_id, traceparent=traceparent()):
                await self._application(scope, receive, sending)


def _given(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id that the request came with, if it is one; a secret sent by mistake is none."""
    given = _header(headers, HEADER)
    return given if given and _SANE.fullmatch(given) and redact_text(without_tokens(given)) == given else ""


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in headers if name == wanted), "")
