"""Slack's Socket Mode: a websocket over which events come, for servers that Slack cannot reach.

An envelope is acknowledged when what is in it is in safe hands; until then Slack sends it again, and the same
again does nothing. Slack ends a connection after some hours and says so a little before: the next one is opened
first.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from linking.platforms.base import PlatformError, SetupError
from linking.platforms.serving import Crew, discreet
from linking.platforms.slack_web import SlackRefused, SlackWeb

logger = logging.getLogger(__name__)

#: Seconds that are waited for the other side's half of a closing. Slack leaves its half open.
CLOSE_SECONDS = 1.0
#: Seconds between pings of ours, and until one must have been answered.
PING_SECONDS = 15.0
#: Seconds before connecting again; doubled each time, up to the most, until Slack said hello.
AGAIN_SECONDS, AGAIN_MAX = 1.0, 60.0
SWITCHED_OFF = "Socket Mode was switched off for the app. Switch it on, or set SLACK_SIGNING_SECRET instead."

#: What a connection breaks with, beside its own errors, and what is raised by messages of an unknown form.
BROKEN = (PlatformError, OSError, ValueError, LookupError, TypeError, AttributeError)


class Socket:
    """Receives envelopes until it is cancelled.

    Args:
        web: with the app's token.
        on_envelope: called with the type and the payload of each; returns when it is in safe hands.
    """

    def __init__(
        self,
        web: SlackWeb,
        on_envelope: Callable[[str, dict[str, Any]], Awaitable[None]],
        *,
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        self._web = web
        self._on_envelope = on_envelope
        self._again_seconds = again_seconds
        self._stands = False
        self._refused = ""
        self._crew = Crew()

    async def run(self) -> None:
        """Connect, and connect again, for ever.

        Raises:
            SetupError: Slack will not have this app.
        """
        pause = self._again_seconds
        try:
            while True:
                self._stands = False
                told = asyncio.Event()
                held = asyncio.create_task(self._connection(told))
                self._crew.add(held)
                await _first(held, told)
                if self._refused:
                    raise SetupError("SLACK_APP_TOKEN", self._refused)
                pause = self._again_seconds if self._stands else min(pause * 2, AGAIN_MAX)
                if held.done() or not self._stands:
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
        finally:
            await self._crew.close()

    async def _connection(self, told: asyncio.Event) -> None:
        """Hold one connection to its end; set ``told`` when Slack says that it is about to end."""
        try:
            url = str((await self._web.ask("apps.connections.open"))["url"])
            async with connect(
                url,
                ping_interval=PING_SECONDS,
                ping_timeout=PING_SECONDS,
                close_timeout=CLOSE_SECONDS,
                logger=discreet,
            ) as socket:
                while not self._refused:
                    self._take(socket, json.loads(await socket.recv()), told)
        except SlackRefused as error:
            if error.is_lasting:
                self._refused = str(error)
            logger.warning("no connection to Slack: %s", error.error)
        except ConnectionClosed:
            logger.info("Slack closed the connection")
        except (*BROKEN, WebSocketException) as error:
            logger.warning("no connection to Slack: %s", type(error).__name__)

    def _take(self, socket: ClientConnection, message: dict[str, Any], told: asyncio.Event) -> None:
        if message.get("envelope_id"):
            self._crew.start(self._hand_over(socket, message))
        elif message.get("type") == "hello":
            self._stands = True
            logger.info("connected to Slack")
        elif message.get("type") == "disconnect":
            if message.get("reason") == "link_disabled":
                self._refused = SWITCHED_OFF
            told.set()

    async def _hand_over(self, socket: ClientConnection, message: dict[str, Any]) -> None:
        try:
            await self._on_envelope(str(message.get("type")), message.get("payload") or {})
        except Exception:  # one that nobody foresaw must not come again and again
            logger.exception("an envelope could not be read", extra={"kind": message.get("type")})
        # On a connection that has ended it cannot be acknowledged: it comes again, and is known by its ids.
        with suppress(ConnectionClosed):
            await socket.send(json.dumps({"envelope_id": message["envelope_id"]}))


async def _first(held: asyncio.Task[None], told: asyncio.Event) -> None:
    """Wait until a connection has ended or is about to."""
    waiter = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({held, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
