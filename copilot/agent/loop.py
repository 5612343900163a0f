"""The agent loop: ask the model, run the tools it calls, until it has said what it has to say.

It resumes from rows: committed steps and results are never asked for again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from django.conf import settings

from approvals.actions import approved_digests
from approvals.policy import Policy
from common.db import db_steady
from common.tracing import span
from copilot.agent import history, prompt
from copilot.agent.asking import ask, provider_of
from copilot.agent.between import begin, cuttable, deliver
from copilot.agent.calls import run_calls, settle_interrupted
from copilot.agent.compaction import make_room
from copilot.agent.live import Interrupted, LiveTurn
from copilot.agent.state import TurnState, callable_tools, load
from copilot.agent.step import Answer, Output
from copilot.agent.verdicts import Judge, guides_of, next_pause
from copilot.events import schema
from copilot.mcp.client import ready as mcp_ready
from copilot.models import ToolCall, Turn
from copilot.providers.base import ModelRequest, Provider, ProviderError
from copilot.turns.finish import completed, failed
from copilot.turns.pause import Asked
from copilot.turns.progress import StopRequested, commit_step

DECLINED = "The model declined to answer this."
CLOSING_LINE = "The model ended its work without a closing text."


class Leave(Exception):
    """This process stops: the turn is to be handed back between two steps."""


async def run_turn(live: LiveTurn) -> None:
    """Run a claimed turn to its end.

    Raises:
        ProviderError: the model failed for good; the caller ends the turn as failed.
        StaleTurn: somebody else ended or took over the turn.
        StopRequested: somebody asked to stop, and no hint came.
        Leave: hand it back.
    """
    await mcp_ready()
    state = await db_steady(load, live.id)
    if state.turn.stop_requested_at is not None:
        # Asked between the claim and here: whoever told the workers found nobody who runs the turn.
        raise StopRequested
    left = settings.TURN_MAX_SECONDS - state.turn.running_ms / 1000
    try:
        async with asyncio.timeout(max(left, 0)) as limit:
            await _run(live, state)
    except TimeoutError:
        if not limit.expired():
            raise
        detail = f"The turn ran longer than {settings.TURN_MAX_SECONDS:g} seconds."
        await live.end(failed("timeout", detail, retryable=True))


async def _run(live: LiveTurn, state: TurnState) -> None:
    live.sealed = state.turn.sealed_seq
    live.first_chunk_ms = state.turn.first_chunk_ms
    provider, model = _provider(live, state)
    live.delivered |= state.delivered
    if state.turn.interrupt_id is not None:
        live.wanted.add(state.turn.interrupt_id)
    if state.last_step is not None:
        if await _settle_step(live, state, state.last_step.number, state.last_step.content):
            return
        state.messages += await db_steady(history.messages_after_step, live.id, state.steps)
    while True:
        if state.steps or live.interrupted:
            await deliver(live, state)
        number = state.steps + 1
        last = number >= settings.TURN_MAX_STEPS
        request = ModelRequest(
            model=model,
            system=state.system,
            messages=tuple(state.messages),
            asked_from=state.asked_from,
            tools=() if last else tuple(tool.spec() for tool in state.tools.values()),
            effort=state.turn.effort,
            max_output_tokens=state.turn.settings.get("max_output_tokens") or 0,
            step=number,
            pause=live.log.slack,
        )
        try:
            request = await make_room(live, state, provider, request)
        except Interrupted:
            continue
        with span("step", step=number):
            answer = await ask(live, state, provider, request)
        if state.stand_in is not None:
            provider, model = state.stand_in.provider, state.stand_in.name
        if answer is None:
            continue
        if not answer.cut and await _ends_turn(live, state, answer, last=last):
            return
        await live.commit(
            commit_step,
            step=answer.step,
            model=live.answered_by,
            first_chunk_ms=live.first_chunk_ms,
            context=live.context,
        )
        state.between_steps = False
        if await _settle_step(live, state, number, answer.step.content):
            return


def _provider(live: LiveTurn, state: TurnState) -> tuple[Provider, str]:
    try:
        return provider_of(state.turn.model)
    except ProviderError:
        begin(live, state)
        raise


async def _settle_step(live: LiveTurn, state: TurnState, number: int, content: list[dict[str, object]]) -> bool:
    """Give the calls of a committed step their outcomes and add the step to what the model reads next.

    Returns whether the turn pauses instead: a person is asked about some of the calls.
    """
    calls = await db_steady(history.calls_of, live.id, number)
    open_calls = [call for call in calls if call.is_open]
    if open_calls:
        zone = state.turn.settings.get("time_zone") or ""
        judge = await db_steady(_judge, state, open_calls)
        asked: list[Asked] = []
        try:
            async with cuttable(live, number):
                asked = await run_calls(live, open_calls, judge, zone)
        except Interrupted:
            lost = {call.id for call in open_calls if call.state == ToolCall.State.RUNNING}
            await settle_interrupted(live, await db_steady(history.calls_of, live.id, number), lost=lost)
        if pause := next_pause(asked):
            await live.pause(pause)
            return True
        calls = await db_steady(history.calls_of, live.id, number)
    view = await asyncio.to_thread(history.step_messages, content, calls)  # opens and escapes what may be long
    state.messages += state.shortened.apply(number, view)
    if state.nudged and prompt.NUDGE not in state.messages:
        state.messages.append(prompt.NUDGE)
    state.steps = number
    state.said_anything = True
    if live.leaving:
        raise Leave
    return False


def _judge(state: TurnState, calls: list[ToolCall]) -> Judge:
    """Return the judge of some calls: by what the turn stored, and nothing of a request.

    Read anew: what was delivered into the turn meanwhile may have narrowed it.
    """
    stored = Turn.objects.values_list("settings", flat=True).get(pk=state.turn.id)
    decided = any(call.state in (ToolCall.State.APPROVED, ToolCall.State.RUNNING) for call in calls)
    return Judge(
        policy=Policy.from_json(stored.get("policy") or {}),
        tools=callable_tools(state, stored),
        approved=approved_digests(state.turn.id) if decided else {},
        guides=guides_of(
            [state.tools[call.name] for call in calls if call.name in state.tools], state.turn.session_id
        ),
    )


async def _ends_turn(live: LiveTurn, state: TurnState, answer: Answer, *, last: bool) -> bool:
    """End the turn if this answer does; return whether it did."""
    step = answer.step
    if step.calls and not last:
        return False
    if answer.again and not last:
        return False
    if answer.has_text:
        reason = "stop" if step.finish_reason == "tool-calls" else step.finish_reason
        await live.end(completed(reason), step=replace(step, calls=()) if last else step)
        return True
    if last:
        detail = f"The agent took {settings.TURN_MAX_STEPS} steps without coming to an answer."
        await live.end(failed("max_steps", detail, hint="Ask for a smaller part of the task.", retryable=True))
        return True
    if step.finish_reason == "content-filter":
        say_line(live, DECLINED)
        await live.end(completed("content-filter"), step=step)
        return True
    if not (state.said_anything or answer.has_reasoning):
        raise no_response()
    if state.nudged:
        say_line(live, CLOSING_LINE)
        await live.end(completed("other"), step=step)
        return True
    state.nudged = True
    return False


def no_response() -> ProviderError:
    """Return the error for an answer in which nothing at all was said."""
    return ProviderError(
        "no_response",
        "The model answered nothing.",
        hint="Often a silent usage limit: check the provider's status, then send the message again.",
    )


def say_line(live: Output, text: str) -> None:
    """Say something in the model's place, as a text part of its own."""
    part = live.new_part("text")
    for chunk in (
        schema.part_start("text", part),
        schema.part_delta("text", part, text),
        schema.part_end("text", part),
    ):
        live.emit(chunk)
