"""Parents and children in a few words."""

from __future__ import annotations

import json
from typing import Any

from common.db import db
from copilot.models import Session, ToolCall, Turn


def run(prompt: str, **arguments: Any) -> str:
    """Return the directive that has the demo model send a prompt to a child."""
    return call("run_subsession", prompt=prompt, **arguments)


def result(session: object, **arguments: Any) -> str:
    """Return the directive that has the demo model ask after a child."""
    return call("get_subsession_result", session=str(session), **arguments)


def call(name: str, **arguments: Any) -> str:
    return f"/tool {name} {json.dumps(arguments)}"


def outputs(turn: Turn) -> list[Any]:
    """Return what the calls of a turn came to, in order: outputs, or errors."""
    calls = ToolCall.objects.filter(turn=turn).order_by("step", "position")
    return [each.output if each.state == ToolCall.State.DONE else each.error for each in calls]


async def outputs_of(turn: Turn) -> list[Any]:
    """The same, from a loop."""
    return await db(outputs, turn)


def children_of(parent: Session) -> list[Session]:
    """Return the child sessions of a session, in the order in which they were made."""
    return list(Session.objects.filter(parent=parent).order_by("created_at", "pk"))


def only_child(parent: Session) -> Session:
    [child] = children_of(parent)
    return child


def turn_of(session: Session) -> Turn:
    """Return the one turn of a session."""
    turn: Turn = session.turns.select_related("session__user").get()
    return turn
