"""Ending a turn: one guarded UPDATE, one terminal event, what was said stored, what waited passed on.

Worker, canceller, sweep and operator all end turns through ``do_finish``; only one of them wins.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce

from common.db import db_now
from common.errors import UsageLimit
from common.prepared import Update, prepared, prepared_update
from common.redaction import redact_text
from common.text import storable
from copilot.events import schema
from copilot.events.fold import Transcript
from copilot.events.log import EventBatch, StaleTurn, read_events
from copilot.events.schema import Chunk
from copilot.models import Message, Session, Step, ToolCall, Turn
from copilot.models.message import open_answer_of, queued_in
from copilot.models.session import locked_session
from copilot.models.tool_call import OPEN
from copilot.signals import turn_ended
from copilot.turns.begin import do_hold, do_pass_on, do_touch_session, do_unplace
from copilot.turns.dispatch import dispatch_waiting_on_commit
from copilot.turns.journal import journal
from copilot.turns.measures import count_end_on_commit
from copilot.turns.naming import do_ask_for_title
from copilot.turns.progress import ContextUse, FinishedStep, do_keep_step, do_seal_step
from copilot.usage.limits import refusal_of
from copilot.usage.reservations import do_give_back


@dataclass(frozen=True, slots=True)
class Ending:
    """How a turn ends; ``tool_error`` is what calls without an outcome are said to have met."""

    status: str
    outcome: str
    error: dict[str, Any] | None = None
    tool_error: str = "The turn ended before this call did."
    #: What the turn came to, where the holder knows: its last step, how long the first chunk took, and the model
    #: that answered where it is another than the one that was asked for.
    steps: int | None = None
    sealed_seq: int | None = None
    first_chunk_ms: int | None = None
    model: str | None = None
    #: How much of the model's window its last call took.
    context: ContextUse | None = None

    def terminal(self) -> list[Chunk]:
        """The chunks that say so, the last one terminal."""
        if self.status == Turn.Status.COMPLETED:
            return [schema.finish(self.outcome)]
        if self.status == Turn.Status.CANCELLED:
            return [schema.abort(self.outcome)]
        error = self.error or {}
        data = {"code": self.outcome, **({"hint": error["hint"]} if error.get("hint") else {})}
        return [schema.data("error", data), schema.error(error.get("detail") or self.outcome)]


def completed(reason: str) -> Ending:
    """The agent said all it had to say; ``reason`` is a finish reason of the contract."""
    return Ending(Turn.Status.COMPLETED, reason)


def failed(code: str, detail: str, *, hint: str = "", retryable: bool = False) -> Ending:
    """It cannot go on; ``code`` is a turn error code of the contract, ``detail`` a sentence for people.

    A provider may quote in it what it was sent, which was exact.
    """
    error = {
        "detail": redact_text(storable(detail)),
        "retryable": retryable,
        **({"hint": storable(hint)} if hint else {}),
    }
    return Ending(Turn.Status.FAILED, code, error=error)


def cancelled(reason: str) -> Ending:
    """Somebody stopped it; never an error. ``reason`` is an abort reason of the contract."""
    details = {
        "stopped": "Stopped.",
        "operator": "Stopped by the operator.",
        "parent_stopped": "Stopped together with the chat that started it.",
        "approval_expired": "Nobody decided in time, so what was asked for did not run.",
    }
    error = {"detail": details.get(reason, "Cancelled."), "retryable": False}
    tool_error = "Stopped before it finished."
    if reason == "approval_expired":
        tool_error = "Nobody decided in time: it did not run."
    return Ending(Turn.Status.CANCELLED, reason, error=error, tool_error=tool_error)


def finish_held(
    batch: EventBatch,
    *,
    session_id: uuid.UUID,
    turn_id: uuid.UUID,
    fence: int,
    ending: Ending,
    step: FinishedStep | None = None,
    title: str = "",
) -> uuid.UUID | None:
    """End a turn as the worker that holds it, with its last step, in the transaction of ``batch``.

    Returns the id of the next turn, which takes the messages that waited.

    A stop that somebody asked for before this lock was taken wins over completing: nothing follows it. Its reason
    is the one that was stored: a hint that reached the worker may not have had it.

    Args:
        title: what the model suggests; a person's title stays.

    Raises:
        StaleTurn: it is held no longer.
    """
    sessions = locked_session(session_id)
    turns = _held(turn_id, fence)
    if not sessions or not turns:
        raise StaleTurn
    session, turn = sessions[0], turns[0]
    if step is not None:
        sealed = do_seal_step(batch, step)
        do_keep_step(turn_id, step, sealed)
        ending = replace(ending, steps=step.number, sealed_seq=sealed)
        batch.append(schema.finish_step())
    do_name_session(session, batch, title)
    if turn.stop_requested_at is not None and ending.status != Turn.Status.FAILED:
        ending = replace(
            cancelled(turn.stop_reason or "stopped"),
            steps=ending.steps,
            sealed_seq=ending.sealed_seq,
            first_chunk_ms=ending.first_chunk_ms,
            model=ending.model,
            context=ending.context,
        )
    return do_finish(session, turn, batch, ending)


def do_name_session(session: Session, batch: EventBatch, title: str) -> None:
    """Give the session the title that the model suggests, if any; a person's title stays."""
    if title and session.title_source == Session.TitleSource.AUTO and not session.temporary:
        session.title, session.title_source = title[:200], Session.TitleSource.MODEL
        session.save(update_fields=["title", "title_source"])
        batch.append(schema.data("title", {"title": session.title}))


def do_finish(session: Session, turn: Turn, batch: EventBatch, ending: Ending) -> uuid.UUID | None:
    """End ``turn`` as it was read under the session lock, which the caller holds.

    The batch gets the terminal event but is written by the caller. Returns the id of the turn that takes the
    messages which waited, if there are any to take.

    Raises:
        StaleTurn: it changed since it was read.
    """
    waiting = queued_in(session.pk)
    refusal = _refusal(turn, ending, waiting)
    if refusal is not None:
        batch.append(schema.status("waiting_limit", reason=refusal.fields["window"]))
    transcript = Transcript.of(read_events(turn.id) + batch.rows)
    closing = transcript.closing(tool_error=ending.tool_error)
    for chunk in closing:
        transcript.apply(chunk)
    last_seq = batch.append(*closing, *ending.terminal())
    ran = ran_ms(turn)
    changed = _end(
        turn.pk,
        turn.fence,
        turn.status,
        become=ending.status,
        outcome=ending.outcome,
        error=ending.error,
        last_seq=last_seq,
        ran_ms=ran,
        steps=ending.steps,
        sealed_seq=ending.sealed_seq,
        first_chunk_ms=ending.first_chunk_ms,
        model=ending.model,
        context_used=ending.context.used if ending.context else None,
        context_window=ending.context.window if ending.context else None,
        context_estimated=ending.context.estimated if ending.context else None,
    )
    if changed != 1:
        raise StaleTurn
    if transcript.calls:
        _settle_calls(turn, ending)
    if transcript.hides_something:
        _forget_exact_words(turn)
    _store_answer(session, turn, transcript, ending)
    journal(turn.id, ending.status, outcome=ending.outcome, seq=last_seq)
    count_end_on_commit(
        origin=turn.origin, status=ending.status, outcome=ending.outcome, running_ms=turn.running_ms + ran
    )
    if ending.status == Turn.Status.COMPLETED:
        do_ask_for_title(session, turn)
    do_give_back(turn.user_id, turn)
    next_turn = _pass_on(session, turn, ending, waiting, refusal)
    turn_ended.send(Turn, turn=turn, status=ending.status, outcome=ending.outcome, next_turn=next_turn)
    do_touch_session(session)
    dispatch_waiting_on_commit(turn.user_id)
    return next_turn


def _settle_calls(turn: Turn, ending: Ending) -> None:
    """Give calls without an outcome theirs, and forget exact values: no model reads them again."""
    calls = ToolCall.objects.filter(turn=turn)
    calls.filter(state__in=OPEN).update(
        state=ToolCall.State.CANCELLED, error=ending.tool_error, finished_at=db_now()
    )
    calls.exclude(sealed="", sealed_output="").update(sealed="", sealed_output="")


def _forget_exact_words(turn: Turn) -> None:
    for step in Step.objects.filter(turn=turn):
        step.content = [{name: item[name] for name in item if name != "sealed"} for item in step.content]
        step.save(update_fields=["content"])


@prepared_update
def _end(
    turn_id: Any,
    fence: Any,
    status: Any,
    become: Any,
    outcome: Any,
    error: Any,
    last_seq: Any,
    ran_ms: Any,
    steps: Any,
    sealed_seq: Any,
    first_chunk_ms: Any,
    model: Any,
    context_used: Any,
    context_window: Any,
    context_estimated: Any,
) -> Update:
    return Turn.objects.filter(pk=turn_id, fence=fence, status=status), {
        "status": become,
        "outcome": outcome,
        "error": error,
        "finished_at": db_now(),
        "last_seq": last_seq,
        "fence": F("fence") + 1,
        "worker": None,
        "heartbeat_at": None,
        "action_id": None,
        "interrupt_id": None,
        "reserved": 0,
        "running_ms": F("running_ms") + ran_ms,
        "steps": Coalesce(steps, F("steps")),
        "sealed_seq": Coalesce(sealed_seq, F("sealed_seq")),
        "first_chunk_ms": Coalesce(F("first_chunk_ms"), first_chunk_ms),
        "model": Coalesce(model, F("model")),
        "context_used": Coalesce(context_used, F("context_used")),
        "context_window": Coalesce(context_window, F("context_window")),
        "context_estimated": Coalesce(context_estimated, F("context_estimated")),
    }


@prepared
def _held(turn_id: Any, fence: Any) -> QuerySet[Turn]:
    return Turn.objects.held_by(turn_id, fence).locked().with_time()


@prepared_update
def _seal(message_id: Any, state: Any, parts: Any) -> Update:
    return Message.objects.filter(pk=message_id), {"state": state, "parts": parts}


def ran_ms(turn: Turn) -> int:
    """Return the milliseconds of the present running stretch, 0 when there is none."""
    if turn.status != Turn.Status.RUNNING or turn.claimed_at is None:
        return 0
    now: datetime | None = getattr(turn, "time", None)
    if now is None:
        now = Turn.objects.filter(pk=turn.pk).annotate(time=db_now()).values_list("time", flat=True).get()
    return max(0, int((now - turn.claimed_at).total_seconds() * 1000))


def _store_answer(session: Session, turn: Turn, transcript: Transcript, ending: Ending) -> None:
    """Seal the open message with what was streamed; a stopped turn that said nothing leaves none.

    Where there was another answer before, it leaves an empty one: the way back to the other.
    """
    found = open_answer_of(turn.pk)
    if not found:
        return
    message = found[0]
    parts = transcript.parts_of(message.id)
    said = any(part["type"] != "step-start" for part in parts)
    if ending.status == Turn.Status.COMPLETED:
        state = Message.State.DONE
    elif said or (ending.status == Turn.Status.CANCELLED and _was_asked_for_again(message)):
        state = Message.State.PARTIAL
    elif ending.status == Turn.Status.FAILED:
        state = Message.State.FAILED
    else:
        do_unplace(session, message)
        message.delete()
        return
    _ = _seal(message.pk, state, parts if said else [])


def _was_asked_for_again(answer: Message) -> bool:
    """Whether it is another answer to what was answered before, or is known by the request that asked for it."""
    others = Message.objects.filter(parent=answer.parent, shown=False)
    return answer.client_id is not None or others.exists()


def _refusal(turn: Turn, ending: Ending, waiting: Sequence[Message]) -> UsageLimit | None:
    """Return the usage limit that what waits is going to be held for, if that can be told already."""
    limited = ending.status == Turn.Status.COMPLETED or ending.outcome == "usage_limit"
    if not limited or all(message.held for message in waiting):
        return None
    return refusal_of(turn.user_id, apart_from=turn.reserved)


def _pass_on(
    session: Session, turn: Turn, ending: Ending, waiting: Sequence[Message], refusal: UsageLimit | None
) -> uuid.UUID | None:
    """Completed: one next turn takes all that waits. Otherwise, or over a usage limit, it is held until the person
    says so.

    What was held before the turn began goes along with other messages, never by itself.
    """
    if all(message.held for message in waiting):
        return None
    if ending.status != Turn.Status.COMPLETED or refusal is not None:
        do_hold(session, refusal)
        return None
    next_turn = do_pass_on(session, waiting)
    if next_turn is None:
        return None
    Turn.objects.filter(pk=turn.pk).update(next_turn=next_turn)
    return next_turn.id
