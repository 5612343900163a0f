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

from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import InterfaceError, OperationalError

from chat.api.parsing import load_json
from common.auth import Caller, authenticate_scope, still_valid
from common.errors import AppError, Busy, Forbidden, Invalid, NotAuthenticated, NotFound
from common.metrics import sockets
from copilot.events.listen import listen
from copilot.turns.submit import CLIENT_ID_MAX

logger = logging.getLogger(__name__)

NOT_LOGGED_IN = 4401
NOT_THERE = 4404
TOO_MANY = 4429
TRY_AGAIN = 1013
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

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Take a message of the server's.

        Channels would send a thread before each to look for old database connections: sockets have none.
        """
        await getattr(self, get_handler_name(message))(message)

    async def connect(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._received: deque[float] = deque(maxlen=FRAMES_MAX)
        self._sent_at = time.monotonic()
        self._hint = asyncio.Event()
        self._closing = False
        self._counted = False
        await self.accept()
        self._count(+1)
        await self._guarded(self._enter())

    async def _enter(self) -> None:
        try:
            self.caller = await authenticate_scope(self.scope)
            self.caller.require("chat")
        except Forbidden as error:
            raise NotAuthenticated from error
        await self.open()
        _ = self.spawn(listen(self.group, lambda _: self.hint()))
        _ = self.spawn(self._keep_watch())
        _ = self.spawn(self._keep_checking())

    async def disconnect(self, code: int) -> None:
        if self._counted:
            self._count(-1)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _count(self, change: int) -> None:
        self._counted = change > 0
        sockets.labels(type(self).__name__.removesuffix("Consumer").lower()).inc(change)

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
        except (OperationalError, InterfaceError):
            await self.shut(TRY_AGAIN)  # the database is away: the page comes back in a moment
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

    async def acknowledge(self, frame: dict[str, Any], answer: dict[str, Any]) -> None:
        """Answer a frame that was carried out."""
        about = {"client_id": frame["client_id"]} if frame.get("client_id") is not None else {}
        await self.push({"type": "ack", **about, **answer})

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
        except (OperationalError, InterfaceError):
            await self.refuse(Busy(), client_id)
        except Exception:
            # Raising here would end the connection without its clean-up.
            logger.exception("frame failed", extra={"action": "frame_failed"})
            await self.shut(1011)
        return None

    def hint(self) -> None:
        """Have the rows looked at now."""
        self._hint.set()

    async def _keep_watch(self) -> None:
        """Look at the rows on each hint, and without one every few seconds."""
        while True:
            await self.look()
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._hint.wait()
                await asyncio.sleep(COALESCE_SECONDS)
            except TimeoutError:
                pass
            self._hint.clear()

    async def _keep_checking(self) -> None:
        """Ask every few seconds whether the caller is still let in, and break silences."""
        while True:
            await asyncio.sleep(CHECK_SECONDS / 2)
            if not await still_valid(self.caller):
                raise NotAuthenticated
            if time.monotonic() - self._sent_at >= CHECK_SECONDS / 2:
                await self.push({"type": "heartbeat"})


def _parse(text: str | None) -> dict[str, Any]:
    if text is None or len(text) > FRAME_LENGTH_MAX:
        raise Invalid("Send frames as JSON text of at most a million characters.")
    frame = load_json(text.encode("utf-8", "replace"))
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise Invalid('A frame is a JSON object with a "type".')
    client_id = frame.get("client_id")
    if client_id is not None and not (isinstance(client_id, str) and 0 < len(client_id) <= CLIENT_ID_MAX):
        raise Invalid(f"client_id must be a text of 1 to {CLIENT_ID_MAX} characters.", client_id="invalid")
    return frame
