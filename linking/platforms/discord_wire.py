"""What Discord's messages look like: limits, signatures, close codes, and the few fields that are read or written.

Discord's API version 10. Nothing here talks to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from linking.platforms.base import Button, Incoming, Person, Place, Press, Rows
from linking.platforms.typed import read_typed

API_URL = "https://discord.com/api/v10"
VERSION = 10
#: Characters (code points) of one message.
MESSAGE_MAX = 2000
#: Characters of what a button brings back, of its label, and buttons in a row and rows of a message.
CUSTOM_ID_MAX = 100
LABEL_MAX = 80
BUTTONS_A_ROW = 5
ROWS_MAX = 5
#: Characters of ``nonce``, by which Discord knows a repeated message.
NONCE_MAX = 25

#: GUILDS, GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT. The last must be switched on in the developer portal.
INTENTS = 1 << 0 | 1 << 9 | 1 << 12 | 1 << 15

#: Close codes after which connecting again cannot help, with the mend.
FATAL_CLOSES = {
    4004: "Discord does not know it. Copy the bot's token from the developer portal.",
    4010: "Discord refused the shard, of which this adapter sends none. Update Holdfast.",
    4011: "The bot is in too many servers for one connection, and this adapter has one. Remove it from some.",
    4012: f"Discord no longer speaks version {VERSION} of its gateway. Update Holdfast.",
    4013: "Discord does not know the intents that were asked for. Update Holdfast.",
    4014: 'Discord refused an intent. Switch on "Message Content Intent" for the bot in the developer portal.',
}
#: Close codes after which the session is gone: a new one must be begun.
SESSION_LOST = frozenset({4003, 4005, 4007, 4009})
#: What this side closes with: after 1000 and 1001 a session cannot be resumed.
CLOSE_TO_RESUME = 4000

#: Types of messages that people write: an ordinary one, and a reply.
_WRITTEN = frozenset({0, 19})

#: Kinds of interactions.
PING, COMMAND, COMPONENT, AUTOCOMPLETE = 1, 2, 3, 4
#: What an interaction is answered with: a message, a sign that one will come, or nothing to be seen.
PONG, REPLY, WAIT, WAIT_UPDATE, CHOICES = 1, 4, 5, 6, 8
SUPPRESS_EMBEDS = 1 << 2
#: Only the person who did something sees the answer to it.
EPHEMERAL = 1 << 6

#: Slash commands, for servers and private chats (``contexts`` 0 and 1).
COMMANDS: list[dict[str, Any]] = [
    {
        "name": name,
        "type": 1,
        "description": words,
        "contexts": [0, 1],
        "integration_types": [0],
        "options": options,
    }
    for name, words, options in (
        ("ask", "Ask the agent something", [{"type": 3, "name": "text", "description": "What", "required": True}]),
        ("stop", "Stop what runs here", []),
        ("link", "Link this chat to a Holdfast account", []),
        ("unlink", "How to end the link", []),
        ("help", "What this bot does", []),
    )
]


def read_public_key(text: str) -> Ed25519PublicKey:
    """Read the application's public key as the developer portal shows it.

    Raises:
        ValueError: it is not 32 bytes in hexadecimal.
    """
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))


def is_signed(key: Ed25519PublicKey, *, signature: str, timestamp: str, body: bytes) -> bool:
    """Tell whether ``signature`` (hexadecimal) is the key's over the timestamp and the body as it came."""
    try:
        key.verify(bytes.fromhex(signature), timestamp.encode() + body)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(slots=True)
class Interaction:
    """What answers a command or a pressed button, for 15 minutes.

    Attributes:
        waits: whether a sign that says so stands there until the first answer replaces it.
    """

    application: str
    token: str
    waits: bool


@dataclass(frozen=True, slots=True)
class Asker(Person):
    """A person who used a command or a button: they can be told what nobody else sees."""

    interaction: Interaction


@dataclass(frozen=True, slots=True)
class Reaction:
    """What an interaction is answered with at once, and what it asks for, if anything."""

    answer: dict[str, Any]
    asked: Incoming | Press | None = None


def read_message(
    data: dict[str, Any], *, me: str, roles: frozenset[str] = frozenset(), guild_name: str = ""
) -> Incoming | None:
    """Read a MESSAGE_CREATE; return None unless a person wrote it to the bot.

    Args:
        me: the bot's own user id.
        roles: ids of roles that stand for the bot: many people mention those and mean the bot.
    """
    author, guild = data.get("author") or {}, str(data.get("guild_id") or "")
    if author.get("bot") or data.get("webhook_id") or data.get("type", 0) not in _WRITTEN:
        return None
    if guild and not _is_meant(data, me, roles):
        return None
    command, text = read_typed(_without_mentions(str(data.get("content") or ""), me, roles))
    answered = data.get("referenced_message") or {}
    of_others = str((answered.get("author") or {}).get("id")) != me
    return Incoming(
        place=_place(guild, str(data["channel_id"]), str(author["id"])),
        person=Person(str(author["id"]), _name(author, data.get("member") or {})),
        message=str(data["id"]),
        text=text,
        command=command,
        reply_to=str(answered.get("id") or ""),
        quoted=str(answered.get("content") or "") if of_others else "",
        files=bool(data.get("attachments")),
        place_name=guild_name if guild else "",
    )


def _place(guild: str, channel: str, person: str) -> Place:
    """A thread is a channel of its own at Discord."""
    if guild:
        return Place("server", guild, channel, address=(channel,))
    return Place("user", person, address=(channel,))


def _is_meant(data: dict[str, Any], me: str, roles: frozenset[str]) -> bool:
    """In a server the bot answers when it is mentioned, by name or by its role, or replied to."""
    if any(str(user.get("id")) == me for user in data.get("mentions") or ()):
        return True
    if roles & {str(role) for role in data.get("mention_roles") or ()}:
        return True
    answered = data.get("referenced_message") or {}
    return str((answered.get("author") or {}).get("id")) == me


def _without_mentions(text: str, me: str, roles: frozenset[str]) -> str:
    names = "|".join([f"@!?{re.escape(me)}", *(f"@&{re.escape(role)}" for role in sorted(roles))])
    return re.sub(rf"<(?:{names})>", "", text).strip()


def _name(user: dict[str, Any], member: dict[str, Any]) -> str:
    return str(member.get("nick") or user.get("global_name") or user.get("username") or "somebody")


def read_interaction(data: dict[str, Any], guild_name: str = "") -> Reaction:
    """Read what happened to a command or a button, or another interaction, and say how it is answered at once."""
    kind, details = data.get("type"), data.get("data") or {}
    if kind == PING:
        return Reaction({"type": PONG})
    if kind == AUTOCOMPLETE:
        return Reaction({"type": CHOICES, "data": {"choices": []}})
    member = data.get("member") or {}
    user = member.get("user") or data.get("user") or {}
    channel = str(data.get("channel_id") or (data.get("channel") or {}).get("id") or "")
    known = user.get("id") and channel and data.get("id") and data.get("token")
    if kind == COMPONENT:
        return Reaction({"type": WAIT_UPDATE}, _press(data, user, member, channel) if known else None)
    name = str(details.get("name") or "")
    if kind != COMMAND or not known or name not in {each["name"] for each in COMMANDS}:
        return Reaction({"type": REPLY, "data": said("I do not know this.", quiet=True)})
    options = {str(each.get("name")): each.get("value") for each in details.get("options") or ()}
    text = str(options.get("text") or "").strip()
    asks = name == "ask" and text
    # What was asked is shown to all, as a message would be; everything else is between the person and the bot.
    quoted = "\n".join(f"> {line}" for line in text.splitlines())[:MESSAGE_MAX]
    answer = {"type": REPLY, "data": said(quoted)} if asks else {"type": WAIT, "data": {"flags": EPHEMERAL}}
    guild = str(data.get("guild_id") or "")
    asker = _asker(data, user, member, waits=not asks)
    incoming = Incoming(
        place=_place(guild, channel, asker.id),
        person=asker,
        message=str(data["id"]),
        text=text,
        command=name,
        place_name=guild_name if guild else "",
        origin=asker.interaction,
    )
    return Reaction(answer, incoming)


def _asker(data: dict[str, Any], user: dict[str, Any], member: dict[str, Any], *, waits: bool) -> Asker:
    interaction = Interaction(str(data.get("application_id") or ""), str(data["token"]), waits)
    return Asker(str(user["id"]), _name(user, member), interaction)


def _press(data: dict[str, Any], user: dict[str, Any], member: dict[str, Any], channel: str) -> Press:
    asker = _asker(data, user, member, waits=False)
    return Press(
        place=_place(str(data.get("guild_id") or ""), channel, asker.id),
        person=asker,
        message=str((data.get("message") or {}).get("id") or ""),
        data=str((data.get("data") or {}).get("custom_id") or ""),
        origin=asker.interaction,
    )


def said(text: str, *, quiet: bool = False) -> dict[str, Any]:
    """Return a text as a message that mentions nobody, and whose links Discord does not open.

    An opened link could carry what the agent knows to whoever made the agent write it.

    Args:
        quiet: only the person who is answered sees it.
    """
    flags = SUPPRESS_EMBEDS | (EPHEMERAL if quiet else 0)
    return {"content": text, "allowed_mentions": {"parse": []}, "flags": flags}


def components(rows: Rows) -> list[dict[str, Any]]:
    """Return buttons as Discord takes them: at most five in a row, and five rows."""
    styles = {"plain": 2, "good": 3, "bad": 4}
    cut = _cut(rows)
    if len(cut) > ROWS_MAX:
        # They keep their order, but not their rows.
        cut = _cut([[button for row in rows for button in row]])[:ROWS_MAX]
    return [
        {
            "type": 1,
            "components": [
                {"type": 2, "style": styles[each.style], "label": each.label[:LABEL_MAX], "custom_id": each.data}
                for each in row
            ],
        }
        for row in cut
    ]


def _cut(rows: Rows) -> list[Sequence[Button]]:
    return [row[at : at + BUTTONS_A_ROW] for row in rows for at in range(0, len(row), BUTTONS_A_ROW)]


def own_roles(guild: dict[str, Any], me: str) -> frozenset[str]:
    """Return the roles that Discord made for the bot in a server, of a GUILD_CREATE."""
    return frozenset(
        str(role["id"]) for role in guild.get("roles") or () if str((role.get("tags") or {}).get("bot_id")) == me
    )
