"""Making room in a model's view: before a step when the window is nearly full, and when its provider says so.

The model's call is made without any lock; what comes of it is one transaction behind the turn's fence. A worker
that is lost before it wrote nothing, so whoever goes on does it again.
"""

from __future__ import annotations

from dataclasses import replace

from common.db import db_steady
from common.faults import reach
from copilot.agent import history, prompt, room
from copilot.agent.between import begin, cuttable
from copilot.agent.estimate import request_tokens
from copilot.agent.fallback import StandIn
from copilot.agent.history import Earlier, StepView
from copilot.agent.live import Interrupted, LiveTurn
from copilot.agent.state import TurnState
from copilot.agent.summary import summarise
from copilot.events import schema
from copilot.models import Compaction
from copilot.models.message import answers_of
from copilot.providers.base import ModelMessage, ModelRequest, Provider, Usage
from copilot.turns.compactions import keep_compaction
from copilot.turns.progress import ContextUse

#: How often a turn makes room because its provider refused the request as too long.
OVERFLOWS_MAX = 2


async def make_room(live: LiveTurn, state: TurnState, provider: Provider, request: ModelRequest) -> ModelRequest:
    """Return the request, with less of the conversation if it would fill the model's window.

    Raises:
        Interrupted: a message came that is to be read first; nothing was left out.
    """
    asked = state.stand_in or StandIn(state.turn.model, provider, request.model)
    window = room.window_of(asked.model)
    if not window and state.whole:
        return request
    estimate = request_tokens(request)
    limits = room.Limits(estimate, estimate // 2)  # what was not read makes room for half of what was
    if window:
        limits = room.Limits.of(window, request.max_output_tokens)
        size = _size(state, request, estimate)
        if size <= limits.full and state.whole:
            return request
        # The plan counts in estimates, which may be far off where the provider's own figure is known.
        limits = room.Limits(limits.full * estimate // size, limits.roomy * estimate // size)
        limits = room.Limits(limits.full, min(limits.roomy, estimate // 2))
    smaller = await _make_room(live, state, asked, request, limits)
    state.whole = True  # once a turn
    return smaller or request


async def make_room_after_overflow(
    live: LiveTurn, state: TurnState, asked: StandIn, request: ModelRequest
) -> ModelRequest | None:
    """Return the request with half of what was too much; None where there is nothing left to leave out.

    Raises:
        Interrupted: as for ``make_room``.
    """
    if state.overflows >= OVERFLOWS_MAX:
        return None
    state.overflows += 1
    half = request_tokens(request) // 2
    return await _make_room(live, state, asked, request, room.Limits(half, half), take_back=True)


def _size(state: TurnState, request: ModelRequest, estimate: int) -> int:
    """Return the tokens of the request: what the provider counted last, and an estimate of what came since.

    A count that is far below the estimate is not believed: some servers count only what they had not cached.
    """
    if state.counted is None:
        return estimate
    tokens, messages = state.counted
    size = tokens + room.tokens_of(request.messages[messages:])
    return size if 2 * size >= estimate else estimate


def note_context(
    live: LiveTurn, state: TurnState, asked: StandIn, request: ModelRequest, usage: Usage | None
) -> None:
    """Keep how much of the window an answered request took: what the provider counted, else an estimate."""
    counted = usage.input_tokens if usage is not None else 0
    state.counted = (counted, len(request.messages)) if counted else None
    window = room.window_of(asked.model) or 0
    live.context = ContextUse(counted or request_tokens(request), window, estimated=not counted)


async def _make_room(
    live: LiveTurn,
    state: TurnState,
    asked: StandIn,
    request: ModelRequest,
    limits: room.Limits,
    *,
    take_back: bool = False,
) -> ModelRequest | None:
    """Leave out as much as the limits ask for; None when nothing is gained by it.

    Args:
        take_back: the step has begun already, and is to be forgotten.
    """
    window = room.window_of(asked.model)
    found = await db_steady(_plan, state, asked.model, request, limits, window)
    if found is None:
        return None
    earlier, steps, plan = found
    if take_back:
        live.emit(schema.rollback(live.sealed))
    begin(live, state)
    live.emit(schema.status("compacting"))
    summary = ""
    if plan.covered:
        told, cut = earlier.summary or "", not earlier.whole
        try:
            async with cuttable(live, request.step):
                summary = await summarise(
                    live, state, asked, request.step, earlier=told, covered=plan.covered, cut=cut, window=window
                )
        except Interrupted:
            live.emit(schema.rollback(live.sealed))
            raise
        earlier.before, earlier.summary = list(plan.kept), summary
    smaller = _smaller(state, request, earlier, plan.shortened.flatten(steps))
    made = Compaction(
        summary=summary,
        through=state.steps,
        noted=plan.shortened.noted,
        longest=plan.shortened.longest,
        tokens_before=request_tokens(request),
        tokens_after=request_tokens(smaller),
    )
    if plan.covered:
        made.last_id, made.up_to = plan.covered[-1].message_id, plan.covered[-1].seq
    reach("compaction_made")
    await live.commit(keep_compaction, session_id=live.claim.session_id, made=made)
    state.messages, state.asked_from = list(smaller.messages), smaller.asked_from
    state.shortened, state.counted, state.between_steps = plan.shortened, None, True
    return smaller


def _plan(
    state: TurnState, model: str, request: ModelRequest, limits: room.Limits, window: int | None
) -> tuple[Earlier, list[StepView], room.Plan] | None:
    """Read the conversation and the turn's steps so far, each in full, and see what to leave out of them."""
    answer = answers_of(state.turn.id)[0]
    earlier = history.earlier(state.turn, before=answer.seq)
    steps = history.committed_steps(state.turn, through=state.steps, model=model)
    fixed = request_tokens(replace(request, messages=()))
    summary = room.summary_tokens(window)
    plan = room.plan(earlier, steps, state.shortened, fixed=fixed, limits=limits, summary=summary)
    return None if plan is None else (earlier, steps, plan)


def _smaller(
    state: TurnState, request: ModelRequest, earlier: Earlier, own_steps: list[ModelMessage]
) -> ModelRequest:
    preamble = earlier.preamble()
    nudge = [prompt.NUDGE] if state.nudged else []
    messages = (*preamble, *earlier.question, *own_steps, *nudge)
    return replace(request, messages=messages, asked_from=len(preamble))
