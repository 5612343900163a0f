"""Plain HTTP requests to the server under test, one connection each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class BadAnswer(Exception):
    """The server answered with an unexpected status; the text has its body."""


@asynccontextmanager
async def _request(
    port: int, method: str, path: str, key: str, body: dict[str, Any] | None
) -> AsyncIterator[tuple[int, dict[str, str], asyncio.StreamReader]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        head += f"Content-Length: {len(data)}\r\nContent-Type: application/json\r\n" if body is not None else ""
        head += f"Authorization: Bearer {key}\r\n\r\n" if key else "\r\n"
        writer.write(head.encode() + data)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        yield int(lines[0].split()[1]), headers, reader
    finally:
        writer.close()


async def _pieces(headers: dict[str, str], reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding") != "chunked":
        yield await reader.read(-1)
        return
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def call(port: int, method: str, path: str, key: str = "", body: dict[str, Any] | None = None) -> Any:
    """Return the decoded JSON answer of a request to ``/api/v1`` on 127.0.0.1 (None when it has no body).

    Raises:
        BadAnswer: the status is not a 2xx.
    """
    async with _request(port, method, f"/api/v1{path}", key, body) as (status, headers, reader):
        data = b"".join([piece async for piece in _pieces(headers, reader)])
    if not 200 <= status < 300:
        raise BadAnswer(f"{method} {path}: {status} {data[:300].decode(errors='replace')}")
    return json.loads(data) if data else None


async def count_sse(port: int, path: str, key: str) -> int:
    """Read a server-sent stream under ``/api/v1`` to its ``[DONE]`` and return how many numbered events it had.

    Raises:
        BadAnswer: the status is not 200, or the stream ended without ``[DONE]``.
    """
    async with _request(port, "GET", f"/api/v1{path}", key, None) as (status, headers, reader):
        if status != 200:
            raise BadAnswer(f"{path}: {status}")
        data = b"".join([piece async for piece in _pieces(headers, reader)])
    if b"data: [DONE]" not in data:
        raise BadAnswer(f"{path}: the stream ended without [DONE]")
    return data.count(b"\nid:") + data.startswith(b"id:")
