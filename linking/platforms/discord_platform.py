"""Discord as a platform: what an adapter does there, over its REST API."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

from linking.platforms import discord_wire as wire
from linking.platforms.base import Incoming, Person, Place, Press, Refused, Rows
from linking.platforms.discord_rest import DiscordRefused, DiscordRest
from linking.platforms.splitting import Size, messages, utf16

#: Seconds between two writes in a channel: Discord takes five in five.
APART_SECONDS = 1.1
#: Seconds for which a message is tried again within one call, so that Discord sees that it is the same one.
SEND_SECONDS = 5.0
#: Seconds for which an answer to a person is tried again.
ANSWER_SECONDS = 20.0

_UNKNOWN_MESSAGE = 10008
_UNKNOWN_WEBHOOK = 10015
_CANNOT_REPLY = 160002


class Discord:
    """See ``linking.platforms.base.Platform``. A place's address is its channel."""

    name = "discord"
    #: Discord counts characters; whether those beyond the first plane count once or twice is not said.
    size = Size(wire.MESSAGE_MAX, utf16)
    #: The sign stays for ten.
    typing_seconds = 8.0
    has_replies = True

    def __init__(self, rest: DiscordRest, *, apart_seconds: float = APART_SECONDS) -> None:
        self._rest = rest
        self._apart = apart_seconds

    def pace_of(self, place: Place) -> tuple[Hashable, float]:
        """Return what the platform counts writes by, and the seconds that two of them must be apart."""
        return place.address, self._apart

    async def send(self, place: Place, text: str, *, buttons: Rows = (), reply_to: str = "") -> str:
        """Write a message; return its id."""
        return await self._send(place.address[0], text, buttons, reply_to)

    async def _send(self, channel: str, text: str, buttons: Rows = (), reply_to: str = "") -> str:
        body = {
            **wire.said(text),
            "components": wire.components(buttons),
            # The same message again, after an answer that was lost, is known by this.
            "nonce": secrets.token_hex(wire.NONCE_MAX // 2),
            "enforce_nonce": True,
        }
        if reply_to:
            body["message_reference"] = {"message_id": reply_to, "fail_if_not_exists": False}
        try:
            made = await self._rest.ask("POST", f"/channels/{channel}/messages", body, patience=SEND_SECONDS)
        except DiscordRefused as error:
            if error.code != _CANNOT_REPLY:
                raise
            return await self._send(channel, text, buttons)
        return str(made["id"])

    async def edit(self, place: Place, message: str, text: str, *, buttons: Rows = ()) -> None:
        """Replace the text and the buttons of a message."""
        body = {**wire.said(text), "components": wire.components(buttons)}
        await self._rest.ask("PATCH", f"/channels/{place.address[0]}/messages/{message}", body)

    async def delete(self, place: Place, message: str) -> None:
        """Take a message away; one that is gone is no error."""
        try:
            await self._rest.ask("DELETE", f"/channels/{place.address[0]}/messages/{message}")
        except DiscordRefused as error:
            if error.code != _UNKNOWN_MESSAGE:
                raise

    async def typing(self, place: Place) -> None:
        """Show that an answer is being written."""
        await self._rest.ask("POST", f"/channels/{place.address[0]}/typing")

    async def note(self, to: Incoming | Press, text: str) -> None:
        """Tell who wrote or pressed something short: to them alone after a command or a button."""
        if isinstance(to.person, wire.Asker):
            await self._answer(to.person.interaction, text)
            return
        for piece in messages(text, self.size):
            await self._send(to.place.address[0], piece, reply_to=to.message)

    async def _answer(self, interaction: wire.Interaction, text: str) -> None:
        webhook = f"/webhooks/{interaction.application}/{interaction.token}"
        for piece in messages(text, self.size):
            if interaction.waits:
                interaction.waits = False
                path, method = f"{webhook}/messages/@original", "PATCH"
            else:
                path, method = webhook, "POST"
            await self._ask_webhook(method, path, wire.said(piece, quiet=True))

    async def _ask_webhook(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        """Ask at an address that Discord makes when an interaction is answered: a moment after it, perhaps."""
        for seconds in (0.2, 0.5, 1.0):
            try:
                await self._rest.ask(method, path, body, patience=ANSWER_SECONDS)
            except DiscordRefused as error:
                if error.code != _UNKNOWN_WEBHOOK:
                    raise
                await asyncio.sleep(seconds)
            else:
                return
        await self._rest.ask(method, path, body, patience=ANSWER_SECONDS)

    async def tell_privately(self, person: Person, text: str) -> bool:
        """Tell a person what nobody else may read; return whether Discord let the bot do it."""
        if isinstance(person, wire.Asker):
            # After a quarter of an hour a command takes no more answers: then by direct message.
            with suppress(Refused):
                await self._answer(person.interaction, text)
                return True
        try:
            channel = await self._rest.ask("POST", "/users/@me/channels", {"recipient_id": person.id})
            for piece in messages(text, self.size):
                await self._send(str(channel["id"]), piece)
        except Refused:
            return False
        return True

    def how_to_reach(self) -> str:
        """Return a sentence that says how a person lets the bot write to them in private."""
        return "Discord does not let me write to you. Use the command /link here: only you see what it answers."
