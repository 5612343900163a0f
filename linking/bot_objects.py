"""Turns, messages and approvals as bots see them: as people do, without what something cost.

In a server a decision is never remembered for all sessions of the owner, so that is not offered there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from approvals.models import Action
from approvals.objects import action_object
from copilot import objects
from copilot.events.schema import Chunk
from copilot.models import Session, Turn
from copilot.models.session import DEPTH_MAX
from copilot.objects import Object
from copilot.turns.submit import Accepted

#: Kept with the owner's account: more than a decision in a room full of people should do.
ALWAYS = "always"
_TELLS_ACTION = ("data-approval", "data-approval-decided")


def bot_turn_object(turn: Turn, *, in_server: bool) -> Object:
    """Return one turn."""
    return _without_cost(objects.turn_object(turn), in_server=in_server)


def bot_accepted_object(accepted: Accepted, *, in_server: bool) -> Object:
    """Return what became of a message."""
    shown = objects.accepted_object(accepted)
    if shown.get("turn"):
        shown["turn"] = _without_cost(shown["turn"], in_server=in_server)
    return shown


def _without_cost(turn: Object, *, in_server: bool) -> Object:
    usage = {name: value for name, value in turn["usage"].items() if name != "cost_microdollars"}
    shown = {**turn, "usage": usage}
    if "approval" in shown:
        shown["approval"] = _offered(shown["approval"], in_server=in_server)
    return shown


def bot_action_objects(actions: Sequence[Action]) -> list[Object]:
    """Return what people are asked in threads. One query for all."""
    servers = _in_servers({action.session for action in actions})
    return [_offered(action_object(action), in_server=action.session in servers) for action in actions]


def bot_chunk(chunk: Chunk, *, in_server: bool) -> Chunk:
    """Return one chunk of a turn's events."""
    data = chunk.get("data")
    if not in_server or chunk["type"] not in _TELLS_ACTION or not isinstance(data, dict):
        return chunk
    return {**chunk, "data": {**data, "approval": _offered(data["approval"], in_server=True)}}


def _offered(action: Object, *, in_server: bool) -> Object:
    scopes = [scope for scope in action["scopes"] if scope != ALWAYS or not in_server]
    return {**action, "scopes": scopes}


def _in_servers(session_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of these sessions are a server's threads, or children below one."""
    links = [f"{'parent__' * depth}bot_thread__server_link" for depth in range(DEPTH_MAX + 1)]
    rows = Session.objects.filter(pk__in=session_ids).values_list("pk", *links)
    return {session_id for session_id, *found in rows if any(found)}
