"""One way to call a provider: pooled SDK clients per event loop, and one reader of their streams."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol, TypeVar

import aiohttp
import httpx2
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from copilot.providers import errors
from copilot.providers.base import ProviderError, Reasoning, StreamPart, Text, ToolCallDelta, ToolCallStart
from copilot.providers.sse import SSEDecoder
from copilot.providers.wire import broken_stream

CONNECT_SECONDS = 10.0
#: Silence on a stream for so long means that it is dead; callers derive it from the longest tool call.
IDLE_SECONDS = 600.0
#: How long an answered request may take to close by itself before its connection is given up.
_CLOSE_SECONDS = 0.25
#: How long a connection that is not in use is kept, and the longest header of an answer.
_KEEPALIVE_SECONDS = 30.0
_LONGEST_HEADER = 64 * 1024
_MAX_BODY = 1_000_000

#: What a connection may break with; the transport translates most of aiohttp's exceptions, not all.
_BROKEN = (httpx2.HTTPError, aiohttp.ClientError)

Key = tuple[str, str, str, float]


class _Closable(Protocol):
    async def close(self) -> None: ...


ClientT = TypeVar("ClientT", bound=_Closable)

_clients: dict[asyncio.AbstractEventLoop, dict[Key, Any]] = {}
_clients_lock = threading.Lock()


def http_timeout(idle_seconds: float) -> httpx2.Timeout:
    """Return the time limits of a call: none on the whole, which may stream for long."""
    return httpx2.Timeout(None, connect=CONNECT_SECONDS, read=idle_seconds, write=60.0)


def http_client(make: Callable[..., httpx2.AsyncClient], idle_seconds: float) -> httpx2.AsyncClient:
    """Return an SDK's HTTP client over aiohttp with time limits and sessions of ours: many streams at once.

    aiohttp's parser is written in C: reading a token costs less than half of what it costs in Python.

    Args:
        make: the SDK's class for it.

    Raises:
        ProviderError: the environment names a SOCKS proxy, which aiohttp would call as if it spoke HTTP.
    """
    client = make(timeout=http_timeout(idle_seconds))
    transports: list[Any] = [client._transport, *client._mounts.values()]
    for transport in transports:
        if transport is None:
            continue  # no proxy for these hosts
        if transport.proxy is not None and transport.proxy.url.scheme.startswith("socks"):
            raise ProviderError(
                "not_configured",
                "A SOCKS proxy is set for calls to providers.",
                hint="Set HTTPS_PROXY to an HTTP proxy, or exempt the provider with NO_PROXY.",
            )
        transport.client = functools.partial(_session, transport)
    return client


def _session(transport: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_Connector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS, ssl=transport.ssl_context),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    )


class _Connector(aiohttp.TCPConnector):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = functools.partial(_Protocol, loop=self._loop)


class _Protocol(ResponseHandler):
    """A connection that tells the reader of a body when what follows is no HTTP.

    Upstream only whoever waits for the next head is told, so the reader would wait until a time limit ends it.
    """

    def set_exception(self, exc: Any, *cause: Any) -> None:
        """Fail with ``exc``; so does a body that was being read."""
        body = self._payload
        if isinstance(exc, HttpProcessingError) and body is not None and not body.is_eof():
            body.set_exception(aiohttp.ClientPayloadError(str(exc)), exc)
        super().set_exception(exc, *cause)


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

    def unsent(self) -> list[StreamPart]:
        """Return what was held back of a broken answer, and what is known to be used and was not said yet."""
        ...


async def stream_answer(
    call: Callable[[], AbstractAsyncContextManager[Any]],
    fold: Fold,
    *,
    pause: Callable[[], float],
    secret: str,
    sdk_error: type[Exception],
) -> AsyncGenerator[StreamPart]:
    """Make a call and yield its parts as they arrive; closing the generator closes the connection.

    Args:
        call: starts the request; its context is the HTTP response, of which nothing was read yet.
        pause: seconds to wait after each piece, see ``ModelRequest``.
        secret: the key in use, kept out of every error.
        sdk_error: the base class of the SDK's exceptions.

    Raises:
        ProviderError: the call failed, or its stream broke.
    """
    reader = _Reader()
    try:
        async with call() as response, aclosing(response.aiter_bytes()) as pieces:
            try:
                async for piece in pieces:
                    for part in _joined(_parts(reader, fold, piece)):
                        yield part
                    if fold.done:
                        break
                    if wait := pause():
                        await asyncio.sleep(wait)
                else:
                    for part in reader.rest(fold):
                        yield part
            except _BROKEN:
                if not fold.complete:
                    raise
            for part in fold.finish():
                yield part
            await _drain(pieces)
    except (ProviderError, sdk_error, httpx2.InvalidURL, *_BROKEN) as error:
        for part in fold.unsent():
            yield part
        if isinstance(error, ProviderError):
            raise
        raise errors.from_exception(error, secret=secret) from error


def _parts(reader: _Reader, fold: Fold, piece: bytes) -> Iterator[StreamPart]:
    for event, data in reader.feed(piece):
        yield from _sound(fold.feed(event, data))
        if fold.done:
            return


def _sound(parts: Iterable[StreamPart]) -> Iterator[StreamPart]:
    """Yield the parts of one event; what is no text where text belongs breaks the stream, as no JSON does."""
    for part in parts:
        match part:
            case Text(delta=str()) | Reasoning(delta=str()) | ToolCallDelta(arguments=str()):
                yield part
            case ToolCallStart(id=str(), name=str()):
                yield part
            case Text() | Reasoning() | ToolCallDelta() | ToolCallStart():
                raise broken_stream()
            case _:
                yield part


def _joined(parts: Iterator[StreamPart]) -> Iterator[StreamPart]:
    """Join neighbouring deltas of the answer: what came in one piece need not go its way token by token."""
    held: Text | Reasoning | None = None
    try:
        for part in parts:
            if isinstance(held, Text) and isinstance(part, Text):
                held = Text(held.delta + part.delta)
            elif isinstance(held, Reasoning) and isinstance(part, Reasoning) and not held.extra:
                held = Reasoning(held.delta + part.delta, part.extra)
            else:
                if held is not None:
                    yield held
                held = part if isinstance(part, Text | Reasoning) else None
                if held is None:
                    yield part
    except ProviderError:
        if held is not None:
            yield held  # it came before the error
        raise
    if held is not None:
        yield held


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
            yield from _sound(fold.whole(b"".join(self._body).decode("utf-8", "replace")))
            return
        for event, data in self._decoder.close():
            yield from _sound(fold.feed(event, data))


async def _drain(pieces: AsyncGenerator[bytes]) -> None:
    """Let an answered request end by itself, so that its connection can be used again."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            async for _ in pieces:
                pass
    except (TimeoutError, *_BROKEN):
        return
