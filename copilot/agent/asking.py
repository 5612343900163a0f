"""One step of the model, asked again where that may help."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from django.conf import settings

from common.db import db_steady
from common.errors import UsageLimit
from common.text import storable
from copilot.agent.attached import with_files
from copilot.agent.between import begin, cuttable
from copilot.agent.compaction import make_room_after_overflow, note_context
from copilot.agent.fallback import StandIn, hand_over, stand_in_for
from copilot.agent.live import Interrupted, LiveTurn
from copilot.agent.state import TurnState
from copilot.agent.step import Answer, StepStream
from copilot.agent.usage import usage_chunk, used
from copilot.events import schema
from copilot.providers.base import AnsweredBy, ModelRequest, Provider, ProviderError
from copilot.providers.pricing import price_call
from copilot.providers.registry import UnknownModel, provider_for
from copilot.turns.followups import anything_to_deliver
from copilot.turns.progress import record_usage
from copilot.usage.limits import check_spent, limits_are_set

#: Tries of one model call: before anything was shown, and after (by a rollback).
TRIES_MAX = 4
LATE_TRIES_MAX = 2
BACKOFF_SECONDS = 0.5
BACKOFF_MAX = 30.0


def provider_of(model: str) -> tuple[Provider, str]:
    """Return the adapter for ``provider/name`` and the model's name.

    Raises:
        ProviderError: ``not_configured``, also where there is no such model (any more).
    """
    try:
        return provider_for(model)
    except UnknownModel as error:
        raise ProviderError("not_configured", str(error), hint="Choose another model.") from error


async def ask(live: LiveTurn, state: TurnState, provider: Provider, request: ModelRequest) -> Answer | None:
    """Ask the model for one step, again where that may help; None when it was cut short before it said anything.

    Before anything was shown a transient failure is tried again with backoff, and after the last try by another
    model, which the turn then stays with; after that only by taking back what was shown, at most twice a turn.

    Raises:
        ProviderError: it failed for good, or the turn has cost too much: ``usage_limit``. What was said is kept.
    """
    asked = state.stand_in or StandIn(state.turn.model, provider, request.model)
    tries = failures = 0
    while True:
        begin(live, state)
        await _check_limits(live, state)
        state.asked += 1
        stream = StepStream(live, state.turn.created_at, model=asked.model)
        sent = replace(request, tries=tries)
        try:
            async with cuttable(live, request.step):
                sent = await with_files(sent, asked.model, live.claim.session_id)
                answer = await stream.run(asked.provider, sent, idle_seconds=2 * settings.TOOL_MAX_SECONDS)
        except Interrupted:
            await _record(live, state, sent, stream, asked)
            return await _cut(live, stream, request)
        except asyncio.CancelledError:
            await _record(live, state, sent, stream, asked)  # what was used was used, also when it is stopped
            raise
        except ProviderError as error:
            if stream.heard.characters or stream.usage:
                await _record(live, state, sent, stream, asked)
            await _check_limits(live, state)
            tries, failures = tries + 1, failures + 1
            if error.code == "context_overflow" and not stream.streamed:
                try:
                    smaller = await make_room_after_overflow(live, state, asked, request)
                except Interrupted:
                    return None
                if smaller is not None:
                    request = smaller
                    continue
            if _worth_another_try(error, state, tries, late=stream.streamed):
                wait = backoff(tries, error.retry_after)
            elif stand_in := _stand_in(error, state, late=stream.streamed):
                asked, request = stand_in, hand_over(state, stand_in, request)
                tries, wait = 0, 0.0
            else:
                raise naming_the_wait(error) from error
            again = {"attempt": failures + 1, "reason": error.code}
            live.emit(schema.rollback(live.sealed))
            live.emit(schema.status("retrying", **again, **({} if tries else {"model": asked.model})))
            try:
                async with cuttable(live, request.step):
                    await asyncio.sleep(wait)
            except Interrupted:
                return None
        else:
            await _record(live, state, sent, stream, asked, whole=True)
            note_context(live, state, asked, sent, answer.usage)
            return answer
        finally:
            if state.stand_in and stream.streamed:
                live.answered_by = asked.model


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


def _stand_in(error: ProviderError, state: TurnState, *, late: bool) -> StandIn | None:
    """Return the model to ask instead, once a turn; not where text would have to be taken back once more."""
    if late or state.stand_in or not error.transient:
        return None
    return stand_in_for(state.turn.model)


def may_repeat(error: ProviderError, tries: int) -> bool:
    """Whether a model call that has failed ``tries`` times, now so, is worth repeating while nothing was shown."""
    return error.transient and tries < TRIES_MAX and (error.retry_after or 0) <= BACKOFF_MAX


def backoff(tries: int, retry_after: float | None) -> float:
    """Seconds to wait: what the provider asks for and a little more, else twice as long each time; with jitter."""
    if retry_after is not None:
        return retry_after * random.uniform(1, 1.1)  # noqa: S311
    return min(BACKOFF_SECONDS * 2.0 ** (tries - 1), BACKOFF_MAX) * random.uniform(0.5, 1)  # noqa: S311


def naming_the_wait(error: ProviderError) -> ProviderError:
    """Return an error that tells for how long its provider wants to be left alone, where that is long."""
    seconds = error.retry_after or 0
    if seconds <= BACKOFF_MAX:
        return error
    wait = _duration(seconds)
    detail = f"{error.detail.rstrip('.…')}. The provider asks to wait {wait}."
    hint = f"Try again in {wait}, or choose another model."
    return ProviderError(error.code, detail, hint=hint, retry_after=error.retry_after)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{-(-seconds // size):.0f} {unit}"
    return f"{-(-seconds // 1):.0f} seconds"


async def _check_limits(live: LiveTurn, state: TurnState) -> None:
    """Make sure that another model call may be made, for the turn and for its person.

    Whether the person may begin a turn was looked at when it was accepted: its first call is made.

    Raises:
        ProviderError: ``usage_limit``.
    """
    check_cost(state)
    if not limits_are_set() or not (state.steps or state.asked):
        return
    try:
        await db_steady(check_spent, live.claim.user_id)
    except UsageLimit as refusal:
        hint = "What was said is kept. Send another message to go on from here then."
        raise ProviderError("usage_limit", refusal.detail, hint=hint) from refusal


def check_cost(state: TurnState) -> None:
    """Make sure that the turn may cost more.

    Raises:
        ProviderError: ``usage_limit``: its calls with a known price were dearer than one turn may be.
    """
    limit = settings.TURN_MAX_COST_MICRODOLLARS
    if limit and state.cost > limit:
        raise ProviderError(
            "usage_limit",
            "This turn has cost more than one turn may cost.",
            hint="Send another message to go on; the operator sets TURN_MAX_COST_MICRODOLLARS.",
        )


async def _record(
    live: LiveTurn,
    state: TurnState,
    request: ModelRequest,
    stream: StepStream,
    asked: StandIn,
    *,
    whole: bool = False,
) -> None:
    """Keep and tell what a call used, if it was made."""
    if not stream.called:
        return
    usage = used(stream.usage, request, stream.heard, whole=whole)
    other = stream.answered_by or AnsweredBy("")
    cost = price_call(asked.model, usage, answered_by=other.model)
    state.cost += cost.microdollars or 0
    live.emit(usage_chunk(usage, asked.model))
    await db_steady(
        record_usage,
        claim=live.claim,
        step=request.step,
        call=state.asked,
        model=asked.model,
        answered_by=answered_by(other, request.model),
        usage=usage,
        cost=cost,
    )


def answered_by(other: AnsweredBy, name: str) -> str:
    """Return who answered where that is not simply the model ``name`` that was asked, as it is stored."""
    if other.model in ("", name) and not other.provider:
        return ""
    return storable(f"{other.provider}/{other.model}" if other.provider else other.model)[:200]
