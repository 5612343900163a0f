"""What a worker commits while it holds a turn: steps, calls, results. Each write stands behind the fence."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce

from common.db import db_now, transact
from common.prepared import Update, insert, prepared, prepared_update
from common.redaction import redact_json, redact_text
from common.sealing import digest_of_arguments, seal
from copilot.events import schema
from copilot.events.log import EventBatch, StaleTurn
from copilot.models import Session, Step, ToolCall, Turn, UsageRecord, User
from copilot.models.tool_call import OPEN
from copilot.providers.base import Usage
from copilot.providers.pricing import UNKNOWN, Cost, worst_source
from copilot.turns.claim import Claim
from copilot.turns.journal import journal, touch
from copilot.turns.measures import count_use_on_commit
from copilot.usage.counting import do_count, telling_of_loss
from copilot.usage.reservations import do_settle


@dataclass(frozen=True)
class PlannedCall:
    """A call that a model asked for; ``id`` is ours and already on the wire, ``provider_id`` the provider's.

    ``arguments`` are the exact ones.
    """

    id: uuid.UUID
    provider_id: str
    name: str
    arguments: Any

    @functools.cached_property
    def shown(self) -> Any:
        """The arguments as people see them and rows keep them."""
        return redact_json(self.arguments).shown


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """What a model said in one call, as it is kept."""

    number: int
    finish_reason: str
    content: list[dict[str, Any]]
    calls: Sequence[PlannedCall] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class ContextUse:
    """Tokens that a model call was sent, as its provider said or ``estimated``; its window, 0 if nobody knows."""

    used: int
    window: int
    estimated: bool


def commit_step(
    batch: EventBatch,
    *,
    turn_id: uuid.UUID,
    fence: int,
    step: FinishedStep,
    model: str = "",
    first_chunk_ms: int | None = None,
    context: ContextUse | None = None,
) -> int:
    """Keep a model step and its calls: nobody asks for it again. ``attempt`` returns to 1.

    Returns the seq up to which the events now belong to rows.

    Args:
        model: the model that answered, where it took over from the one that was asked for: the turn stays with it.
        first_chunk_ms: how long the person waited for the first sign of an answer; the first figure stays.
    """
    sealed = do_seal_step(batch, step)
    also: dict[str, Any] = {"model": model} if model else {}
    if first_chunk_ms is not None:
        also["first_chunk_ms"] = Coalesce(F("first_chunk_ms"), first_chunk_ms)
    if context is not None:
        also |= {f"context_{name}": value for name, value in asdict(context).items()}
    touch(turn_id, fence, steps=step.number, sealed_seq=sealed, attempt=1, progress_at=db_now(), **also)
    do_keep_step(turn_id, step, sealed)
    return sealed


def do_seal_step(batch: EventBatch, step: FinishedStep) -> int:
    """Append the chunks that speak of a step's rows; return the seq up to which the events then belong to them."""
    return batch.append(*(schema.tool_input_available(call.id, call.name, call.shown) for call in step.calls))


def do_keep_step(turn_id: uuid.UUID, step: FinishedStep, sealed: int) -> None:
    """Insert the rows of a step. The caller has locked the turn behind its fence."""
    insert(Step(turn_id=turn_id, number=step.number, content=_content(step), finish_reason=step.finish_reason))
    calls = [
        ToolCall(
            id=call.id,
            turn_id=turn_id,
            step=step.number,
            position=position,
            provider_id=call.provider_id,
            name=call.name,
            arguments=call.shown,
            sealed=sealed_beside(call.shown, call.arguments),
            sha256=digest_of_arguments(call.arguments),
        )
        for position, call in enumerate(step.calls)
    ]
    if calls:
        insert(*calls)
    journal(turn_id, "step", number=step.number, calls=len(step.calls), seq=sealed)


def _content(step: FinishedStep) -> list[dict[str, Any]]:
    """Return what the model said as it is stored, its calls with the arguments that are shown.

    The calls' own rows are what is read; workers of the version before read this.
    """
    shown = iter(step.calls)
    return [
        {**item, "arguments": call.shown} if item["type"] == "call" and (call := next(shown, None)) else item
        for item in step.content
    ]


def sealed_beside(shown: Any, exact: Any) -> str:
    """Return ``exact`` sealed, to be kept beside what is shown; nothing where the two are the same."""
    return "" if shown == exact else seal(exact)


class StopRequested(Exception):
    """Somebody asked to stop this turn, and no hint of it came: nothing more is begun."""


def begin_call(batch: EventBatch, *, turn_id: uuid.UUID, fence: int, call_id: uuid.UUID) -> None:
    """Record that a call is about to run, before it does: a crash later, it may have had its effect.

    One that a person is or was asked about begins only as approved.

    Raises:
        StopRequested: it must not run.
    """
    touch(turn_id, fence)
    if Turn.objects.filter(pk=turn_id, stop_requested_at__isnull=False).exists():
        raise StopRequested
    ready = [ToolCall.State.PENDING, ToolCall.State.APPROVED]
    began = ToolCall.objects.filter(pk=call_id, turn_id=turn_id, state__in=ready).update(
        state=ToolCall.State.RUNNING, started_at=db_now()
    )
    if began != 1:
        raise StaleTurn


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """How a call ended: done with its exact ``output``, or error, denied or unknown with a reason."""

    state: str
    output: Any = None
    error: str = ""


def settle_call(
    batch: EventBatch, *, turn_id: uuid.UUID, fence: int, call_id: uuid.UUID, outcome: CallOutcome
) -> int:
    """Keep the result of a call, once; returns the seq up to which the events now belong to rows."""
    shown, error = redact_json(outcome.output).shown, redact_text(outcome.error)
    if outcome.state == ToolCall.State.DONE:
        batch.append(schema.tool_output_available(call_id, shown))
    elif outcome.state == ToolCall.State.DENIED:
        batch.append(schema.tool_output_denied(call_id, error))
    else:
        batch.append(schema.tool_output_error(call_id, error))
    touch(turn_id, fence, sealed_seq=batch.seq, progress_at=db_now())
    settled = ToolCall.objects.filter(pk=call_id, turn_id=turn_id, state__in=OPEN).update(
        state=outcome.state,
        output=shown,
        sealed_output=sealed_beside(shown, outcome.output),
        error=error,
        finished_at=db_now(),
    )
    if settled != 1:
        raise StaleTurn
    journal(turn_id, "call", call=str(call_id), state=outcome.state, seq=batch.seq)
    return batch.seq


class _Counted(Exception):
    """This call's use was counted before; rolls the transaction back."""


def record_usage(
    *, claim: Claim, step: int, call: int, model: str, usage: Usage, cost: Cost, answered_by: str = ""
) -> None:
    """Keep what a model call used. A fact: not fenced, kept whoever won; a step tried again adds to it.

    May be repeated when it is not known whether it was stored: each call counts once.

    Args:
        call: which model call of this claim it was, from 1.
        model: ``provider/name`` that was asked.
        answered_by: who answered, where the provider names another.
    """
    with telling_of_loss(claim.user_id, turn_id=claim.turn_id), suppress(_Counted):
        _record_usage(claim, step, call, usage, cost, model=model, answered_by=answered_by)


@transact
def _record_usage(claim: Claim, step: int, call: int, usage: Usage, cost: Cost, **by: str) -> None:
    # First, because it locks: a commit of unknown outcome that is still under way is waited for.
    if not _add_to_session(claim.session_id, usage.input_tokens, usage.output_tokens, cost.microdollars or 0):
        _do_record_of_deleted(claim, call, usage, cost, **by)
        return
    known = _records_of_step(claim.turn_id, claim.fence, step)
    if known:
        record, unknown = known[0], _do_add_to_record(known[0], call, usage, cost, **by)
    else:
        of_step = {"turn_id": claim.turn_id, "fence": claim.fence, "step": step, "calls": call}
        record, unknown = new_record(claim.user_id, usage, cost, **of_step, **by), cost.source == UNKNOWN
        insert(record)
    # Not the record's: its earlier calls may have asked another.
    count_use_on_commit(by["model"], token_amounts(usage), cost.microdollars)
    settled = do_settle(claim.turn_id, cost.microdollars or 0)
    do_count(record, cost.microdollars or 0, unknown=unknown, settled=settled)


def _do_add_to_record(record: UsageRecord, call: int, usage: Usage, cost: Cost, **by: str) -> bool:
    """Add a call of the same step; return whether this makes it one whose cost is not wholly known."""
    if record.calls >= call:
        raise _Counted
    added: dict[str, Any] = {name: F(name) + amount for name, amount in token_amounts(usage).items()}
    if cost.microdollars is not None:
        added["cost_microdollars"] = (record.cost_microdollars or 0) + cost.microdollars
    added["cost_source"] = worst_source([record.cost_source, cost.source])
    added["estimated"] = record.estimated or usage.estimated
    UsageRecord.objects.filter(pk=record.pk).update(calls=call, **by, **added)
    return cost.source == UNKNOWN != record.cost_source


def _do_record_of_deleted(claim: Claim, call: int, usage: Usage, cost: Cost, **by: str) -> None:
    """Keep a call whose session was deleted meanwhile, with all its turns: for the person, as an aside."""
    aside = uuid.uuid5(claim.turn_id, str(claim.fence))
    if UsageRecord.objects.filter(aside=aside, step=call).exists():
        raise _Counted
    if not User.objects.filter(pk=claim.user_id).exists():
        return  # deleted too: there is nobody left whose use it would be
    record = new_record(claim.user_id, usage, cost, aside=aside, step=call, fence=0, **by)
    insert(record)
    count_use_on_commit(record.model, token_amounts(usage), cost.microdollars)
    do_count(record, cost.microdollars or 0, unknown=cost.source == UNKNOWN)


def new_record(user_id: uuid.UUID, usage: Usage, cost: Cost, **of_what: Any) -> UsageRecord:
    """Return a record of a call, not saved yet."""
    return UsageRecord(
        user_id=user_id,
        estimated=usage.estimated,
        cost_microdollars=cost.microdollars,
        cost_source=cost.source,
        **token_amounts(usage),
        **of_what,
    )


def token_amounts(usage: Usage) -> dict[str, int]:
    """Return the columns of a usage record that count tokens."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }


@prepared_update
def _add_to_session(session_id: Any, input_tokens: Any, output_tokens: Any, microdollars: Any) -> Update:
    return Session.objects.filter(pk=session_id), {
        "input_tokens": F("input_tokens") + input_tokens,
        "output_tokens": F("output_tokens") + output_tokens,
        "cost_microdollars": F("cost_microdollars") + microdollars,
    }


@prepared
def _records_of_step(turn_id: Any, fence: Any, step: Any) -> QuerySet[UsageRecord]:
    return UsageRecord.objects.filter(turn_id=turn_id, fence=fence, step=step)
