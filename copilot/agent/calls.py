"""Running a step's tool calls, in parallel, each with its intent committed before and its result after."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from django.conf import settings

from common.faults import reach
from common.redaction import redact_json
from common.text import DEEPEST, storable, storable_json
from common.tracing import span
from copilot.agent.children import CallChildren
from copilot.agent.live import LiveTurn
from copilot.agent.results import is_long, keep_whole
from copilot.agent.verdicts import UNKNOWN_OUTCOME, Judge, Run
from copilot.events import schema
from copilot.events.log import StaleTurn
from copilot.models import ToolCall
from copilot.tools.base import ToolContext, ToolError
from copilot.turns.pause import Asked
from copilot.turns.progress import CallOutcome, StopRequested, begin_call, settle_call
from copilot.workspaces import workspace_of

logger = logging.getLogger(__name__)

CUT_BEFORE = "This call did not run: the user sent a new message first."
CUT_SHORT = "Stopped before it finished, because the user sent a new message. Its effect may be partial."


async def run_calls(live: LiveTurn, calls: Sequence[ToolCall], judge: Judge, time_zone: str) -> list[Asked]:
    """Give every call an outcome that needs no person; return what a person has to be asked.

    A failing tool fails its call, not the turn. Calls that nobody needs to be asked about do not wait for the
    others; a call that was running when its worker was lost runs again only if its tool is idempotent.

    Raises:
        StaleTurn: the turn is somebody else's.
        StopRequested: somebody asked to stop; calls that had not begun do not run, the others were cancelled.
    """
    # In a thread: arguments may be long, and schemas somebody else's.
    verdicts = await asyncio.to_thread(lambda: [(call, judge.judge(call)) for call in calls])
    live.in_tools = True
    try:
        async with asyncio.TaskGroup() as group:
            for call, verdict in verdicts:
                if not isinstance(verdict, Asked):
                    group.create_task(_settle(live, call, verdict, time_zone))
    except ExceptionGroup as problems:
        for known in (StaleTurn, StopRequested):
            if problems.subgroup(known):
                raise known from problems
        raise
    finally:
        live.in_tools = False
    return [verdict for _, verdict in verdicts if isinstance(verdict, Asked)]


async def settle_interrupted(live: LiveTurn, calls: Sequence[ToolCall], *, lost: Set[uuid.UUID]) -> None:
    """Give an outcome to those calls of a step that was cut short which have none.

    Args:
        lost: those that were running when an earlier worker was lost.
    """
    for call in calls:
        if outcome := _cut_outcome(call, lost=call.id in lost):
            await live.commit(settle_call, call_id=call.id, outcome=outcome)


def _cut_outcome(call: ToolCall, *, lost: bool) -> CallOutcome | None:
    if call.state in (ToolCall.State.PENDING, ToolCall.State.APPROVED):
        return CallOutcome(ToolCall.State.ERROR, error=CUT_BEFORE)
    if call.state != ToolCall.State.RUNNING:
        return None
    if lost:
        return CallOutcome(ToolCall.State.UNKNOWN, error=UNKNOWN_OUTCOME)
    return CallOutcome(ToolCall.State.ERROR, error=CUT_SHORT)


async def _settle(live: LiveTurn, call: ToolCall, verdict: Run | CallOutcome, time_zone: str) -> None:
    outcome = await _run_tool(live, verdict, time_zone) if isinstance(verdict, Run) else verdict
    await live.commit(settle_call, call_id=call.id, outcome=outcome)
    reach("call_settled")


async def _run_tool(live: LiveTurn, run: Run, time_zone: str) -> CallOutcome:
    with span("tool call", tool=run.tool.name, tool_call_id=run.call.id):
        return await _outcome_of(live, run, time_zone)


async def _outcome_of(live: LiveTurn, run: Run, time_zone: str) -> CallOutcome:
    call, tool = run.call, run.tool
    if call.state != ToolCall.State.RUNNING:
        await live.commit(begin_call, call_id=call.id)
    reach("call_begun")
    context = ToolContext(
        turn_id=live.id,
        session_id=live.claim.session_id,
        time_zone=time_zone,
        workspace=workspace_of(live.claim.session_id),
        progress=lambda output: live.emit(
            schema.tool_output_available(call.id, redact_json(_json_safe(output)).shown, preliminary=True)
        ),
        children=CallChildren(live, call.id),
    )
    error = ToolCall.State.ERROR
    try:
        async with asyncio.timeout(settings.TOOL_MAX_SECONDS):
            output = await tool.run(context, **run.arguments)
        reach("call_ran")
        return CallOutcome(
            ToolCall.State.DONE, output=await asyncio.to_thread(_packed, output, context.workspace, call.id)
        )
    except ToolError as problem:
        return CallOutcome(error, error=storable(str(problem)))
    except TimeoutError:
        return CallOutcome(error, error=f"The tool took longer than {settings.TOOL_MAX_SECONDS:g} seconds.")
    except Exception:
        # A bug in a tool must not take the turn with it; the model is told, the operator finds the traceback.
        logger.exception("tool failed", extra={"action": "tool_failed", "turn_id": live.id, "tool": tool.name})
        return CallOutcome(error, error="The tool failed unexpectedly.")


def _packed(output: Any, workspace: Path, call_id: uuid.UUID) -> Any:
    """Return an output fit to be stored; one that is too long for a model is kept as a file, too. Blocks."""
    output = _json_safe(output)
    if is_long(output):
        keep_whole(workspace, call_id, output)
    return output


def _json_safe(output: Any) -> Any:
    """Return ``output`` as JSON gives it back, fit to be stored; a tool that returns anything else has a bug."""
    return storable_json(json.loads(json.dumps(output)), depth=DEEPEST)
