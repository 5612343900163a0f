"""Running an adapter: until it is told to stop, and where it listens for what a platform sends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from linking.platforms.base import SetupError

logger = logging.getLogger(__name__)
#: For libraries that would log whole messages, with tokens and what people wrote.
discreet = logging.getLogger(f"{__name__}.websockets")
discreet.setLevel(logging.WARNING)

#: Bytes of one request.
BODY_MAX = 2**20
#: Seconds that requests under way get at the end.
SHUTDOWN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a platform's request is answered with."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


Handle = Callable[[Mapping[str, str], bytes], Awaitable[Answer]]


class Crew:
    """Tasks that run beside each other and are ended together."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside everything else; what it raises is logged."""
        self.add(asyncio.create_task(work))

    def add(self, task: asyncio.Task[None]) -> None:
        """Take in a task that runs already."""
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("something that a platform sent was not dealt with", exc_info=error)

    async def close(self) -> None:
        """End all of them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def until_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until ``stop`` is set, and pass on what it raises."""
    running, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
    finally:
        running.cancel()
        stopped.cancel()
        with suppress(asyncio.CancelledError):
            await running


@asynccontextmanager
async def listening(setting: str, address: str, handle: Handle) -> AsyncIterator[int]:
    """Answer POST requests, on any path, with what ``handle`` returns for their headers and body.

    Args:
        setting: where ``address`` was set.
        address: ``host:port``; port 0 is any that is free.

    Yields:
        the port.

    Raises:
        SetupError: nobody can listen there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SetupError(setting, "expected host:port, as in 127.0.0.1:8082.")

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        try:
            made = await handle(request.headers, body)
        except Exception:  # of a form that nobody foresaw
            logger.exception("a request could not be read")
            made = Answer(400)
        return web.Response(status=made.status, body=made.body, content_type=made.content_type)

    app = web.Application(client_max_size=BODY_MAX)
    app.add_routes([web.post("/{path:.*}", answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    except OSError as error:
        await runner.cleanup()
        raise SetupError(setting, f"nobody can listen on {address} ({error.strerror}).") from error
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
