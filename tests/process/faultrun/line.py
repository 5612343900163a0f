"""A line to Redis that loses and doubles hints and deliveries, and can be cut.

The processes under test reach their Redis through it. Every command is answered as usual, so nobody can tell that
a hint went nowhere.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

from tests.process.servers import free_port

#: Publishes to the same channel twice, with one answer.
_TWICE = b"redis.call('PUBLISH', KEYS[1], ARGV[1]) return redis.call('PUBLISH', KEYS[1], ARGV[1])"
Command = list[bytes]


def parse(data: bytes) -> tuple[Command, int] | None:
    """Return the first command of ``data`` and where it ends; None when it is not whole yet.

    Raises:
        ValueError: this is no command.
    """
    end = data.find(b"\r\n")
    if end < 0:
        return None
    if data[:1] != b"*":
        raise ValueError(data[:20])
    count, at = int(data[1:end]), end + 2
    command: Command = []
    for _ in range(count):
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        start, at = end + 2, end + 2 + int(data[at + 1 : end]) + 2
        if at > len(data):
            return None
        command.append(data[start : at - 2])
    return command, at


def encode(command: Command) -> bytes:
    """Return the bytes of a command."""
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in command)


def kind_of(command: Command) -> str:
    """Say whether a command sends a hint of the channel layer or delivers a task; empty for all others."""
    name = command[0].upper() if command else b""
    if name == b"PUBLISH" and command[1].startswith(b"asgi"):
        return "hint"
    if name == b"LPUSH" and command[1].startswith(b"celery"):
        return "delivery"
    return ""


def lost(command: Command) -> Command:
    """Return the command that puts the same where nobody looks."""
    return [command[0], b"nowhere", *command[2:]]


def doubled(command: Command) -> Command:
    """Return the command that sends the same twice."""
    if kind_of(command) == "delivery":
        return [*command, command[-1]]
    return [b"EVAL", _TWICE, b"1", command[1], command[2]]


class RedisLine:
    """Listens in a thread of its own and passes everything on to the Redis at ``target``, nearly.

    Attributes:
        share: by kind, the share (0 to 0.5) that is lost; as much is sent twice.
        lost, doubled: how many of each kind were.
    """

    def __init__(self, target: int, rng: random.Random) -> None:
        self.port = free_port()
        self.share = {"hint": 0.0, "delivery": 0.0}
        self.lost: Counter[str] = Counter()
        self.doubled: Counter[str] = Counter()
        self._target = target
        self._rng = rng
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="redis-line", daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self.accept()
        return self

    def stop(self) -> None:
        """Hang up for good."""
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def refuse(self) -> None:
        """Cut every connection and refuse new ones."""
        self._call(self._refuse())

    def accept(self) -> None:
        """Listen again."""
        self._call(self._accept())

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _accept(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0.05)  # the pumps come to their end

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there)
            try:
                pumps = [self._commands(reader, there), self._answers(there_reader, writer)]
                tasks = [asyncio.create_task(pump) for pump in pumps]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                self._writers.discard(there)
                there.transport.abort()
        except OSError:
            pass  # Redis itself is away
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while (data := await reader.read(65536)) and not writer.is_closing():
                writer.write(data)
                await writer.drain()

    async def _commands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting = b""
        with suppress(OSError):
            while (data := await reader.read(65536)) and not writer.is_closing():
                waiting += data
                while waiting and (found := parse(waiting)):
                    command, end = found
                    waiting = waiting[end:]
                    writer.write(encode(self._changed(command)))
                await writer.drain()

    def _changed(self, command: Command) -> Command:
        kind = kind_of(command)
        if not kind:
            return command
        roll = self._rng.random()
        if roll < self.share[kind]:
            self.lost[kind] += 1
            return lost(command)
        if roll < 2 * self.share[kind]:
            self.doubled[kind] += 1
            return doubled(command)
        return command
