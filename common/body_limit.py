"""A bound on the bytes of a request, in front of everything that keeps them.

Django keeps the body of a request, on disk if need be, before any view sees it. A file's own limit is counted by
whoever stores it; this one keeps a body that no view would take from filling the disk first.
"""

from __future__ import annotations

from typing import Any

from common.errors import TooLarge

#: Of a body that is too large, so much more is read and dropped before the answer: a client that still sends would
#: see a broken connection instead of it.
DROPPED_MAX = 256 * 1024 * 1024


class BodyLimit:
    """Answers 413 to a body over ``most`` bytes, of which nothing is kept.

    The code is ``file_too_large`` for a form, and ``text_too_long`` for anything else.
    """

    def __init__(self, application: Any, *, most: int) -> None:
        self._application = application
        self._most = most

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if _length(scope) > self._most:
            await _drop(receive)
            await _refuse(scope, send)
            return
        size = 0

        async def counted() -> Any:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size <= self._most:
                return message
            await _drop(receive, message)
            # Django reads the body before anything else: it gives up without an answer, and forgets it.
            return {"type": "http.disconnect"}

        await self._application(scope, counted, send)
        if size > self._most:
            await _refuse(scope, send)


def _length(scope: Any) -> int:
    """Return what the client says that it sends; a body without it comes in chunks, and is counted."""
    value = dict(scope["headers"]).get(b"content-length", b"")
    return int(value[:20]) if value.isdigit() else 0


async def _drop(receive: Any, message: Any = None) -> None:
    dropped = 0
    while (message is None or message.get("more_body")) and dropped <= DROPPED_MAX:
        message = await receive()
        dropped += len(message.get("body", b""))


async def _refuse(scope: Any, send: Any) -> None:
    is_form = dict(scope["headers"]).get(b"content-type", b"").startswith(b"multipart/")
    code = "file_too_large" if is_form else "text_too_long"
    response = TooLarge("The request is larger than anything that is accepted here.", code=code).response()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
