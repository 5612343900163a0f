"""One way to call a provider: pooled SDK clients per event loop, and one reader of their streams."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol, TypeVar

import httpx2

from copilot.providers import errors
from copilot.providers.base import ProviderError, StreamPart, Usage
from copilot.providers.sse import SSEDecoder
from copilot.providers.wire import broken_stream

CONNECT_SECONDS = 10.0
#: Silence on a stream for so long means that it is dead; callers derive it from the longest tool call.
IDLE_SECONDS = 600.0
#: How long an answered request may take to close by itself before its connection is given up.
_CLOSE_SECONDS = 0.25
_MAX_BODY = 1_000_000

Key = tuple[str, str, str, float]


class _Closable(Protocol):
    async def close(self) -> None: ...


ClientT = TypeVar("ClientT", bound=_Closable)

_clients: dict[asyncio.AbstractEventLoop, dict[Key, Any]] = {}
_clients_lock = threading.Lock()


def http_options(idle_seconds: float) -> dict[str, Any]:
    """Return the time limits and the pool of an SDK's HTTP client: no total limit, many streams at once."""
    return {
        "timeout": httpx2.Timeout(None, connect=CONNECT_SECONDS, read=idle_seconds, write=60.0),
        "limits": httpx2.Limits(max_connections=None, max_keepalive_connections=200, keepalive_expiry=30.0),
    }


def pooled(key: Key, make: Callable[[], ClientT]) -> ClientT:
    """Return the running loop's client for ``key``, made by ``make`` when there is none yet."""
    loop = asyncio.get_running_loop()
    with _clients_lock:
        if loop not in _clients:
            for ended in [known for known in _clients if known.is_closed()]:
                del _clients[ended]
            _clients[loop] = {}
        clients = _clients[loop]
        if key not in clients:
            clients[key] = make()
        client: ClientT = clients[key]
        return client


async def close_clients() -> None:
    """Close all provider connections of the running loop. Call it before the loop ends."""
    with _clients_lock:
        clients = _clients.pop(asyncio.get_running_loop(), {})
    for client in clients.values():
        await client.close()


class Fold(Protocol):
    """Puts one dialect's events together; it knows when the answer is complete."""

    #: The provider's end marker was read: nothing of interest follows.
    done: bool

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, even if the connection breaks now."""
        ...

    def feed(self, event: str, data: str) -> list[StreamPart]:
        """Return the parts in one event; raises ``ProviderError`` for an error inside the stream."""
        ...

    def whole(self, body: str) -> list[StreamPart]:
        """Return the parts of an answer that came as one body instead of a stream."""
        ...

    def finish(self) -> list[StreamPart]:
        """Return the last parts, the ``Stop`` among them; raises when the provider's end was missing."""
        ...

    def unsent_usage(self) -> Usage | None:
        """Return what is known to be used and was not said yet."""
        ...


async def stream_answer(
    call: Callable[[], AbstractAsyncContextManager[Any]],
    fold: Fold,
    *,
    secret: str,
    sdk_error: type[Exception],
) -> AsyncGenerator[StreamPart]:
    """Make a call and yield its parts as they arrive; closing the generator closes the connection.

    Args:
        call: starts the request; its context is the SDK's streamed response.
        secret: the key in use, kept out of every error.
        sdk_error: the base class of the SDK's exceptions.

    Raises:
        ProviderError: the call failed, or its stream broke.
    """
    reader = _Reader()
    try:
        async with call() as response, aclosing(response.http_response.aiter_bytes()) as pieces:
            try:
                async for piece in pieces:
                    for event, data in reader.feed(piece):
                        for part in fold.feed(event, data):
                            yield part
                        if fold.done:
                            break
                    if fold.done:
                        break
                else:
                    for part in reader.rest(fold):
                        yield part
            except httpx2.HTTPError:
                if not fold.complete:
                    raise
            for part in fold.finish():
                yield part
            await _drain(pieces)
    except (ProviderError, sdk_error, httpx2.HTTPError, httpx2.InvalidURL) as error:
        if usage := fold.unsent_usage():
            yield usage
        if isinstance(error, ProviderError):
            raise
        raise errors.from_exception(error, secret=secret) from error


class _Reader:
    """Tells a stream of events from one plain body, and hands out the events."""

    def __init__(self) -> None:
        self._decoder = SSEDecoder()
        self._began = False
        self._body: list[bytes] | None = None

    def feed(self, piece: bytes) -> list[tuple[str, str]]:
        """Return the events that ``piece`` completed."""
        if not self._began and (first := piece.lstrip()[:1]):
            self._began = True
            # No line of an event stream begins like JSON or HTML.
            self._body = [] if first in b"{[<" else None
        if self._body is not None:
            if sum(map(len, self._body)) < _MAX_BODY:
                self._body.append(piece)
            return []
        try:
            return self._decoder.feed(piece)
        except ValueError as error:
            raise broken_stream() from error

    def rest(self, fold: Fold) -> Iterator[StreamPart]:
        """Yield what the end of the response completed."""
        if self._body is not None:
            yield from fold.whole(b"".join(self._body).decode("utf-8", "replace"))
            return
        for event, data in self._decoder.close():
            yield from fold.feed(event, data)


async def _drain(pieces: AsyncGenerator[bytes]) -> None:
    """Let an answered request end by itself, so that its connection can be used again."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            async for _ in pieces:
                pass
    except (TimeoutError, httpx2.HTTPError):
        return
