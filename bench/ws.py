"""A websocket client that costs next to nothing: what it uses of the machine the server does not have.

Just what the benchmark needs: no compression, no fragments on the way out, a masking key of zeros (legal, and the
payload stays as it is), pings answered.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from typing import Any, cast

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


class ConnectionClosed(Exception):
    """The server refused or ended the connection; the text says how."""


class Socket(asyncio.Protocol):
    """One websocket. ``on_text`` is called with each text frame as it arrives.

    ``closed`` is done when the connection has ended, with the close code (1006 when it just broke).
    """

    def __init__(self, on_text: Callable[[bytes], None], request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[int] = loop.create_future()
        self._on_text = on_text
        self._request = request
        self._buffer = b""
        self._fragments = b""
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionClosed("before the handshake"))
        if not self.closed.done():
            self.closed.set_result(1006)

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        if not self._upgraded:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = data
                return
            status = head.split(b"\r\n", 1)[0].decode()
            if " 101" not in status:
                if not self.opened.done():
                    self.opened.set_exception(ConnectionClosed(status))
                self._transport.close()
                return
            self._upgraded, data = True, rest
            if not self.opened.done():
                self.opened.set_result(None)
        self._buffer = self._frames(data)

    def _frames(self, data: bytes) -> bytes:
        """Handle every whole frame of ``data`` and return what is left."""
        at, end = 0, len(data)
        while end - at >= 2:
            size, body = data[at + 1] & 0x7F, at + 2
            if size == 126:
                if end < body + 2:
                    break
                size, body = struct.unpack_from("!H", data, body)[0], body + 2
            elif size == 127:
                if end < body + 8:
                    break
                size, body = struct.unpack_from("!Q", data, body)[0], body + 8
            if end < body + size:
                break
            self._frame(data[at] & 0x0F, bool(data[at] & 0x80), data[body : body + size])
            at = body + size
        return data[at:]

    def _frame(self, opcode: int, final: bool, payload: bytes) -> None:
        if opcode == _PING:
            self._write(_PONG, payload)
        elif opcode == _CLOSE:
            if not self.closed.done():
                self.closed.set_result(struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005)
            self._transport.close()
        elif opcode <= _TEXT:
            payload = self._fragments + payload if self._fragments else payload
            self._fragments = b"" if final else payload
            if final:
                self._on_text(payload)

    def _write(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        length = struct.pack("!B", 0x80 | size) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
        self._transport.write(bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload)

    def send(self, frame: dict[str, Any]) -> None:
        """Send ``frame`` as JSON text (at most 64 KiB)."""
        self._write(_TEXT, json.dumps(frame).encode())

    def close(self) -> None:
        """Say goodbye and hang up; idempotent."""
        if not self._transport.is_closing():
            self._write(_CLOSE, struct.pack("!H", 1000))
            self._transport.close()


async def connect(port: int, path: str, key: str, on_text: Callable[[bytes], None], timeout: float = 30) -> Socket:
    """Open a websocket to 127.0.0.1 with a bearer key.

    Raises:
        ConnectionClosed: the handshake was refused.
        OSError: nobody listens.
        TimeoutError: no handshake within ``timeout`` seconds.
    """
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Authorization: Bearer {key}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(lambda: Socket(on_text, request), "127.0.0.1", port)
    async with asyncio.timeout(timeout):
        await socket.opened
    return socket
