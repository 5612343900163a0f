"""Discord's gateway: the websocket over which events come.

A connection is begun with a heartbeat, then a new session or the resuming of the last one. It may end at any time;
the next one resumes, so that Discord sends what happened meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from linking.platforms import discord_wire as wire
from linking.platforms.base import PlatformError, SetupError
from linking.platforms.serving import discreet

logger = logging.getLogger(__name__)

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11

#: Seconds within which Discord must say hello.
HELLO_SECONDS = 20.0
#: Seconds that are waited for the other side's half of a closing.
CLOSE_SECONDS = 2.0
#: Bytes of one event: a server with many channels comes in one.
EVENT_MAX = 64 * 2**20
#: Seconds before connecting again; doubled each time, up to the most, until a session stands.
AGAIN_SECONDS, AGAIN_MAX = 1.0, 60.0
#: So many connections in a row may come to nothing before the session is given up: its address may be gone.
FAILURES_MAX = 3
#: Seconds, at least and at most, before a session that Discord called invalid is begun anew.
INVALID_SECONDS = (1.0, 5.0)


#: What a connection breaks with, beside its own errors, and what is raised by messages of an unknown form.
BROKEN = (PlatformError, OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class Session:
    """What resumes a session: its id, the address that knows it, and the last event that was taken."""

    id: str
    url: str
    seq: int = 0


class Gateway:
    """Receives events until it is cancelled.

    Args:
        token: the bot's.
        find_url: returns the address for a new session; raises ``SetupError`` if there cannot be one.
        on_event: called with the name and the data of each event; returns at once, with a task if the event is
            in safe hands only when that is done.
        session: of an earlier process, as ``kept`` returned it.
    """

    def __init__(
        self,
        token: str,
        find_url: Callable[[], Awaitable[str]],
        on_event: Callable[[str, dict[str, Any]], asyncio.Task[None] | None],
        *,
        session: Session | None = None,
        again_seconds: float = AGAIN_SECONDS,
        invalid_seconds: tuple[float, float] = INVALID_SECONDS,
    ) -> None:
        self._token = token
        self._find_url = find_url
        self._on_event = on_event
        self._again_seconds = again_seconds
        self._invalid_seconds = invalid_seconds
        self._session = session
        self._seq: int | None = session.seq if session else None
        self._unsafe: set[int] = set()
        self._acked = True
        self._stands = False

    async def run(self) -> None:
        """Connect, and connect again, for ever.

        Raises:
            SetupError: Discord will not have this bot.
        """
        pause, failures = self._again_seconds, 0
        while True:
            self._stands = False
            try:
                await self._connection()
            except ConnectionClosed as error:
                self._closed(error.rcvd.code if error.rcvd else None)
            except (*BROKEN, WebSocketException) as error:
                logger.warning("no connection to the gateway: %s", type(error).__name__)
            pause = self._again_seconds if self._stands else min(pause * 2, AGAIN_MAX)
            failures = 0 if self._stands else failures + 1
            if failures >= FAILURES_MAX:
                self._session = None
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret

    def kept(self) -> Session | None:
        """Return what resumes the session in another process, from the first event that is not in safe hands."""
        if self._session is None or self._seq is None:
            return None
        seq = min(self._unsafe) - 1 if self._unsafe else self._seq
        return Session(self._session.id, self._session.url, seq)

    def _closed(self, code: int | None) -> None:
        if code in wire.FATAL_CLOSES:
            raise SetupError("DISCORD_TOKEN", wire.FATAL_CLOSES[code])
        if code in wire.SESSION_LOST:
            self._session = None
        logger.info("the gateway closed the connection", extra={"code": code})

    async def _connection(self) -> None:
        """Hold one connection. It ends by an exception."""
        url = self._session.url if self._session else await self._find_url()
        address = f"{url.rstrip('/')}/?v={wire.VERSION}&encoding=json"
        async with connect(
            address, max_size=EVENT_MAX, ping_interval=None, close_timeout=CLOSE_SECONDS, logger=discreet
        ) as socket:
            async with asyncio.timeout(HELLO_SECONDS):
                hello = json.loads(await socket.recv())
            if hello.get("op") != HELLO:
                raise ValueError("no hello")
            beat = asyncio.create_task(self._beat(socket, float(hello["d"]["heartbeat_interval"]) / 1000))
            try:
                await self._begin(socket)
                while True:
                    await self._take(socket, json.loads(await socket.recv()))
            except (asyncio.CancelledError, *BROKEN):
                # Not as usual, with 1000: that would end the session, which the next process resumes.
                await socket.close(wire.CLOSE_TO_RESUME)
                raise
            finally:
                beat.cancel()

    async def _begin(self, socket: ClientConnection) -> None:
        if self._session:
            data: dict[str, Any] = {"token": self._token, "session_id": self._session.id, "seq": self._seq}
            await _send(socket, RESUME, data)
            return
        self._seq = None
        self._unsafe.clear()
        properties = {"os": "linux", "browser": "holdfast", "device": "holdfast"}
        await _send(socket, IDENTIFY, {"token": self._token, "intents": wire.INTENTS, "properties": properties})

    async def _beat(self, socket: ClientConnection, interval: float) -> None:
        """Send heartbeats; close a connection over which none was answered, for nothing else ever ends it."""
        self._acked = True
        await asyncio.sleep(interval * random.random())  # noqa: S311 - not a secret
        with suppress(ConnectionClosed):
            while self._acked:
                self._acked = False
                await _send(socket, HEARTBEAT, self._seq)
                await asyncio.sleep(interval)
            logger.warning("the gateway answers no heartbeats")
            await socket.close(wire.CLOSE_TO_RESUME)

    async def _take(self, socket: ClientConnection, message: dict[str, Any]) -> None:
        op = message.get("op")
        if op == DISPATCH:
            self._dispatch(str(message.get("t")), message.get("d") or {}, message.get("s"))
        elif op == HEARTBEAT:
            await _send(socket, HEARTBEAT, self._seq)
        elif op == ACK:
            self._acked = True
        elif op == RECONNECT:
            await socket.close(wire.CLOSE_TO_RESUME)
        elif op == INVALID:
            if not message.get("d"):
                self._session = None
            await asyncio.sleep(random.uniform(*self._invalid_seconds))  # noqa: S311 - not a secret
            await socket.close(wire.CLOSE_TO_RESUME)

    def _dispatch(self, name: str, data: dict[str, Any], seq: int | None) -> None:
        if name == "READY":
            self._session = Session(id=str(data["session_id"]), url=str(data["resume_gateway_url"]))
        if name in ("READY", "RESUMED"):
            self._stands = True
            logger.info("connected to the gateway", extra={"event": name.lower()})
        try:
            self._watch(self._on_event(name, data), seq)
        except Exception:  # one that nobody foresaw must not end the connection
            logger.exception("an event could not be read", extra={"event": name})
        self._seq = seq if seq is not None else self._seq

    def _watch(self, task: asyncio.Task[None] | None, seq: int | None) -> None:
        """Keep an event in mind until it is in safe hands; one that was broken off never is."""
        if task is None or seq is None:
            return
        self._unsafe.add(seq)
        task.add_done_callback(lambda done: None if done.cancelled() else self._unsafe.discard(seq))


async def _send(socket: ClientConnection, op: int, data: Any) -> None:
    await socket.send(json.dumps({"op": op, "d": data}))
