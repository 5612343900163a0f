"""Tools that have another agent do a part of the work, in a session of its own."""

from __future__ import annotations

from typing import Any

from copilot.tools.base import Children, Tool, ToolContext, ToolError, object_schema

WAIT_SECONDS = 60
WAIT_MOST = 300

_SESSION = {"type": "string", "description": "The session that run_subsession returned."}
_WAIT = {
    "type": "number",
    "description": f"Seconds to wait for the answer, 0 to {WAIT_MOST}. Default: {WAIT_SECONDS}.",
}


class RunSubsession(Tool):
    """Delegates a task. Run again after a crash, it finds the child that it made: the call's id names it."""

    name = "run_subsession"
    description = (
        "Have another agent work on a task in a session of its own, with your tools and permissions. It knows "
        "nothing of this conversation: put all that it needs into the prompt. Returns {session, status, text}; "
        "unless the status is completed, cancelled or error, ask get_subsession_result for the answer later."
    )
    parameters = object_schema(
        ["prompt"],
        prompt={"type": "string", "description": "The task."},
        system_context={"type": "string", "description": "Instructions that hold for the whole session."},
        session={"type": "string", "description": "Continue this earlier session instead of starting one."},
        wait=_WAIT,
    )
    idempotent = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        return await _children(context).run(
            prompt=arguments["prompt"],
            system_context=arguments.get("system_context", ""),
            session=arguments.get("session"),
            wait=clamped(arguments.get("wait", WAIT_SECONDS)),
        )


class GetSubsessionResult(Tool):
    """Asks after a task that was delegated."""

    name = "get_subsession_result"
    description = (
        "Get the answer to the last prompt that you sent to a session of run_subsession, wait for it, or stop it."
    )
    parameters = object_schema(
        ["session"],
        session=_SESSION,
        wait=_WAIT,
        cancel={"type": "boolean", "description": "Stop it instead of waiting."},
        include_progress={"type": "boolean", "description": "While it works: tell how far it is."},
    )
    idempotent = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        return await _children(context).result(
            session=arguments["session"],
            wait=clamped(arguments.get("wait", WAIT_SECONDS)),
            cancel=arguments.get("cancel", False),
            include_progress=arguments.get("include_progress", False),
        )


def clamped(seconds: float) -> float:
    """Return how long a call waits: what was asked for, within what is allowed."""
    return min(max(seconds, 0.0), float(WAIT_MOST))


def _children(context: ToolContext) -> Children:
    if context.children is None:
        raise ToolError("No other sessions can be started from here.")
    return context.children
