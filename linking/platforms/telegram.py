"""The Telegram adapter."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from linking.platforms.base import (
    Incoming,
    Person,
    Place,
    PlatformError,
    Press,
    Refused,
    Rows,
    SetupError,
    TooFast,
    Unavailable,
)
from linking.platforms.client import Holdfast
from linking.platforms.conversation import Conversations
from linking.platforms.memory import Memory
from linking.platforms.pacing import Pace
from linking.platforms.serving import listening
from linking.platforms.splitting import Size, utf16
from linking.platforms.telegram_markup import LENGTH_MAX, to_html
from linking.platforms.telegram_receiver import AGAIN_MAX_SECONDS, AGAIN_SECONDS, Receiver, unless
from linking.platforms.telegram_updates import KINDS, Bot
from linking.platforms.telegram_webhook import taking
from linking.platforms.telegram_wire import BadMarkup, BadToken, Moved, NotModified, Wire

REQUIRED = ("TELEGRAM_TOKEN",)
OPTIONAL = ("TELEGRAM_API_URL", "TELEGRAM_WEBHOOK_URL", "TELEGRAM_WEBHOOK_SECRET", "TELEGRAM_WEBHOOK_LISTEN")

#: What Telegram lets a bot write, edits and new messages together: in a private chat about once a second, in any
#: chat 20 times a minute in the long run, 30 times a second in all. Who goes further may have to wait for minutes.
PRIVATE_SECONDS = 1.1
GROUP_SECONDS = 3.1
OVERALL_SECONDS = 0.04
BURST = 10
#: Characters of what is said to who pressed a button; longer is refused.
TOLD_MAX = 200
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
_COMMANDS = {
    "ask": "Ask something, in a group",
    "stop": "Stop what runs here",
    "link": "Link this chat to a Holdfast account",
    "unlink": "How to end that",
    "help": "What I can do",
}

T = TypeVar("T")
log = logging.getLogger(__name__)


class Telegram:
    """A bot on Telegram, as ``base.Platform`` wants it.

    Args:
        apart: seconds between two writes in a private chat and in a group.
    """

    name = "telegram"
    # What is drawn in place of Markdown may be a little longer than it.
    size = Size(LENGTH_MAX - 96, utf16)
    typing_seconds = 4.5
    has_replies = True

    def __init__(
        self, wire: Wire, bot: Bot, *, apart: tuple[float, float] = (PRIVATE_SECONDS, GROUP_SECONDS)
    ) -> None:
        self._wire = wire
        self._bot = bot
        self._apart = apart
        #: Groups that got a new id.
        self._moved: dict[str, str] = {}

    def pace_of(self, place: Place) -> tuple[Hashable, float]:
        return place.address[0], self._apart[0 if place.kind == "user" else 1]

    async def send(self, place: Place, text: str, *, buttons: Rows = (), reply_to: str = "") -> str:
        answers = {"message_id": int(reply_to), "allow_sending_without_reply": True} if reply_to else None
        sent = await self._text(
            "sendMessage",
            place,
            text,
            buttons,
            message_thread_id=int(place.address[1]) if place.address[1] else None,
            reply_parameters=answers,
        )
        return str(sent["message_id"])

    async def edit(self, place: Place, message: str, text: str, *, buttons: Rows = ()) -> None:
        with suppress(NotModified):
            await self._text("editMessageText", place, text, buttons, message_id=int(message))

    async def delete(self, place: Place, message: str) -> None:
        with suppress(Refused):
            await self._in(place, lambda chat: self._call("deleteMessage", chat_id=chat, message_id=int(message)))

    async def typing(self, place: Place) -> None:
        topic = int(place.address[1]) if place.address[1] else None
        await self._in(
            place,
            lambda chat: self._call("sendChatAction", chat_id=chat, message_thread_id=topic, action="typing"),
        )

    async def note(self, to: Incoming | Press, text: str) -> None:
        if isinstance(to, Press):
            told = text if len(text) <= TOLD_MAX else f"{text[: TOLD_MAX - 1]}…"
            # A word is shown in passing; what has to be read stays until it is closed.
            await self._call(
                "answerCallbackQuery", callback_query_id=to.origin, text=told, show_alert=len(told) > 30
            )
            return
        # In a group it must be seen to whom this is said.
        await self.send(to.place, text, reply_to=to.message if to.place.kind == "server" else "")

    async def tell_privately(self, person: Person, text: str) -> bool:
        try:
            await self.send(Place("user", person.id, address=(person.id, "")), text)
        except Refused:
            return False
        return True

    def how_to_reach(self) -> str:
        return (
            f"I may not write to you yet. Open https://t.me/{self._bot.username}?start=link and press Start:"
            " you get the link there, where nobody else reads it."
        )

    async def _text(self, method: str, place: Place, text: str, buttons: Rows, **more: Any) -> Any:
        """Write a text with its markup, or as it is when Telegram cannot read that."""
        more |= {"link_preview_options": {"is_disabled": True}, "reply_markup": _keyboard(buttons)}
        html = to_html(text)
        if html is not None:
            with suppress(BadMarkup):
                return await self._in(
                    place, lambda chat: self._call(method, chat_id=chat, text=html, parse_mode="HTML", **more)
                )
        return await self._in(place, lambda chat: self._call(method, chat_id=chat, text=text, **more))

    async def _in(self, place: Place, call: Callable[[str], Awaitable[T]]) -> T:
        """Make a call in a chat, under its new id if it has one."""
        chat = self._moved.get(place.address[0], place.address[0])
        try:
            return await call(chat)
        except Moved as error:
            self._moved[place.address[0]] = error.chat
            return await call(error.chat)

    async def _call(self, method: str, **parameters: Any) -> Any:
        try:
            return await self._wire.call(method, parameters)
        except BadToken as error:
            raise Unavailable(str(error)) from error


def _keyboard(buttons: Rows) -> dict[str, Any] | None:
    rows = [[{"text": button.label, "callback_data": button.data} for button in row] for row in buttons]
    return {"inline_keyboard": rows} if rows else None


async def serve(
    configured: Mapping[str, str],
    holdfast: Holdfast,
    memory: Memory,
    stop: asyncio.Event,
    say: Callable[[str], None],
    *,
    apart: tuple[float, float] = (PRIVATE_SECONDS, GROUP_SECONDS),
) -> None:
    """Run the bot until ``stop`` is set.

    Raises:
        SetupError: Telegram or the settings do not allow it.
    """
    if not configured["TELEGRAM_API_URL"].startswith(("https://", "http://")):
        raise SetupError("TELEGRAM_API_URL", "expected an address such as https://api.telegram.org.")
    address, secret = configured["TELEGRAM_WEBHOOK_URL"], configured["TELEGRAM_WEBHOOK_SECRET"]
    if address and not _SECRET.fullmatch(secret):
        raise SetupError("TELEGRAM_WEBHOOK_SECRET", "needed with TELEGRAM_WEBHOOK_URL: letters, digits, _ and -.")
    async with Wire(configured["TELEGRAM_TOKEN"], configured["TELEGRAM_API_URL"]) as wire:
        bot = await _introduce(wire, stop)
        if bot is None:
            return
        platform = Telegram(wire, bot, apart=apart)
        pace = Pace(overall=OVERALL_SECONDS, sustained=apart[1], burst=BURST)
        conversations = Conversations(platform, holdfast, memory, pace=pace)
        receiver = Receiver(wire, bot, conversations)
        try:
            resumed = conversations.resume()
            if address:
                where = configured["TELEGRAM_WEBHOOK_LISTEN"]
                async with listening("TELEGRAM_WEBHOOK_LISTEN", where, taking(secret, receiver.take)) as port:
                    await _set_webhook(wire, address, secret)
                    say(f"@{bot.username} gets updates on port {port}. {resumed} answers go on. Ctrl-C stops it.")
                    await stop.wait()
            else:
                await _patiently(wire, stop, "deleteWebhook", {})
                say(f"@{bot.username} asks for updates. {resumed} answers go on. Ctrl-C stops it.")
                await receiver.poll(stop)
        finally:
            await conversations.close()


async def _introduce(wire: Wire, stop: asyncio.Event) -> Bot | None:
    """Learn the bot's name, and tell Telegram its commands; None when told to stop before."""
    try:
        me = await _patiently(wire, stop, "getMe", {})
    except (BadToken, Refused) as error:
        raise SetupError("TELEGRAM_TOKEN", f"Telegram refuses it: {error}.") from error
    if me is None:
        return None
    commands = [{"command": word, "description": text} for word, text in _COMMANDS.items()]
    with suppress(PlatformError):  # only a convenience
        await wire.call("setMyCommands", {"commands": commands})
    return Bot(me["id"], me["username"])


async def _set_webhook(wire: Wire, address: str, secret: str) -> None:
    wish = {"url": address, "secret_token": secret, "allowed_updates": KINDS}
    try:
        await wire.call("setWebhook", wish)
    except PlatformError as error:
        raise SetupError("TELEGRAM_WEBHOOK_URL", f"Telegram refuses it: {error}.") from error


async def _patiently(wire: Wire, stop: asyncio.Event, method: str, parameters: dict[str, Any]) -> Any:
    """Make a call until Telegram answers; None when told to stop before."""
    wait = AGAIN_SECONDS
    while not stop.is_set():
        try:
            return await unless(stop, wire.call(method, parameters))
        except (Unavailable, TooFast) as error:
            log.warning("Telegram does not answer", extra={"error": str(error)})
        await unless(stop, asyncio.sleep(wait))
        wait = min(AGAIN_MAX_SECONDS, wait * 2)
    return None
