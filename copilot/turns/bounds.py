"""What a turn may do that another turn asked for: never more than that one.

A message that an agent sent names the turn that sent it (``bound_by`` in its options). A turn that begins with it
may do what both its own session and that turn may: by the policy that was stored there, and with its tools.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any

from approvals.policy import Policy
from copilot.models import Message, Session, Turn
from copilot.tools.registry import tool_names
from copilot.turns.authority import has_personal

BOUND_BY = "bound_by"


def options_of(sender: Turn) -> dict[str, Any]:
    """Return the options of a message that an agent sends: those of its own turn, and its bounds."""
    zone = sender.settings.get("time_zone") or ""
    options = {"model": sender.model, "effort": sender.effort, "timezone": zone, BOUND_BY: str(sender.pk)}
    return {name: value for name, value in options.items() if value}


def inherit(turn: Turn, session: Session, messages: Sequence[Message]) -> None:
    """Bound a turn, not saved yet, by the turns that sent any of the messages behind it.

    In a child session it becomes the child of the newest of them, unless a person had the last word.

    What parents alone asked for runs under the remembered rules that count for them; any other turn of an agent's
    making runs without.
    """
    senders = _senders(messages)
    if not senders:
        return
    bound = reduce(Policy.within, (Policy.from_json(each.settings.get("policy") or {}) for each in senders))
    own = Policy.from_json(turn.settings["policy"])
    parents = [each for each in senders if each.session_id == session.parent_id]
    if len(parents) == len(senders) and all(message.origin == Turn.Origin.CHILD for message in messages):
        own = replace(own, in_person=bound.in_person, rules=bound.rules)
        if not bound.in_person and all(has_personal(each.settings) for each in senders):
            turn.settings["lent"] = True
    turn.settings["policy"] = own.within(bound).as_json()
    for each in senders:
        turn.settings["tools"] = fewer_tools(turn.settings["tools"], each.settings.get("tools"))
    if parents and turn.origin == Turn.Origin.CHILD:
        turn.parent, turn.owed = parents[-1], True


def narrowed(settings: dict[str, Any], messages: Sequence[Message]) -> dict[str, Any]:
    """Return the settings of a running turn into which these messages are delivered, bounded by who sent them."""
    for each in _senders(messages):
        bound = Policy.from_json(each.settings.get("policy") or {})
        policy = Policy.from_json(settings.get("policy") or {}).within(bound)
        tools = fewer_tools(settings.get("tools"), each.settings.get("tools"))
        settings = {**settings, "policy": policy.as_json(), "tools": tools}
    return settings


def _senders(messages: Iterable[Message]) -> list[Turn]:
    """Return the turns that sent these messages, that of the newest last."""
    named = [uuid.UUID(message.options[BOUND_BY]) for message in messages if BOUND_BY in message.options]
    found = Turn.objects.in_bulk(named) if named else {}
    return [found[turn_id] for turn_id in dict.fromkeys(reversed(named)) if turn_id in found][::-1]


def fewer_tools(one: Sequence[str] | None, other: Sequence[str] | None) -> list[str] | None:
    """Return globs for the tools that both of these offer; None offers all."""
    if one is None or other is None or list(one) == list(other):
        known = other if one is None else one
        return None if known is None else list(known)
    return [name for name in tool_names() if _offers(one, name) and _offers(other, name)]


def _offers(globs: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
