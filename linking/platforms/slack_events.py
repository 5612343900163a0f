"""What Slack sends, over a socket or as signed requests, and what is done with it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from linking.platforms import slack_wire as wire
from linking.platforms.asking import read_object
from linking.platforms.base import Incoming, Person, Place, PlatformError, Press, SetupError
from linking.platforms.client import Unreachable
from linking.platforms.conversation import Conversations
from linking.platforms.serving import Answer, Crew
from linking.platforms.slack_platform import Slack
from linking.platforms.slack_web import SlackRefused, SlackWeb

K = TypeVar("K")
V = TypeVar("V")
logger = logging.getLogger(__name__)

#: Seconds for which Slack is asked at the start, until it answers.
START_SECONDS = 3600.0
#: Seconds within which an event must be in safe hands; else Slack is told to send it again. It waits for 3.
TAKEN_SECONDS = 2.5
#: Seconds for which a name is asked for; without it a person is shown by their id.
NAME_SECONDS = 2.0
#: So many names, and places where people wrote last, are remembered.
KNOWN_MAX = 5000


class Events:
    """Turns what Slack sends into messages and presses.

    Args:
        conversations: does what they ask.
    """

    def __init__(self, web: SlackWeb, platform: Slack, conversations: Conversations) -> None:
        self._web = web
        self._platform = platform
        self._conversations = conversations
        self._crew = Crew()
        self._me = ""
        self._team_name = ""
        self._names: dict[str, str] = {}
        self._naming = asyncio.Lock()
        #: Where each person wrote last in a channel: a slash command says nothing of threads.
        self._places: dict[tuple[str, str], Place] = {}

    async def begin(self) -> None:
        """Find out who the bot is.

        Raises:
            SetupError: Slack does not know the token.
        """
        try:
            found = await self._web.ask("auth.test", patience=START_SECONDS)
        except SlackRefused as error:
            raise SetupError("SLACK_BOT_TOKEN", str(error)) from error
        self._me, self._team_name = str(found["user_id"]), str(found.get("team") or "")

    async def close(self) -> None:
        """End what is under way; messages that are being shown are not."""
        await self._crew.close()

    async def take(self, kind: str, payload: dict[str, Any]) -> None:
        """Take an envelope. On return what is in it is safe with Holdfast, or lost nothing by coming once only."""
        if kind == "events_api":
            await self._event(payload)
        elif kind == "slash_commands":
            self._command(payload)
        elif kind == "interactive":
            self._interaction(payload)

    async def _event(self, payload: dict[str, Any]) -> None:
        incoming = wire.read_event(payload, me=self._me, team_name=self._team_name)
        if incoming is None:
            return
        # Whoever came first is named first: the order of a conversation is that of its messages.
        async with self._naming:
            name = await self._name(incoming.person.id)
        self._remember(incoming)
        if incoming.text and not incoming.command:
            self._crew.start(self._platform.seen(incoming))
        await self._conversations.handle(replace(incoming, person=Person(incoming.person.id, name)))

    async def _name(self, user: str) -> str:
        if user not in self._names:
            found: dict[str, Any] = {}
            with suppress(PlatformError, TimeoutError):
                async with asyncio.timeout(NAME_SECONDS):
                    found = (await self._web.ask("users.info", {"user": user})).get("user") or {}
            profile = found.get("profile") or {}
            name = profile.get("display_name") or found.get("real_name") or found.get("name") or user
            _keep(self._names, user, str(name))
        return self._names[user]

    def _remember(self, incoming: Incoming) -> None:
        _keep(self._places, (incoming.place.address[0], incoming.person.id), incoming.place)

    def _command(self, form: Mapping[str, Any]) -> None:
        incoming = wire.read_command(form, team_name=self._team_name)
        if incoming is None:
            return
        place = self._places.get((incoming.place.address[0], incoming.person.id))
        self._crew.start(self._conversations.handle(replace(incoming, place=place) if place else incoming))

    def _interaction(self, payload: dict[str, Any]) -> None:
        if press := wire.read_press(payload):
            self._crew.start(self._press(press))

    async def _press(self, press: Press) -> None:
        with suppress(Unreachable):  # whoever pressed was told
            await self._conversations.press(press)

    async def take_in_time(self, payload: dict[str, Any]) -> bool:
        """Take an event; return whether it is in safe hands before Slack gives up waiting.

        If not it is still being taken in; when Slack sends it again that changes nothing.
        """
        work = asyncio.create_task(self._event(payload))
        self._crew.add(work)
        done, _ = await asyncio.wait({work}, timeout=TAKEN_SECONDS)
        return bool(done)


class Webhook:
    """Takes signed requests: events, commands and buttons, all at one address.

    Args:
        secret: the app's signing secret.
        clock: the time, in seconds since 1970.
    """

    def __init__(self, secret: str, events: Events, *, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._events = events
        self._clock = clock

    async def take(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request: 401 unless Slack signed it just now, 503 where it shall be sent again."""
        signature = headers.get("X-Slack-Signature", "")
        timestamp = headers.get("X-Slack-Request-Timestamp", "")
        if not wire.is_signed(
            self._secret, signature=signature, timestamp=timestamp, body=body, now=self._clock()
        ):
            return Answer(401, b'{"error":"bad signature"}')
        if headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            return await self._form(body)
        payload = read_object(body)
        if payload is None:
            return Answer(400, b'{"error":"no object"}')
        if payload.get("type") == "url_verification":
            return Answer(200, json.dumps({"challenge": payload.get("challenge")}).encode())
        if payload.get("type") == "event_callback" and not await self._events.take_in_time(payload):
            return Answer(503)
        return Answer(200)

    async def _form(self, body: bytes) -> Answer:
        try:
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        except ValueError:
            return Answer(400, b'{"error":"no form"}')
        if "payload" in form:
            payload = read_object(form["payload"])
            if payload is None:
                return Answer(400, b'{"error":"no object"}')
            await self._events.take("interactive", payload)
        elif "command" in form:
            await self._events.take("slash_commands", form)
        return Answer(200)


def _keep(known: dict[K, V], key: K, value: V) -> None:
    known.pop(key, None)
    known[key] = value
    while len(known) > KNOWN_MAX:
        del known[next(iter(known))]
