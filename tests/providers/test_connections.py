"""What a broken connection to a provider is called, and how many there may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from copilot.providers.base import StreamPart
from copilot.providers.openai import OpenAIProvider
from tests.providers.answers import ask, collect


@asynccontextmanager
async def answering(raw: bytes | None) -> AsyncIterator[str]:
    """A server that answers each request with ``raw`` and hangs up; at once when it is None."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if raw is not None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (None, "The connection to the provider was cut."),
        (b"", "The connection to the provider was cut."),
        (b"220 smtp.example ready\r\n\r\n", "What the provider answered is not HTTP."),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nnot a size\r\n", "What the provider answered is not HTTP."),
        (HEAD + b"content-length: 100\r\n\r\ndata: {}", "The connection to the provider was cut."),
    ],
)
async def test_a_broken_connection_is_a_network_error(raw: bytes | None, detail: str) -> None:
    async with answering(raw) as url:
        error = (await collect(OpenAIProvider(api_key="k", base_url=url).stream(ask()))).error
    assert error is not None
    assert (error.code, error.detail) == ("network", detail)


class Pieces:
    """A server that sends its answer piece by piece, each once the one before was read, and hangs up."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.read = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in self.pieces:
            writer.write(piece)
            await writer.drain()
            await self.read.wait()
        writer.close()


def framed(event: str) -> bytes:
    data = f"data: {event}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize("whole", [False, True], ids=["in the middle", "after the answer"])
async def test_a_body_that_stops_being_http_ends_the_answer_at_once(whole: bool) -> None:
    """aiohttp leaves the reader of such a body waiting for as long as the longest silence allowed."""
    text = '{"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": %s}]}'
    first = framed(text % ('"stop"' if whole else "null"))
    served = Pieces(HEAD + b"transfer-encoding: chunked\r\n\r\n" + first, b"ZZZ\r\nnot a chunk\r\n")
    server = await asyncio.start_server(served.answer, "127.0.0.1", 0)
    async with server, asyncio.timeout(5):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"

        async def seen() -> AsyncIterator[StreamPart]:
            async for part in OpenAIProvider(api_key="k", base_url=url).stream(ask()):
                served.read.set()
                yield part

        answer = await collect(seen())
    assert answer.text == "Hi"
    if whole:
        assert answer.error is None
        assert answer.stop is not None
    else:
        assert answer.error is not None
        assert answer.error.code == "network"


async def test_a_long_header_is_no_obstacle() -> None:
    body = b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-policy: " + b"a" * 20_000
    async with answering(head + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body) as url:
        answer = await collect(OpenAIProvider(api_key="k", base_url=url).stream(ask()))
    assert (answer.error, answer.text) == (None, "Hi")


async def test_a_socks_proxy_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    error = (await collect(OpenAIProvider(api_key="k", base_url="http://example.invalid/v1").stream(ask()))).error
    assert error is not None
    assert error.code == "not_configured"
    assert "HTTPS_PROXY" in error.hint
