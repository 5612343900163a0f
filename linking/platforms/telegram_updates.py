"""Reading Telegram's updates: what is meant for the bot, and by whom. Nothing that arrives raises an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from linking.platforms.base import Incoming, Person, Place, Press
from linking.platforms.conversation import COMMANDS

Object = dict[str, Any]

#: The kinds of updates that are asked for.
KINDS = ["message", "callback_query"]
#: Characters of a name and of a quoted message that are passed on.
NAME_MAX = 100
QUOTED_MAX = 2000

_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?:\s+|\Z)")
_FILES = frozenset(
    {"animation", "audio", "contact", "dice", "document", "game", "location", "paid_media", "photo", "poll"}
    | {"sticker", "story", "venue", "video", "video_note", "voice"}
)


@dataclass(frozen=True, slots=True)
class Bot:
    """Who the bot is on Telegram."""

    id: int
    username: str


def read_update(update: Any, bot: Bot) -> Incoming | Press | None:
    """Return what an update asks of the bot, or None when it asks nothing."""
    if not isinstance(update, dict):
        return None
    if query := _object(update, "callback_query"):
        return _read_press(query)
    message = _object(update, "message")
    return _read_message(message, bot) if message else None


def _read_press(query: Object) -> Press | None:
    person = _person(_object(query, "from"))
    if not person or not isinstance(query.get("id"), str):
        return None
    message = _object(query, "message")
    place = _place(message, person) or Place("user", person.id, address=(person.id, ""))
    return Press(place, person, str(message.get("message_id", "")), _text(query, "data"), origin=query["id"])


def _read_message(message: Object, bot: Bot) -> Incoming | None:
    chat, sender = _object(message, "chat"), _object(message, "from")
    anonymous = _object(message, "sender_chat").get("id") == chat.get("id")
    if (sender.get("is_bot") and not anonymous) or message.get("is_automatic_forward"):
        return None
    person = Person("", _name(chat)) if anonymous else _person(sender)
    place = _place(message, person) if person else None
    if not person or not place or not isinstance(message.get("message_id"), int):
        return None
    text = _text(message, "text") or _text(message, "caption")
    files = not _FILES.isdisjoint(message)
    replied = _replied(message)
    by_reply = _object(replied, "from").get("id") == bot.id
    meant, command, text = _addressed(message, text, bot, private=place.kind == "user")
    if not (meant or by_reply) or not (text or files or command or meant):
        return None
    if place.kind == "user" and not (text or files or command):
        return None  # somebody pinned something, or set a timer
    return Incoming(
        place,
        person,
        str(message["message_id"]),
        text,
        command,
        reply_to=str(replied.get("message_id", "")),
        quoted=_quoted(message, replied, by_reply=by_reply),
        files=files,
        place_name=_name(chat) if place.kind == "server" else "",
    )


def _addressed(message: Object, text: str, bot: Bot, *, private: bool) -> tuple[bool, str, str]:
    """Return whether a text is for the bot, its command, and what is left of it without the bot's name."""
    if found := _COMMAND.match(text):
        word, name = found[1].lower(), found[2] or ""
        mine = name.lower() == bot.username.lower()
        if name and not mine:
            return False, "", text
        if word in COMMANDS:
            return True, word, text[found.end() :].strip()
        if mine:
            return True, "", f"/{found[1]} {text[found.end() :]}".strip()
    spans = _mentions(message, text, bot)
    for begin, end in reversed(spans):
        text = f"{text[:begin].rstrip(' ')} {text[end:].lstrip(' ')}".strip(" ")
    return private or bool(spans), "", text.strip()


def _mentions(message: Object, text: str, bot: Bot) -> list[tuple[int, int]]:
    """Return where the bot is named. Telegram counts in UTF-16 code units."""
    units = text.encode("utf-16-le", "surrogatepass")
    spans = []
    entities = message.get("entities") or message.get("caption_entities")
    for entity in entities if isinstance(entities, list) else ():
        if not isinstance(entity, dict):
            continue
        offset, length = entity.get("offset"), entity.get("length")
        if not isinstance(offset, int) or not isinstance(length, int) or offset < 0 or length < 1:
            continue
        begin = len(units[: 2 * offset].decode("utf-16-le", "replace"))
        name = units[2 * offset : 2 * (offset + length)].decode("utf-16-le", "replace")
        by_name = entity.get("type") == "mention" and name.lower() == f"@{bot.username}".lower()
        by_id = entity.get("type") == "text_mention" and _object(entity, "user").get("id") == bot.id
        if by_name or by_id:
            spans.append((begin, begin + len(name)))
    return sorted(spans)


def _replied(message: Object) -> Object:
    """Return the message that is answered; in a topic, what opened the topic is not."""
    replied = _object(message, "reply_to_message")
    return {} if "forum_topic_created" in replied else replied


def _quoted(message: Object, replied: Object, *, by_reply: bool) -> str:
    if picked := _text(_object(message, "quote"), "text"):
        return picked[:QUOTED_MAX]
    text = _text(replied, "text") or _text(replied, "caption")
    if by_reply or not text:
        return ""  # the agent knows what it said itself
    return f"{_name(_object(replied, 'from'))}: {text}"[:QUOTED_MAX]


def _place(message: Object, person: Person) -> Place | None:
    chat = _object(message, "chat")
    number = chat.get("id")
    if not isinstance(number, int):
        return None
    kind = chat.get("type") or ("private" if number > 0 else "group")
    # Replies have a thread of their own everywhere; only in forums it is a conversation.
    topic = message.get("message_thread_id") if message.get("is_topic_message") else None
    thread = str(topic) if isinstance(topic, int) else ""
    if kind == "private":
        return Place("user", person.id, thread, (str(number), thread))
    if kind in ("group", "supergroup"):
        return Place("server", str(number), thread, (str(number), thread))
    return None


def _person(sender: Object) -> Person | None:
    number = sender.get("id")
    return Person(str(number), _name(sender)) if isinstance(number, int) else None


def _name(who: Object) -> str:
    full = " ".join(filter(None, (_text(who, "first_name"), _text(who, "last_name"))))
    return (full or _text(who, "title") or _text(who, "username"))[:NAME_MAX]


def _object(parent: Object, name: str) -> Object:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _text(parent: Object, name: str) -> str:
    value = parent.get(name)
    return value if isinstance(value, str) else ""
