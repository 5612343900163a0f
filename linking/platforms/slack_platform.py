"""Slack as a platform: what an adapter does there, over its Web API."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from typing import Any

from linking.platforms import slack_wire as wire
from linking.platforms.base import Incoming, Person, Place, PlatformError, Press, Refused, Rows
from linking.platforms.slack_text import mrkdwn
from linking.platforms.slack_web import SlackRefused, SlackWeb
from linking.platforms.splitting import Size, messages, utf16

#: Seconds between two writes in a channel. Slack takes one message a second there, and 50 changes a minute in all
#: of a workspace; beyond them it says for how long to wait.
APART_SECONDS = 1.2
#: Seconds for which an answer to a person is tried again.
ANSWER_SECONDS = 20.0
#: Slack shows nobody typing: a message that was read gets this until its answer begins.
SEEN = "eyes"
#: So many messages are remembered to take it from them again.
SEEN_MAX = 500


class Slack:
    """See ``linking.platforms.base.Platform``. A place's address is its channel and the thread's first message.

    A message's id is its time stamp.
    """

    name = "slack"
    #: As sent: three characters grow when they are escaped. What else is changed for Slack does not grow.
    size = Size(wire.BLOCK_MAX - 100, lambda text: utf16(wire.escape(text)))
    typing_seconds = 0.0
    #: Only threads, which are conversations.
    has_replies = False

    def __init__(self, web: SlackWeb, *, apart_seconds: float = APART_SECONDS) -> None:
        self._web = web
        self._apart = apart_seconds
        self._seen: dict[tuple[str, str], None] = {}
        self._may_react = True

    def pace_of(self, place: Place) -> tuple[Hashable, float]:
        """Return what the platform counts writes by, and the seconds that two of them must be apart."""
        return place.address[0], self._apart

    async def send(self, place: Place, text: str, *, buttons: Rows = (), reply_to: str = "") -> str:
        """Write a message into the thread; return its id."""
        channel, thread = place.address
        body = {**_said(text, buttons), "channel": channel, "unfurl_links": False, "unfurl_media": False}
        if thread:
            body["thread_ts"] = thread
        made = await self._web.ask("chat.postMessage", body)
        await self._answered(channel, reply_to)
        return str(made["ts"])

    async def edit(self, place: Place, message: str, text: str, *, buttons: Rows = ()) -> None:
        """Replace the text and the buttons of a message."""
        body = {**_said(text, buttons), "channel": place.address[0], "ts": message}
        await self._web.ask("chat.update", body)

    async def delete(self, place: Place, message: str) -> None:
        """Take a message away; one that is gone is no error."""
        try:
            await self._web.ask("chat.delete", {"channel": place.address[0], "ts": message})
        except SlackRefused as error:
            if error.error != "message_not_found":
                raise

    async def typing(self, place: Place) -> None:
        """Slack has no such sign."""

    async def note(self, to: Incoming | Press, text: str) -> None:
        """Tell who wrote or pressed something short, and nobody else."""
        for piece in messages(text, self.size):
            await self._note(to, mrkdwn(piece))

    async def _note(self, to: Incoming | Press, text: str) -> None:
        if to.origin:
            with suppress(Refused):  # the address may be worn out
                body = {"response_type": "ephemeral", "replace_original": False, "text": text}
                await self._web.answer(str(to.origin), body)
                return
        channel, thread = to.place.address
        body = {"channel": channel, "text": text, "link_names": False, "parse": "none"}
        if thread:
            body["thread_ts"] = thread
        if to.place.kind == "user":
            body |= {"unfurl_links": False, "unfurl_media": False}
            await self._web.ask("chat.postMessage", body, patience=ANSWER_SECONDS)
        else:
            await self._web.ask("chat.postEphemeral", {**body, "user": to.person.id}, patience=ANSWER_SECONDS)

    async def tell_privately(self, person: Person, text: str) -> bool:
        """Tell a person what nobody else may read; return whether Slack let the bot do it."""
        try:
            found = await self._web.ask("conversations.open", {"users": person.id}, patience=ANSWER_SECONDS)
            channel = str(found["channel"]["id"])
            for piece in messages(text, self.size):
                body = {**_said(piece, ()), "channel": channel, "unfurl_links": False, "unfurl_media": False}
                await self._web.ask("chat.postMessage", body, patience=ANSWER_SECONDS)
        except Refused:
            return False
        return True

    def how_to_reach(self) -> str:
        """Return a sentence that says how a person lets the bot write to them in private."""
        return "Slack does not let me write to you. Open me under Apps, and write link in our own chat."

    async def seen(self, incoming: Incoming) -> None:
        """Show that a message was read, until its answer begins; without the permission nothing is shown."""
        key = (incoming.place.address[0], incoming.message)
        if not self._may_react:
            return
        try:
            await self._react("reactions.add", *key)
        except SlackRefused as error:
            self._may_react = error.error != "missing_scope"
        except PlatformError:
            pass
        else:
            self._seen[key] = None
            while len(self._seen) > SEEN_MAX:
                del self._seen[next(iter(self._seen))]

    async def _answered(self, channel: str, message: str) -> None:
        if (channel, message) in self._seen:
            del self._seen[channel, message]
            with suppress(PlatformError):
                await self._react("reactions.remove", channel, message)

    async def _react(self, method: str, channel: str, message: str) -> None:
        await self._web.ask(method, {"channel": channel, "timestamp": message, "name": SEEN})


def _said(text: str, rows: Rows) -> dict[str, Any]:
    """Return a text that names and links nobody by itself."""
    shown = mrkdwn(text)
    return {"text": shown, "blocks": wire.blocks(shown, rows), "link_names": False, "parse": "none"}
