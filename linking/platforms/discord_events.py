"""What Discord sends, by the gateway or as signed requests, and what is done with it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from linking.platforms import discord_wire as wire
from linking.platforms.asking import read_object
from linking.platforms.base import Incoming, PlatformError, SetupError
from linking.platforms.client import Unreachable
from linking.platforms.conversation import Conversations
from linking.platforms.discord_rest import DiscordRefused, DiscordRest
from linking.platforms.serving import Answer, Crew

logger = logging.getLogger(__name__)

#: Seconds for which Discord is asked at the start, until it answers.
START_SECONDS = 3600.0
#: Seconds for which a server's name is asked for; without it people see its id.
NAME_SECONDS = 2.0
#: Seconds by which the time of a signature may differ from now: Discord sets no limit, so this is ours.
SIGNED_SECONDS = 300
#: So many interactions are known again when they are sent again within that time.
RECENT = 2000


class Events:
    """Turns what Discord sends into messages and presses.

    Args:
        conversations: does what they ask.
    """

    def __init__(self, rest: DiscordRest, conversations: Conversations) -> None:
        self._rest = rest
        self._conversations = conversations
        self._crew = Crew()
        self.me = ""
        #: Roles that stand for the bot.
        self.roles: frozenset[str] = frozenset()
        self._names: dict[str, str] = {}

    async def begin(self) -> None:
        """Find out who the bot is, and tell Discord its commands.

        Raises:
            SetupError: Discord does not know the token.
        """
        try:
            found = await self._rest.ask("GET", "/applications/@me", patience=START_SECONDS)
            self.me = str((found.get("bot") or {}).get("id") or found["id"])
            path = f"/applications/{found['id']}/commands"
            await self._rest.ask("PUT", path, wire.COMMANDS, patience=START_SECONDS)
        except DiscordRefused as error:
            if error.status == 401:
                raise SetupError("DISCORD_TOKEN", wire.FATAL_CLOSES[4004]) from error
            raise SetupError("DISCORD_TOKEN", str(error)) from error

    async def find_gateway(self) -> str:
        """Return the gateway's address; waits while the bot may begin no more sessions today.

        Raises:
            SetupError: Discord does not know the token any more.
        """
        try:
            found = await self._rest.ask("GET", "/gateway/bot", patience=START_SECONDS)
        except DiscordRefused as error:
            raise SetupError("DISCORD_TOKEN", wire.FATAL_CLOSES[4004]) from error
        limit = found.get("session_start_limit") or {}
        if limit.get("remaining") == 0:
            seconds = float(limit.get("reset_after") or 0) / 1000
            logger.warning("Discord lets the bot begin no more sessions for a while", extra={"seconds": seconds})
            await asyncio.sleep(seconds)
        return str(found["url"])

    async def close(self) -> None:
        """End what is under way; messages that are being shown are not."""
        await self._crew.close()

    def take(self, name: str, data: dict[str, Any]) -> asyncio.Task[None] | None:
        """Take an event of the gateway; return the task that brings a message into safe hands."""
        if name == "READY":
            self.me = str(data["user"]["id"])
        elif name == "GUILD_CREATE":
            self.roles |= wire.own_roles(data, self.me)
            self._names[str(data["id"])] = str(data.get("name") or "")
        elif name == "MESSAGE_CREATE":
            name_of_guild = self._names.get(str(data.get("guild_id")), "")
            incoming = wire.read_message(data, me=self.me, roles=self.roles, guild_name=name_of_guild)
            if incoming:
                task = asyncio.create_task(self._handle(incoming))
                self._crew.add(task)
                return task
        elif name == "INTERACTION_CREATE":
            self._crew.start(self._interact(data))
        return None

    async def _interact(self, data: dict[str, Any]) -> None:
        """Answer an interaction over the REST API, then do what it asks."""
        reaction = self._read(data)
        path = f"/interactions/{data.get('id')}/{data.get('token')}/callback"
        try:
            # Once only: refused the second time, it might be the first that was taken.
            await self._rest.ask("POST", path, reaction.answer)
        except DiscordRefused as error:
            # It was answered before, or too long ago: whoever did it saw that it failed, and may do it again.
            logger.info("an interaction came too late: %s", error)
            return
        except PlatformError as error:
            logger.info("an interaction was not answered: %s", error)
        await self._do(reaction)

    def _read(self, data: dict[str, Any]) -> wire.Reaction:
        return wire.read_interaction(data, self._names.get(str(data.get("guild_id")), ""))

    def answer(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return how an interaction is answered at once, and begin to do what it asks."""
        reaction = self._read(data)
        self._crew.start(self._do(reaction))
        return reaction.answer

    async def _handle(self, incoming: Incoming) -> None:
        """Do what a message asks. Who links a server is told its name, which a resumed session does not bring."""
        guild = incoming.place.platform_id
        if incoming.command == "link" and incoming.place.kind == "server" and not incoming.place_name:
            with suppress(PlatformError):
                found = await self._rest.ask("GET", f"/guilds/{guild}", patience=NAME_SECONDS)
                self._names[guild] = str(found.get("name") or "")
            incoming = replace(incoming, place_name=self._names.get(guild, ""))
        await self._conversations.handle(incoming)

    async def _do(self, reaction: wire.Reaction) -> None:
        asked = reaction.asked
        if asked is None:
            return
        if isinstance(asked, Incoming):
            await self._handle(asked)
        else:
            with suppress(Unreachable):  # whoever pressed was told
                await self._conversations.press(asked)


class Webhook:
    """Takes signed interactions, as an alternative to the gateway.

    Args:
        key: the application's public key.
        answer: returns how an interaction is answered.
        clock: the time, in seconds since 1970.
    """

    def __init__(
        self,
        key: Ed25519PublicKey,
        answer: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._answer = answer
        self._clock = clock
        self._recent: OrderedDict[str, dict[str, Any]] = OrderedDict()

    async def take(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request: 401 unless Discord signed it just now."""
        signature, timestamp = headers.get("X-Signature-Ed25519", ""), headers.get("X-Signature-Timestamp", "")
        signed = wire.is_signed(self._key, signature=signature, timestamp=timestamp, body=body)
        if not signed or not self._is_fresh(timestamp):
            return Answer(401, b'{"error":"bad signature"}')
        data = read_object(body)
        if data is None:
            return Answer(400, b'{"error":"no object"}')
        if "id" not in data:
            # News of the application, not interactions: they are only confirmed.
            return Answer(204)
        return Answer(200, json.dumps(self._once(data)).encode())

    def _is_fresh(self, timestamp: str) -> bool:
        return (
            timestamp.isascii() and timestamp.isdecimal() and abs(self._clock() - int(timestamp)) <= SIGNED_SECONDS
        )

    def _once(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to an interaction; the same one again has the same answer and no effect."""
        key = str(data["id"])
        if key not in self._recent:
            self._recent[key] = self._answer(data)
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        return self._recent[key]
