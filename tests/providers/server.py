"""A model provider on 127.0.0.1 that answers from a script, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

EVENT_STREAM = {"content-type": "text/event-stream"}


@dataclass
class Reply:
    """One answer: its pieces are sent one by one, then it ends, is cut off, or stays open."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: dict(EVENT_STREAM))
    end: Literal["complete", "cut", "open"] = "complete"
    #: Waited for before anything is sent.
    wait: asyncio.Event | None = None


@dataclass
class Request:
    """What arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Script = Callable[[Request], Reply]


def sse(*events: Any, done: bool = True, named: bool = False) -> bytes:
    """Return an event stream of JSON events, ended by ``[DONE]``; ``named`` adds the event lines."""
    lines = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
        lines.append(f"event: {event['type']}\ndata: {data}\n\n" if named else f"data: {data}\n\n")
    if done:
        lines.append("data: [DONE]\n\n")
    return "".join(lines).encode()


def split(body: bytes, size: int) -> list[bytes]:
    """Return ``body`` in pieces of ``size`` bytes; 0 leaves it whole."""
    return [body[at : at + size] for at in range(0, len(body), size)] if size else [body]


def failure(status: int, body: Any, **headers: str) -> Reply:
    """Return an error answer: JSON, or text as it is."""
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/html" if text.startswith("<") else "application/json"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply([text.encode()], status, {"content-type": kind, **named})


class ProviderServer:
    """The running server: what it was asked, and how its connections ended."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[Request] = []
        self.connections = 0
        #: Set when a client closes a connection whose answer was left open.
        self.abandoned = asyncio.Event()
        self.url = ""
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection for as long as it lasts."""
        self.connections += 1
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._open[task] = writer
        try:
            while request := await _read_request(reader):
                self.requests.append(request)
                reply = self._script(request)
                if reply.wait:
                    await reply.wait.wait()
                await _send(writer, reply)
                if reply.end == "open":
                    await reader.read()
                    self.abandoned.set()
                if reply.end != "complete":
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.abandoned.set()
        finally:
            writer.close()
            self._open.pop(task, None)

    async def close(self) -> None:
        """Hang up on everybody, and wait until that is done."""
        tasks = list(self._open)
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*tasks)


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    head = await reader.readline()
    if not head:
        return None
    headers = {}
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(head.split()[1].decode(), headers, json.loads(body or b"{}"))


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    headers = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
    writer.write(f"HTTP/1.1 {reply.status} Status\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode())
    for piece in filter(None, reply.pieces):  # an empty chunk is the end
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await writer.drain()
    if reply.end == "complete":
        writer.write(b"0\r\n\r\n")
    await writer.drain()


@asynccontextmanager
async def serve(script: Script | Reply | Iterable[Reply]) -> AsyncIterator[ProviderServer]:
    """Run a server that answers with ``script``: a function, one reply to everything, or replies in order."""
    if isinstance(script, Reply):
        reply = script
        server = ProviderServer(lambda _request: reply)
    elif callable(script):
        server = ProviderServer(script)
    else:
        replies = iter(script)
        server = ProviderServer(lambda _request: next(replies))
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        await server.close()
