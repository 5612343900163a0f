"""Running a step's tool calls, in parallel, each with its intent committed before and its result after."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Sequence, Set
from typing import Any

import jsonschema
from django.conf import settings

from common.text import storable, storable_json
from copilot.agent.live import LiveTurn
from copilot.events import schema
from copilot.events.log import StaleTurn
from copilot.models import ToolCall
from copilot.tools.base import Tool, ToolContext, ToolError
from copilot.turns.progress import CallOutcome, StopRequested, begin_call, settle_call
from copilot.workspaces import workspace_of

logger = logging.getLogger(__name__)

UNKNOWN_OUTCOME = (
    "The process that ran this call was lost, so it is not known whether the call had its effect. "
    "It was not run again. Check the effect before repeating it."
)

CUT_BEFORE = "This call did not run: the user sent a new message first."
CUT_SHORT = "Stopped before it finished, because the user sent a new message. Its effect may be partial."


async def run_calls(live: LiveTurn, calls: Sequence[ToolCall], tools: dict[str, Tool], time_zone: str) -> None:
    """Give every call an outcome; a failing tool fails its call, not the turn.

    A call that was running when its worker was lost runs again only if its tool is idempotent.

    Raises:
        StaleTurn: the turn is somebody else's.
        StopRequested: somebody asked to stop; calls that had not begun do not run, the others were cancelled.
    """
    live.in_tools = True
    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(_run_call(live, call, tools.get(call.name), time_zone))
    except ExceptionGroup as problems:
        for known in (StaleTurn, StopRequested):
            if problems.subgroup(known):
                raise known from problems
        raise
    finally:
        live.in_tools = False


async def settle_interrupted(live: LiveTurn, calls: Sequence[ToolCall], *, lost: Set[uuid.UUID]) -> None:
    """Give an outcome to those calls of a step that was cut short which have none.

    Args:
        lost: those that were running when an earlier worker was lost.
    """
    for call in calls:
        if outcome := _cut_outcome(call, lost=call.id in lost):
            await live.commit(settle_call, call_id=call.id, outcome=outcome)


def _cut_outcome(call: ToolCall, *, lost: bool) -> CallOutcome | None:
    if call.state == ToolCall.State.PENDING:
        return CallOutcome(ToolCall.State.ERROR, error=CUT_BEFORE)
    if call.state != ToolCall.State.RUNNING:
        return None
    if lost:
        return CallOutcome(ToolCall.State.UNKNOWN, error=UNKNOWN_OUTCOME)
    return CallOutcome(ToolCall.State.ERROR, error=CUT_SHORT)


async def _run_call(live: LiveTurn, call: ToolCall, tool: Tool | None, time_zone: str) -> None:
    if tool is None:
        outcome = CallOutcome(ToolCall.State.ERROR, error=f"There is no tool named {call.name!r}.")
    else:
        outcome = _refusal(call, tool) or await _run_tool(live, call, tool, time_zone)
    await live.commit(settle_call, call_id=call.id, outcome=outcome)


def _refusal(call: ToolCall, tool: Tool) -> CallOutcome | None:
    """Return why a call does not run at all, or None."""
    error = ToolCall.State.ERROR
    if call.state == ToolCall.State.RUNNING and not tool.idempotent:
        return CallOutcome(ToolCall.State.UNKNOWN, error=UNKNOWN_OUTCOME)
    if tool.asks and settings.APPROVALS_ENABLED:
        reason = "This tool needs a person's approval, and nobody can be asked. It did not run."
        return CallOutcome(ToolCall.State.DENIED, error=reason)
    if not isinstance(call.arguments, dict):
        return CallOutcome(error, error="The arguments were not a valid JSON object. Send the call again.")
    try:
        jsonschema.validate(call.arguments, tool.parameters)
    except jsonschema.ValidationError as problem:
        where = ".".join(str(piece) for piece in problem.absolute_path)
        return CallOutcome(error, error=f"Invalid arguments{f' ({where})' if where else ''}: {problem.message}")
    return None


async def _run_tool(live: LiveTurn, call: ToolCall, tool: Tool, time_zone: str) -> CallOutcome:
    if call.state == ToolCall.State.PENDING:
        await live.commit(begin_call, call_id=call.id)
    context = ToolContext(
        turn_id=live.id,
        session_id=live.claim.session_id,
        time_zone=time_zone,
        workspace=workspace_of(live.claim.session_id),
        progress=lambda output: live.emit(
            schema.tool_output_available(call.id, _json_safe(output), preliminary=True)
        ),
    )
    error = ToolCall.State.ERROR
    try:
        async with asyncio.timeout(settings.TOOL_MAX_SECONDS):
            output = await tool.run(context, **call.arguments)
        return CallOutcome(ToolCall.State.DONE, output=_json_safe(output))
    except ToolError as problem:
        return CallOutcome(error, error=storable(str(problem)))
    except TimeoutError:
        return CallOutcome(error, error=f"The tool took longer than {settings.TOOL_MAX_SECONDS:g} seconds.")
    except Exception:
        # A bug in a tool must not take the turn with it; the model is told, the operator finds the traceback.
        logger.exception("tool failed", extra={"action": "tool_failed", "turn_id": live.id, "tool": tool.name})
        return CallOutcome(error, error="The tool failed unexpectedly.")


def _json_safe(output: Any) -> Any:
    """Return ``output`` as JSON gives it back, fit to be stored; a tool that returns anything else has a bug."""
    return storable_json(json.loads(json.dumps(output)))
