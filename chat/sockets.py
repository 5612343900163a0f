"""What every websocket of ours has in common: who is there, what a frame is, and signs of life."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer

from common.auth import Caller, authenticate_scope, still_valid
from common.errors import AppError, Forbidden, Invalid, NotAuthenticated, NotFound
from copilot.events.listen import listen

logger = logging.getLogger(__name__)

NOT_LOGGED_IN = 4401
NOT_THERE = 4404
TOO_MANY = 4429
FRAMES_MAX = 60
FRAMES_SECONDS = 10.0
FRAME_LENGTH_MAX = 1_000_000
#: Seconds between two looks at the rows and the caller's rights; also the longest silence.
CHECK_SECONDS = 4.0
#: Seconds to wait after a hint, so that changes that come together are read together.
COALESCE_SECONDS = 0.2


class Socket(AsyncWebsocketConsumer):
    """A connection of an authenticated caller. Subclasses say what they open, watch and understand.

    Everything sent goes through ``push``; what takes longer than a database call runs as a task of the
    connection, because a socket handles one frame at a time and a stop must get through.
    """

    caller: Caller
    #: The group whose hints ask for a look; set by ``open``.
    group: str
    #: Channels' own listening would end connections, and refuse new ones, for as long as the layer fails.
    channel_layer_alias = ""

    async def open(self) -> None:
        """Load what the path names and name the group to listen to, or raise an AppError."""

    async def look(self) -> None:
        """Compare what was sent with the rows; called at least every few seconds and on every hint."""

    async def take(self, frame: dict[str, Any]) -> None:
        """Act on a frame whose ``type`` is a string, or raise an AppError."""

    async def connect(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._received: deque[float] = deque(maxlen=FRAMES_MAX)
        self._sent_at = time.monotonic()
        self._hint = asyncio.Event()
        self._closing = False
        await self.accept()
        try:
            self.caller = await authenticate_scope(self.scope)
            self.caller.require("chat")
            await self.open()
        except (NotAuthenticated, Forbidden):
            return await self.shut(NOT_LOGGED_IN)
        except NotFound:
            return await self.shut(NOT_THERE)
        _ = self.spawn(listen(self.group, lambda _: self.hint()))
        _ = self.spawn(self._keep_watch())
        return None

    async def disconnect(self, code: int) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def shut(self, code: int) -> None:
        """Close the connection with one of the documented codes."""
        self._closing = True
        with suppress(OSError):  # gone already
            await self.close(code)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` beside the frames, until the connection ends."""
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except NotAuthenticated:
            await self.shut(NOT_LOGGED_IN)
        except NotFound:
            await self.shut(NOT_THERE)
        except AppError as error:
            await self.refuse(error, None)
        except Exception:
            # The edge of a connection: it ends, the page reconnects and reads the rows.
            logger.exception("socket failed", extra={"action": "socket_failed"})
            await self.shut(1011)

    async def push(self, frame: dict[str, Any]) -> None:
        """Send one frame; after the connection began to close, nothing."""
        if not self._closing:
            self._sent_at = time.monotonic()
            try:
                await self.send(text_data=json.dumps(frame, ensure_ascii=False, separators=(",", ":")))
            except OSError:
                self._closing = True  # the client left a moment ago; the server is about to say so

    async def refuse(self, error: AppError, client_id: object) -> None:
        """Answer a frame with an error; the connection goes on."""
        about = {"client_id": client_id} if isinstance(client_id, str) else {}
        await self.push({"type": "error", **about, **error.body()})

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        now = time.monotonic()
        if len(self._received) == FRAMES_MAX and now - self._received[0] < FRAMES_SECONDS:
            return await self.shut(TOO_MANY)
        self._received.append(now)
        client_id = None
        try:
            frame = _parse(text_data)
            client_id = frame.get("client_id")
            if frame["type"] == "ping":
                await self.push({"type": "heartbeat"})
            else:
                await self.take(frame)
        except AppError as error:
            await self.refuse(error, client_id)
        return None

    def hint(self) -> None:
        """Have the rows looked at now."""
        self._hint.set()

    async def _keep_watch(self) -> None:
        checked = time.monotonic()
        while True:
            await self.look()
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._hint.wait()
            except TimeoutError:
                pass
            if self._hint.is_set():
                await asyncio.sleep(COALESCE_SECONDS)
            self._hint.clear()
            now = time.monotonic()
            if now - checked >= CHECK_SECONDS:
                checked = now
                if not await still_valid(self.caller):
                    raise NotAuthenticated
            if now - self._sent_at >= CHECK_SECONDS - 0.1:
                await self.push({"type": "heartbeat"})


def _parse(text: str | None) -> dict[str, Any]:
    if text is None or len(text) > FRAME_LENGTH_MAX:
        raise Invalid("Send frames as JSON text of at most a million characters.")
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid("The frame is not valid JSON.") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise Invalid('A frame is a JSON object with a "type".')
    return frame
