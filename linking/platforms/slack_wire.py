"""What Slack's messages look like: limits, signatures, escaping, and the few fields that are read.

Nothing here talks to anybody.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any

API_URL = "https://slack.com/api/"
#: Characters of a message, as sent (escaped): more are cut off when posted above 40,000, and refused by
#: ``chat.update`` above 4,000.
MESSAGE_MAX = 3_900
#: Characters of the text of a block, of a button's label and of what a button brings back.
BLOCK_MAX = 3_000
LABEL_MAX = 75
VALUE_MAX = 2_000
#: Seconds by which the time of a signature may differ from now.
SIGNED_SECONDS = 300

#: Kinds of messages that people write besides the plain one.
_WRITTEN = frozenset({None, "file_share", "thread_broadcast"})
_LINK = re.compile(r"<([^<>|]+)(?:\|([^<>]*))?>")


def is_signed(secret: str, *, signature: str, timestamp: str, body: bytes, now: float) -> bool:
    """Tell whether a request comes from Slack and is not an old one sent again.

    Args:
        secret: the app's signing secret.
        timestamp: as the header says it, in seconds.
        body: as it came.
        now: the time, in seconds since 1970.
    """
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > SIGNED_SECONDS:
        return False
    signed = b"v0:" + timestamp.encode() + b":" + body
    expected = "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))


def escape(text: str) -> str:
    """Return a text that Slack shows as it is: without mentions, links or channels of its own making."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plain(text: str, me: str) -> str:
    """Return what a person wrote, from the form in which Slack sends it.

    Args:
        me: the bot's own user id; its mentions are left out.
    """
    shown = _LINK.sub(lambda found: _shown(found.group(1), found.group(2) or "", me), text)
    return shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()


def _shown(target: str, label: str, me: str) -> str:
    if target == f"@{me}":
        return ""
    if target.startswith(("@", "#")):
        return target[0] + (label or target[1:]).removeprefix(target[0])
    if target.startswith("!"):
        return label or "@" + target[1:].split("^")[0]
    address = target.removeprefix("mailto:")
    return address if label in ("", target, address) or target.endswith("//" + label) else f"{label} ({target})"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something happened.

    Attributes:
        team: the workspace.
        thread: the time stamp of the message that began the thread; empty outside of threads.
    """

    team: str
    channel: str
    thread: str = ""

    @property
    def is_private(self) -> bool:
        """Whether it is a conversation of one person with the bot."""
        return self.channel.startswith("D")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at Slack: a user id, and a name if it was sent along."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A message that a person wrote to the bot; ``ts`` is its id in its channel."""

    place: Place
    ts: str
    author: Person
    text: str
    has_files: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A slash command. Slack has none in threads."""

    place: Place
    person: Person
    name: str
    text: str
    answer_url: str


@dataclass(frozen=True, slots=True)
class Pressed:
    """A button that was pressed.

    Attributes:
        ts: of the message with the button.
        answer_url: takes messages that only this person sees.
    """

    place: Place
    person: Person
    ts: str
    value: str
    answer_url: str


def read_event(payload: dict[str, Any], *, me: str) -> Written | None:
    """Read an ``event_callback``; return None unless a person wrote a message to the bot.

    Args:
        me: the bot's own user id.
    """
    event = payload.get("event") or {}
    kind, user = event.get("type"), str(event.get("user") or "")
    private = event.get("channel_type") == "im"
    if kind != "app_mention" and not (kind == "message" and private):
        return None
    # An edited message is sent again with the time stamp of the first: it was answered already.
    if not user or user == me or event.get("bot_id") or event.get("edited"):
        return None
    if event.get("subtype") not in _WRITTEN or not event.get("ts") or not event.get("channel"):
        return None
    return Written(
        place=Place(
            team=str(payload.get("team_id") or event.get("team") or ""),
            channel=str(event["channel"]),
            thread=str(event.get("thread_ts") or ""),
        ),
        ts=str(event["ts"]),
        author=Person(user),
        text=plain(str(event.get("text") or ""), me),
        has_files=bool(event.get("files")),
    )


def read_command(form: dict[str, Any]) -> Command | None:
    """Read a slash command; None if it lacks what every one has."""
    if not form.get("command") or not form.get("user_id") or not form.get("channel_id"):
        return None
    return Command(
        place=Place(team=str(form.get("team_id") or ""), channel=str(form["channel_id"])),
        person=Person(str(form["user_id"]), str(form.get("user_name") or "")),
        name=str(form["command"]).removeprefix("/"),
        text=str(form.get("text") or "").strip(),
        answer_url=str(form.get("response_url") or ""),
    )


def read_action(payload: dict[str, Any]) -> Pressed | None:
    """Read a ``block_actions``; None for every other interaction, and for buttons that bring nothing back."""
    actions = payload.get("actions") or [{}]
    box, message, user = payload.get("container") or {}, payload.get("message") or {}, payload.get("user") or {}
    channel = (payload.get("channel") or {}).get("id") or box.get("channel_id")
    if payload.get("type") != "block_actions" or not actions[0].get("value") or not user.get("id") or not channel:
        return None
    team = payload.get("team") or {}
    return Pressed(
        place=Place(
            team=str(team.get("id") or user.get("team_id") or ""),
            channel=str(channel),
            thread=str(box.get("thread_ts") or message.get("thread_ts") or ""),
        ),
        person=Person(str(user["id"]), str(user.get("name") or user.get("username") or "")),
        ts=str(box.get("message_ts") or message.get("ts") or ""),
        value=str(actions[0]["value"]),
        answer_url=str(payload.get("response_url") or ""),
    )
