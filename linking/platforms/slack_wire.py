"""What Slack's messages look like: limits, signatures, escaping, and the few fields that are read or written.

Nothing here talks to anybody.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from linking.platforms.base import Button, Incoming, Person, Place, Press, Rows
from linking.platforms.conversation import COMMANDS
from linking.platforms.typed import read_typed

API_URL = "https://slack.com/api/"
#: Characters of a block's text, as sent (escaped), and of a button's label. A message that has no blocks may be
#: longer (4,000 where it is changed), but one length for all is simpler.
BLOCK_MAX = 3_000
LABEL_MAX = 75
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


def read_event(payload: dict[str, Any], *, me: str, team_name: str = "") -> Incoming | None:
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
    team, ts = str(payload.get("team_id") or event.get("team") or ""), str(event["ts"])
    place = _place(team, str(event["channel"]), user, str(event.get("thread_ts") or ""), ts)
    command, text = read_typed(plain(str(event.get("text") or ""), me))
    return Incoming(
        place=place,
        person=Person(user, ""),
        message=ts,
        text=text,
        command=command,
        files=bool(event.get("files")),
        place_name=team_name if place.kind == "server" else "",
    )


def _place(team: str, channel: str, person: str, thread: str, ts: str) -> Place:
    """A message in a channel begins a thread, which is a conversation; a private chat is one by itself.

    Args:
        thread: the time stamp of the message that began the thread, if it is in one.
        ts: of the message.
    """
    if channel.startswith("D"):
        return Place("user", person, thread, address=(channel, thread))
    return Place("server", team, f"{channel}-{thread or ts}", address=(channel, thread or ts))


def read_command(form: Mapping[str, Any], *, team_name: str = "") -> Incoming | None:
    """Read a slash command, of which Slack has none in threads; None if it lacks what every one has."""
    name = str(form.get("command") or "").removeprefix("/")
    if not name or not form.get("user_id") or not form.get("channel_id"):
        return None
    person, channel = str(form["user_id"]), str(form["channel_id"])
    place = _place(str(form.get("team_id") or ""), channel, person, "", "")
    trigger = str(form.get("trigger_id") or "")
    return Incoming(
        place=place,
        person=Person(person, str(form.get("user_name") or "")),
        message=f"command-{trigger}",
        text=str(form.get("text") or "").strip(),
        command=name if name in COMMANDS else "help",
        place_name=team_name if place.kind == "server" else "",
        origin=str(form.get("response_url") or ""),
    )


def read_press(payload: dict[str, Any]) -> Press | None:
    """Read a ``block_actions``; None for every other interaction, and for buttons that bring nothing back."""
    actions = payload.get("actions") or [{}]
    box, message, user = payload.get("container") or {}, payload.get("message") or {}, payload.get("user") or {}
    channel = str((payload.get("channel") or {}).get("id") or box.get("channel_id") or "")
    if payload.get("type") != "block_actions" or not actions[0].get("value") or not user.get("id") or not channel:
        return None
    ts = str(box.get("message_ts") or message.get("ts") or "")
    team = str((payload.get("team") or {}).get("id") or user.get("team_id") or "")
    thread = str(box.get("thread_ts") or message.get("thread_ts") or "")
    person = Person(str(user["id"]), str(user.get("name") or user.get("username") or ""))
    return Press(
        place=_place(team, channel, person.id, thread, ts),
        person=person,
        message=ts,
        data=str(actions[0]["value"]),
        origin=str(payload.get("response_url") or ""),
    )


def blocks(text: str, rows: Rows) -> list[dict[str, Any]]:
    """Return a text and the buttons below it as Slack takes them; none where there are no buttons."""
    if not rows:
        return []
    # Verbatim, or Slack would look for names to mention in it.
    shown: list[dict[str, Any]] = [{"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}]
    return shown + [{"type": "actions", "elements": [_button(button) for button in row]} for row in rows if row]


def _button(button: Button) -> dict[str, Any]:
    label = {"type": "plain_text", "text": button.label[:LABEL_MAX], "emoji": True}
    made = {"type": "button", "text": label, "value": button.data, "action_id": button.data}
    styles = {"good": "primary", "bad": "danger"}
    return {**made, "style": styles[button.style]} if button.style in styles else made
