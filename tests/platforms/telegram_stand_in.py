"""A stand-in of Telegram's Bot API: real HTTP, with the limits and refusals that an adapter must live with.

It knows no secret of Telegram's: what it refuses, and in which words, is what its documentation says and what
people report.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from typing import Any

from aiohttp import web

Object = dict[str, Any]

TOKEN = "1234567:made-up-token-of-the-stand-in"
BOT = {"id": 1234567, "is_bot": True, "first_name": "Agent", "username": "stand_in_bot"}
LENGTH_MAX = 4096
TAGS = {"b", "strong", "i", "em", "u", "s", "code", "pre", "a", "blockquote"}


class Refusal(Exception):
    """An error answer."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code = code
        self.body: Object = {"ok": False, "error_code": code, "description": description}
        if parameters:
            self.body["parameters"] = parameters


@dataclass
class Message:
    """A message of the bot, as the chat shows it; ``html`` is empty when it came as plain text."""

    chat: int
    id: int
    text: str
    html: str = ""
    buttons: list[list[Object]] = field(default_factory=list)
    reply_to: int | None = None
    topic: int | None = None
    edits: int = 0
    deleted: bool = False

    def button(self, label: str) -> str:
        """Return the data of the button with this label."""
        return next(
            str(button["callback_data"]) for row in self.buttons for button in row if button["text"] == label
        )


@dataclass
class Line:
    """What a person wrote."""

    chat: int
    author: str
    text: str
    topic: int | None = None


class _Markup(HTMLParser):
    """Reads HTML as strictly as Telegram does, and returns what is shown."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.shown: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            raise Refusal(400, f'Bad Request: can\'t parse entities: Unsupported start tag "{tag}"')
        if tag == "blockquote" and tag in self.open:
            raise Refusal(400, "Bad Request: can't parse entities: blockquote entities can't be nested")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise Refusal(400, f'Bad Request: can\'t parse entities: Unexpected end tag "{tag}"')

    def handle_data(self, data: str) -> None:
        if "<" in data:
            raise Refusal(400, "Bad Request: can't parse entities: Unsupported start tag")
        self.shown.append(data)

    def handle_entityref(self, name: str) -> None:
        self.shown.append(unescape(f"&{name};") if name in ("lt", "gt", "amp", "quot") else f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.shown.append(unescape(f"&#{name};"))

    def handle_comment(self, data: str) -> None:
        raise Refusal(400, "Bad Request: can't parse entities: Unsupported start tag")

    handle_decl: Any = handle_comment
    unknown_decl: Any = handle_comment
    handle_pi: Any = handle_comment

    @classmethod
    def read(cls, text: str) -> str:
        parser = cls()
        parser.feed(text)
        parser.close()
        if parser.open:
            raise Refusal(400, f"Bad Request: can't parse entities: Can't find end tag for \"{parser.open[-1]}\"")
        return "".join(parser.shown)


class TelegramStandIn:
    """The running stand-in: what people do, what the bot wrote, and the limits it is held to.

    Attributes:
        limits: writes that a private chat and a group take within so many seconds.
        fails: names of methods to answer once with a status, in place of doing it.
    """

    def __init__(self) -> None:
        self.limits = {"private": (30, 1.0), "group": (20, 1.0)}
        self.chats: dict[int, Object] = {}
        self.reachable: set[int] = set()
        self.log: list[Message | Line] = []
        self.typing: list[int] = []
        self.answered: dict[str, str] = {}
        self.too_fast = 0
        self.calls: dict[str, int] = defaultdict(int)
        self.fails: dict[str, list[int]] = defaultdict(list)
        self.refuses_markup = False
        self.webhook: Object = {}
        self.commands: list[Object] = []
        self.url = ""
        self._updates: list[Object] = []
        self._ids = itertools.count(1)
        self._update_ids = itertools.count(700)
        self._writes: dict[int, deque[float]] = defaultdict(deque)
        self._news = asyncio.Condition()
        self._poll = 0

    # --- what people do ------------------------------------------------------------------

    def group(self, number: int = -100200, title: str = "Ops", **more: Any) -> Object:
        """Make a group with the bot in it."""
        self.chats[number] = {"id": number, "title": title, "type": "supergroup", **more}
        return self.chats[number]

    def person(self, number: int, name: str, *, started: bool = True) -> Object:
        """Make a person; one who has not started the bot cannot be written to."""
        self.chats[number] = {"id": number, "first_name": name, "type": "private"}
        if started:
            self.reachable.add(number)
        return {"id": number, "is_bot": False, "first_name": name}

    async def writes(self, person: Object, text: str, chat: Object | None = None, **more: Any) -> Object:
        """Have a person write to the bot, or into a group; return the message."""
        where = chat or self.chats[person["id"]]
        if where["type"] == "private":
            self.reachable.add(person["id"])
        if "message_thread_id" in more:
            more.setdefault("is_topic_message", True)
        message = {
            "message_id": next(self._ids),
            "date": 1_700_000_000,
            "chat": where,
            "from": person,
            "text": text or None,
            "entities": _entities(text),
            **more,
        }
        self.log.append(Line(where["id"], person["first_name"], text, more.get("message_thread_id")))
        await self.update(message={name: value for name, value in message.items() if value is not None})
        return message

    async def presses(self, person: Object, message: Message, label: str) -> str:
        """Have a person press a button; return the id of the press."""
        query = f"press{next(self._ids)}"
        shown = {"message_id": message.id, "chat": self.chats[message.chat], "date": 1_700_000_000}
        self.log.append(Line(message.chat, person["first_name"], f"[{label}]"))
        await self.update(
            callback_query={"id": query, "from": person, "message": shown, "data": message.button(label)}
        )
        return query

    async def update(self, **what: Any) -> None:
        """Have an update wait for the bot."""
        async with self._news:
            self._updates.append({"update_id": next(self._update_ids), **what})
            self._news.notify_all()

    # --- what is to be seen --------------------------------------------------------------

    def messages(self, chat: int) -> list[Message]:
        """Return what the bot wrote in a chat and did not take back."""
        return [each for each in self.log if isinstance(each, Message) and each.chat == chat and not each.deleted]

    async def until(self, what: str, condition: Any, seconds: float = 10.0) -> Any:
        """Wait until ``condition()`` is true; it is asked again after each call of the bot.

        Raises:
            AssertionError: it was not within ``seconds``.
        """
        try:
            async with asyncio.timeout(seconds), self._news:
                while not (found := condition()):
                    await self._news.wait()
                return found
        except TimeoutError:
            shown = "\n".join(self.transcript())
            raise AssertionError(f"no {what} within {seconds:g} s\n{shown}") from None

    async def says(self, chat: int, text: str, seconds: float = 10.0) -> Message:
        """Wait until a message of the bot in a chat has ``text`` in it; return the newest such."""

        def found() -> Message | None:
            return next((each for each in reversed(self.messages(chat)) if text in each.text), None)

        message: Message = await self.until(f"“{text}”", found, seconds)
        return message

    def transcript(self, chat: int | None = None) -> list[str]:
        """Return the chats as lines: who said what, and which buttons are there."""
        lines = []
        for each in self.log:
            if chat is not None and each.chat != chat:
                continue
            where = "(private) " if chat is None and self.chats[each.chat]["type"] == "private" else ""
            if isinstance(each, Line):
                lines.append(f"{where}{each.author}: {each.text}")
            elif not each.deleted:
                buttons = " ".join(f"[{button['text']}]" for row in each.buttons for button in row)
                body = each.text.replace("\n", "\n    ")
                lines.append(f"{where}bot: {body}" + (f"\n    {buttons}" if buttons else ""))
        return lines

    # --- the API -------------------------------------------------------------------------

    def application(self) -> web.Application:
        """Return the server."""
        app = web.Application()
        app.router.add_post("/bot{token}/{method}", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        method, wish = request.match_info["method"], json.loads(await request.read() or b"{}")
        self.calls[method] += 1
        try:
            if request.match_info["token"] != TOKEN:
                raise Refusal(401, "Unauthorized")
            if self.fails[method]:
                raise Refusal(self.fails[method].pop(0), "Made to fail")
            handler = getattr(self, f"_do_{method}", None)
            if handler is None:
                raise Refusal(404, "Not Found")
            result = await handler(wish)
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.code)
        finally:
            async with self._news:
                self._news.notify_all()
        return web.json_response({"ok": True, "result": result})

    async def _do_getMe(self, wish: Object) -> Object:
        return BOT

    async def _do_setMyCommands(self, wish: Object) -> bool:
        self.commands = wish["commands"]
        return True

    async def _do_setWebhook(self, wish: Object) -> bool:
        if not wish["url"].startswith("https://"):
            raise Refusal(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
        self.webhook = wish
        return True

    async def _do_deleteWebhook(self, wish: Object) -> bool:
        self.webhook = {}
        return True

    async def _do_getUpdates(self, wish: Object) -> list[Object]:
        if self.webhook:
            raise Refusal(409, "Conflict: can't use getUpdates method while webhook is active")
        self._poll += 1
        mine = self._poll
        deadline = time.monotonic() + float(wish.get("timeout", 0))
        async with self._news:
            self._updates = [each for each in self._updates if each["update_id"] >= wish.get("offset", 0)]
            self._news.notify_all()
            while not self._updates:
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                try:
                    await asyncio.wait_for(self._news.wait(), left)
                except TimeoutError:
                    return []
                if mine != self._poll:
                    raise Refusal(409, "Conflict: terminated by other getUpdates request")
            return self._updates[: int(wish.get("limit", 100))]

    @property
    def unconfirmed(self) -> int:
        """How many updates wait for the bot, or were given to it and not confirmed."""
        return len(self._updates)

    async def _do_sendMessage(self, wish: Object) -> Object:
        chat = self._chat(wish)
        topic = wish.get("message_thread_id")
        if topic is not None and not chat.get("is_forum"):
            raise Refusal(400, "Bad Request: message thread not found")
        message = Message(chat["id"], next(self._ids), "", topic=topic)
        message.reply_to = (wish.get("reply_parameters") or {}).get("message_id")
        self._fill(message, wish)
        self._count(chat)
        self.log.append(message)
        return {"message_id": message.id, "chat": chat, "date": 1_700_000_000, "text": message.text}

    async def _do_editMessageText(self, wish: Object) -> Object:
        chat = self._chat(wish)
        message = self._message(chat, wish, "edit")
        draft = Message(message.chat, message.id, "")
        self._fill(draft, wish)
        self._count(chat)
        if (draft.text, draft.html, draft.buttons) == (message.text, message.html, message.buttons):
            raise Refusal(400, "Bad Request: message is not modified: specified new message content is the same")
        message.text, message.html, message.buttons = draft.text, draft.html, draft.buttons
        message.edits += 1
        return {"message_id": message.id, "chat": chat, "date": 1_700_000_000, "text": message.text}

    async def _do_deleteMessage(self, wish: Object) -> bool:
        self._message(self._chat(wish), wish, "delete").deleted = True
        return True

    async def _do_sendChatAction(self, wish: Object) -> bool:
        if wish.get("action") != "typing":
            raise Refusal(400, "Bad Request: wrong parameter action in request")
        self.typing.append(self._chat(wish)["id"])
        return True

    async def _do_answerCallbackQuery(self, wish: Object) -> bool:
        query, text = wish["callback_query_id"], wish.get("text", "")
        if query in self.answered:
            raise Refusal(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
        if len(text) > 200:
            raise Refusal(400, "Bad Request: MESSAGE_TOO_LONG")
        self.answered[query] = text
        return True

    def _chat(self, wish: Object) -> Object:
        chat = self.chats.get(int(wish["chat_id"]))
        if chat is None:
            raise Refusal(400, "Bad Request: chat not found")
        if "migrated_to" in chat:
            moved = "Bad Request: group chat was upgraded to a supergroup chat"
            raise Refusal(400, moved, migrate_to_chat_id=chat["migrated_to"])
        if chat["type"] == "private" and chat["id"] not in self.reachable:
            raise Refusal(403, "Forbidden: bot can't initiate conversation with a user")
        return chat

    def _message(self, chat: Object, wish: Object, verb: str) -> Message:
        for message in self.messages(chat["id"]):
            if message.id == wish["message_id"]:
                return message
        raise Refusal(400, f"Bad Request: message to {verb} not found")

    def _fill(self, message: Message, wish: Object) -> None:
        text = str(wish["text"])
        if wish.get("parse_mode") == "HTML":
            if self.refuses_markup:
                raise Refusal(400, "Bad Request: can't parse entities: it was told to")
            message.html, message.text = text, _Markup.read(text)
        elif "parse_mode" in wish:
            raise Refusal(400, "Bad Request: unsupported parse_mode")
        else:
            message.text = text
        message.text = message.text.strip()
        if not message.text:
            raise Refusal(400, "Bad Request: message text is empty")
        if len(message.text.encode("utf-16-le")) // 2 > LENGTH_MAX:
            raise Refusal(400, "Bad Request: message is too long")
        message.buttons = (wish.get("reply_markup") or {}).get("inline_keyboard", [])
        for button in itertools.chain.from_iterable(message.buttons):
            if not 1 <= len(button["callback_data"].encode()) <= 64 or not button["text"]:
                raise Refusal(400, "Bad Request: BUTTON_DATA_INVALID")

    def _count(self, chat: Object) -> None:
        most, seconds = self.limits["private" if chat["type"] == "private" else "group"]
        writes, now = self._writes[chat["id"]], time.monotonic()
        while writes and writes[0] <= now - seconds:
            writes.popleft()
        if len(writes) >= most:
            self.too_fast += 1
            # Telegram names whole seconds; the stand-in's clock runs faster than that.
            raise Refusal(429, "Too Many Requests: retry later", retry_after=writes[0] + seconds - now)
        writes.append(now)


def _entities(text: str) -> list[Object] | None:
    """Mark commands and mentions as Telegram does, in UTF-16 code units."""
    found: list[Object] = []
    at = 0
    for word in text.replace("\n", " ").split(" "):
        kind = {"@": "mention", "/": "bot_command"}.get(word[:1])
        length = len(word.encode("utf-16-le")) // 2
        if kind and length > 1:
            found.append({"type": kind, "offset": at, "length": length})
        at += length + 1
    return found or None
