"""The agent loop: ask the model, run the tools it calls, until it has said what it has to say.

It resumes from rows: committed steps and results are never asked for again.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from common.db import db_steady
from common.prepared import prepared
from copilot.agent import history, prompt
from copilot.agent.calls import run_calls, settle_interrupted
from copilot.agent.live import Interrupted, LiveTurn
from copilot.agent.step import Answer, Output, StepStream
from copilot.events import schema
from copilot.models import Step, ToolCall, Turn
from copilot.models.message import answers_of
from copilot.providers.base import ModelMessage, ModelRequest, Provider, ProviderError, Usage
from copilot.providers.pricing import price_call
from copilot.providers.registry import UnknownModel, provider_for
from copilot.tools.base import Tool
from copilot.tools.registry import offered_tools
from copilot.turns.finish import completed, failed
from copilot.turns.followups import anything_to_deliver, deliver_followups
from copilot.turns.progress import StopRequested, commit_step, record_usage

#: Tries of one model call: before anything was shown, and after (by a rollback).
TRIES_MAX = 4
LATE_TRIES_MAX = 2
BACKOFF_SECONDS = 0.5
BACKOFF_MAX = 30.0
DECLINED = "The model declined to answer this."
CLOSING_LINE = "The model ended its work without a closing text."


class Leave(Exception):
    """This process stops: the turn is to be handed back between two steps."""


@dataclass(slots=True)
class TurnState:
    """What a worker knows of the turn it runs, read from rows at the start."""

    turn: Turn
    system: str
    messages: list[ModelMessage]
    #: Where the messages that this turn answers begin.
    asked_from: int
    tools: dict[str, Tool]
    steps: int
    last_step: Step | None
    message_id: object
    #: The step before has its end already: a message was delivered behind it.
    between_steps: bool = False
    #: The messages that were delivered into the turn so far.
    delivered: set[uuid.UUID] = field(default_factory=set)
    said_anything: bool = False
    nudged: bool = False
    late_tries: int = field(default=0)
    #: Model calls since the claim.
    asked: int = field(default=0)


def load(turn_id: uuid.UUID) -> TurnState:
    """Read everything the turn needs."""
    [turn] = _turn(turn_id)
    answers = answers_of(turn_id)
    earlier, asked_from = history.earlier_messages(turn, before=answers[0].seq)
    resumed = turn.sealed_seq > 0
    return TurnState(
        turn=turn,
        system=prompt.system_prompt(turn.session.instructions),
        messages=earlier + (history.committed_messages(turn) if resumed else []),
        asked_from=asked_from,
        tools={tool.name: tool for tool in offered_tools(turn.model, turn.settings.get("tools"))},
        steps=turn.steps,
        last_step=Step.objects.get(turn=turn, number=turn.steps) if turn.steps else None,
        message_id=answers[-1].id,
        between_steps=resumed and history.anything_after_step(turn.id, turn.steps),
        delivered=history.delivered_ids(turn.id) if resumed else set(),
        said_anything=turn.steps > 0,
    )


@prepared
def _turn(turn_id: Any) -> QuerySet[Turn]:
    return Turn.objects.select_related("session").filter(pk=turn_id)


async def run_turn(live: LiveTurn) -> None:
    """Run a claimed turn to its end.

    Raises:
        ProviderError: the model failed for good; the caller ends the turn as failed.
        StaleTurn: somebody else ended or took over the turn.
        StopRequested: somebody asked to stop, and no hint came.
        Leave: hand it back.
    """
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
    provider, model = _provider(live, state)
    live.delivered |= state.delivered
    if state.turn.interrupt_id is not None:
        live.wanted.add(state.turn.interrupt_id)
    if state.last_step is not None:
        await _settle_step(live, state, state.last_step.number, state.last_step.content)
        state.messages += await db_steady(history.messages_after_step, live.id, state.steps)
    while True:
        if state.steps or live.interrupted:
            await _deliver_followups(live, state)
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
        answer = await _ask(live, state, provider, request)
        if answer is None:
            continue
        if not answer.cut and await _ends_turn(live, state, answer, last=last):
            return
        await live.commit(commit_step, step=answer.step)
        state.between_steps = False
        await _settle_step(live, state, number, answer.step.content)


def _provider(live: LiveTurn, state: TurnState) -> tuple[Provider, str]:
    try:
        return provider_of(state.turn.model)
    except ProviderError:
        _begin(live, state)
        raise


def provider_of(model: str) -> tuple[Provider, str]:
    """Return the adapter for ``provider/name`` and the model's name.

    Raises:
        ProviderError: ``not_configured``, also where there is no such model (any more).
    """
    try:
        return provider_for(model)
    except UnknownModel as error:
        raise ProviderError("not_configured", str(error), hint="Choose another model.") from error


def _begin(live: LiveTurn, state: TurnState) -> None:
    """Emit what comes before a step: the message's beginning, or the end of the step before."""
    for chunk in _opening(live, state):
        live.emit(chunk)


def _opening(live: LiveTurn, state: TurnState) -> list[schema.Chunk]:
    if state.between_steps:
        return []
    return [schema.finish_step() if live.sealed else schema.start(state.message_id)]


async def _settle_step(live: LiveTurn, state: TurnState, number: int, content: list[dict[str, object]]) -> None:
    """Give the calls of a committed step their outcomes and add the step to what the model reads next."""
    calls = await db_steady(history.calls_of, live.id, number)
    open_calls = [call for call in calls if call.state in (ToolCall.State.PENDING, ToolCall.State.RUNNING)]
    if open_calls:
        zone = state.turn.settings.get("time_zone") or ""
        try:
            async with _cuttable(live, number):
                await run_calls(live, open_calls, state.tools, zone)
        except Interrupted:
            lost = {call.id for call in open_calls if call.state == ToolCall.State.RUNNING}
            await settle_interrupted(live, await db_steady(history.calls_of, live.id, number), lost=lost)
        calls = await db_steady(history.calls_of, live.id, number)
    state.messages += history.step_messages(content, calls)
    if state.nudged and prompt.NUDGE not in state.messages:
        state.messages.append(prompt.NUDGE)
    state.steps = number
    state.said_anything = True
    if live.leaving:
        raise Leave


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


async def _deliver_followups(live: LiveTurn, state: TurnState) -> None:
    """Have the model read next what was sent meanwhile; not at the turn's last step, which has to end it."""
    if not _may_deliver(state.steps):
        return
    heard, session_id = set(live.wanted), live.claim.session_id
    found = None
    if await db_steady(anything_to_deliver, session_id):
        opening = _opening(live, state)
        found = await live.commit(deliver_followups, session_id=session_id, step=state.steps, opening=opening)
    live.delivered |= heard  # or withdrawn: either way it interrupts no more
    if found is not None:
        state.between_steps = True
        state.messages += history.followups(found.messages)


def _may_deliver(steps: int) -> bool:
    """Whether a message can be delivered after so many steps: not before the last, which has to end the turn."""
    return steps + 1 < settings.TURN_MAX_STEPS


def _cuttable(live: LiveTurn, step: int) -> AbstractAsyncContextManager[None]:
    """What happens in here is cut short for a message, if the message can be read after this step."""
    return live.step() if _may_deliver(step) else nullcontext()


async def _ask(live: LiveTurn, state: TurnState, provider: Provider, request: ModelRequest) -> Answer | None:
    """Ask the model for one step, again where that may help; None when it was cut short before it said anything.

    Before anything was shown a transient failure is tried again with backoff; after that only by taking back
    what was shown, at most twice a turn.
    """
    tries = 0
    while True:
        _begin(live, state)
        state.asked += 1
        stream = StepStream(live, state.turn.created_at)
        try:
            async with _cuttable(live, request.step):
                answer = await stream.run(
                    provider, replace(request, tries=tries), idle_seconds=2 * settings.TOOL_MAX_SECONDS
                )
        except Interrupted:
            await _record(live, state, request, stream.usage)
            return await _cut(live, stream, request)
        except asyncio.CancelledError:
            await _record(live, state, request, stream.usage)  # what was used was used, also when it is stopped
            raise
        except ProviderError as error:
            await _record(live, state, request, stream.usage)
            tries += 1
            if not _worth_another_try(error, state, tries, late=stream.streamed):
                raise
            live.emit(schema.rollback(live.sealed))
            live.emit(schema.status("retrying", attempt=tries + 1, reason=error.code))
            try:
                async with _cuttable(live, request.step):
                    await asyncio.sleep(backoff(tries, error.retry_after))
            except Interrupted:
                return None
        else:
            await _record(live, state, request, answer.usage)
            return answer


async def _cut(live: LiveTurn, stream: StepStream, request: ModelRequest) -> Answer | None:
    """Keep what was said before the message came; None if it was withdrawn, or came before a word was said."""
    if stream.streamed and await db_steady(anything_to_deliver, live.claim.session_id):
        return stream.cut_short(request.step)
    live.emit(schema.rollback(live.sealed))
    return None


def _worth_another_try(error: ProviderError, state: TurnState, tries: int, *, late: bool) -> bool:
    if not may_repeat(error, tries):
        return False
    if late:
        state.late_tries += 1
        return state.late_tries <= LATE_TRIES_MAX
    return True


def may_repeat(error: ProviderError, tries: int) -> bool:
    """Whether a model call that has failed ``tries`` times, now so, is worth repeating while nothing was shown."""
    return error.transient and tries < TRIES_MAX and (error.retry_after or 0) <= BACKOFF_MAX


def backoff(tries: int, retry_after: float | None) -> float:
    """Seconds to wait: what the provider asks for, else twice as long each time, with jitter."""
    if retry_after is not None:
        return retry_after
    return min(BACKOFF_SECONDS * 2.0 ** (tries - 1), BACKOFF_MAX) * random.uniform(0.5, 1)  # noqa: S311


async def _record(live: LiveTurn, state: TurnState, request: ModelRequest, usage: Usage | None) -> None:
    if usage is None:
        return
    cost = price_call(state.turn.model, usage)
    live.emit(schema.data("usage", {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}))
    await db_steady(
        record_usage,
        claim=live.claim,
        step=request.step,
        call=state.asked,
        model=state.turn.model,
        usage=usage,
        cost=cost,
    )
