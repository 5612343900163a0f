"""On whose word a turn runs: its owner's, that of people to whom the owner lends something, or a stranger's.

A turn may answer several messages, and others are delivered into it. It never runs on more than the least of them
stands for: what the owner wants remembered and told counts while everything behind the turn is the owner's own.
So nobody borrows from anybody by writing at the right moment, the owner included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from approvals.policy import Policy
from copilot.instructions import without_personal
from copilot.models import Message, Turn

#: Where a message comes from that nobody but the owner of its session can have written.
IN_PERSON = (Turn.Origin.WEB, Turn.Origin.KEY)
#: What people write, in contrast to agents and the server.
_WRITTEN = (*IN_PERSON, Turn.Origin.BOT)


def is_owners(origin: str, standing: str) -> bool:
    """Whether a message that comes from there, by somebody who stands so, is the owner's own."""
    return origin in IN_PERSON or standing == Message.Standing.OWNER


def in_person(messages: Sequence[Message], *, origin: str = Turn.Origin.WEB) -> bool:
    """Whether the owner of the session wrote all of these: only then does count what they want
    remembered, and is the agent told what they want of it everywhere.

    Args:
        origin: where the turn that answers them comes from; nothing that an agent or the server begins counts.
    """
    return origin in _WRITTEN and all(is_owners(message.origin, message.standing) for message in messages)


def is_lent(messages: Sequence[Message], *, origin: str = Turn.Origin.WEB) -> bool:
    """Whether the owner did not write all of these, but lends their instructions and MCP servers to who did."""
    mine = [is_owners(message.origin, message.standing) for message in messages]
    guests = [message.standing == Message.Standing.GUEST for message in messages]
    return origin in _WRITTEN and not all(mine) and all(map(any, zip(mine, guests, strict=True)))


def has_personal(settings: Mapping[str, Any]) -> bool:
    """Whether a turn with these settings may use what is its owner's: because they wrote it, or lend it."""
    policy = settings.get("policy") or {}
    return bool(policy.get("in_person") or settings.get("lent"))


def with_less(settings: dict[str, Any], messages: Sequence[Message]) -> dict[str, Any]:
    """Return a running turn's settings after these messages were delivered into it."""
    if in_person(messages):
        return settings
    policy = replace(Policy.from_json(settings.get("policy") or {}), in_person=False, rules=())
    less = {**settings, "policy": policy.as_json()}
    if has_personal(settings) and is_lent(messages):
        return {**less, "lent": True}
    less.pop("lent", None)
    return without_personal(less)
