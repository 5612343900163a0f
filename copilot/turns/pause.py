"""A turn pauses: it asks a person, and holds nothing while it waits."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import F

from approvals.actions import CallRequest, Question, open_action
from approvals.objects import action_object
from common.faults import reach
from copilot.events import schema
from copilot.events.log import EventBatch, StaleTurn
from copilot.models import Session, ToolCall, Turn
from copilot.models.session import locked_session
from copilot.turns.begin import do_touch_session
from copilot.turns.dispatch import dispatch_waiting_on_commit
from copilot.turns.finish import do_name_session, ran_ms
from copilot.turns.journal import journal
from copilot.turns.naming import do_ask_for_title
from copilot.turns.progress import StopRequested


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person is asked in one pause: about some calls of a step, or one question."""

    requests: Sequence[CallRequest]
    question: Question | None = None


def pause_turn(
    batch: EventBatch,
    *,
    session_id: uuid.UUID,
    turn_id: uuid.UUID,
    fence: int,
    asked: Asked,
    title: str = "",
    first_chunk_ms: int | None = None,
) -> None:
    """Stop running and wait for a person, in the transaction of ``batch``; the slot is free with it.

    All that was streamed is on the log by then; what the turn came to is in rows. Nothing of it is held in memory.

    Raises:
        StaleTurn: it is held no longer: somebody ended it or took it over, and nobody is asked.
        StopRequested: somebody asked to stop it.
    """
    sessions = locked_session(session_id)
    turn = Turn.objects.held_by(turn_id, fence).locked().with_time().first()
    if not sessions or turn is None:
        raise StaleTurn
    if turn.stop_requested_at is not None:
        raise StopRequested
    session = sessions[0]
    do_name_session(session, batch, title)
    do_ask_for_title(session, turn)
    action = open_action(
        turn_id=turn_id,
        session_id=session_id,
        user_id=turn.user_id,
        requests=asked.requests,
        question=asked.question,
        scopes=_scopes(session, turn),
    )
    _mark_waiting(turn, asked)
    sealed = batch.append(schema.data("approval", {"approval": action_object(action)}))
    changed = Turn.objects.held_by(turn_id, fence).update(
        status=Turn.Status.REQUIRES_ACTION,
        action_id=action.pk,
        fence=F("fence") + 1,
        worker=None,
        heartbeat_at=None,
        interrupt_id=None,
        sealed_seq=sealed,
        running_ms=F("running_ms") + ran_ms(turn),
        first_chunk_ms=first_chunk_ms if turn.first_chunk_ms is None else turn.first_chunk_ms,
    )
    if changed != 1:
        raise StaleTurn
    journal(turn_id, "paused", action=str(action.pk), calls=len(asked.requests), seq=sealed)
    do_touch_session(session)
    reach("turn_pauses")
    dispatch_waiting_on_commit(turn.user_id)


def _scopes(session: Session, turn: Turn) -> list[str]:
    """For how long a decision may be remembered: rules count for what a person wrote, in sessions that stay."""
    in_person = (turn.settings.get("policy") or {}).get("in_person", False)
    return ["once", "session", "always"] if in_person and not session.temporary else ["once"]


def _mark_waiting(turn: Turn, asked: Asked) -> None:
    """From here on only a decision lets these calls run."""
    calls = [request.call_id for request in asked.requests]
    pending = ToolCall.objects.filter(turn=turn, pk__in=calls, state=ToolCall.State.PENDING)
    if pending.update(state=ToolCall.State.WAITING) != len(calls):
        raise StaleTurn
