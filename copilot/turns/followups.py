"""Follow-ups: messages that come while a turn runs, delivered into it between two steps.

They stand after the tool results of the step before, each as a message of its own, whole, in typing order; the
answer is closed before them and goes on in a new message behind them. What is not delivered so waits for the next
turn (``finish._pass_on``).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from common.db import db_now
from common.prepared import insert
from copilot.events import schema
from copilot.events.fold import Transcript
from copilot.events.log import EventBatch, StaleTurn, read_events
from copilot.models import Message, Session, Turn
from copilot.models.message import open_answer_of, queued_in
from copilot.models.session import locked_session
from copilot.objects import message_objects
from copilot.turns.authority import with_less
from copilot.turns.begin import do_open_answer, do_place, do_touch_session, do_unplace
from copilot.turns.bounds import narrowed
from copilot.turns.journal import journal, touch
from copilot.turns.progress import StopRequested


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was delivered into a turn, in order; the events up to ``sealed`` belong to rows."""

    messages: Sequence[Message]
    sealed: int


def anything_to_deliver(session_id: uuid.UUID) -> bool:
    """Whether a message waits that wants to be delivered into the running turn. A look, without a lock."""
    return bool(due(queued_in(session_id)))


def deliver_followups(
    batch: EventBatch,
    *,
    session_id: uuid.UUID,
    turn_id: uuid.UUID,
    fence: int,
    step: int,
    opening: Sequence[schema.Chunk],
) -> Delivery | None:
    """Deliver what waits into a turn as the worker that holds it, in the transaction of ``batch``.

    Nothing is delivered, and the answer is None, when there is nothing to deliver.

    Args:
        step: the committed steps of the turn so far.
        opening: the chunks that come before the next step, and now before the messages.

    Raises:
        StaleTurn: the turn is held no longer.
        StopRequested: somebody asked to stop: nothing begins any more.
    """
    sessions = locked_session(session_id)
    turn = Turn.objects.held_by(turn_id, fence).locked().first()
    if not sessions or turn is None:
        raise StaleTurn
    if turn.stop_requested_at is not None:
        raise StopRequested
    messages = due(queued_in(session_id))
    if not messages:
        Turn.objects.filter(pk=turn_id).update(interrupt_id=None)
        return None
    session = sessions[0]
    batch.append(*opening)
    answer = _give_places(session, turn, batch, messages)
    for message in messages:
        message.turn, message.state, message.after_step = turn, Message.State.DONE, step
        message.held, message.held_until = False, None
        message.save(update_fields=["turn", "seq", "parent", "state", "held", "held_until", "after_step"])
        [shown] = message_objects([message])
        batch.append(schema.data("pending", {"message": shown, "next_message_id": str(answer.id)}))
    less = narrowed(with_less(turn.settings, messages), messages)
    changes = {"settings": less} if less != turn.settings else {}
    touch(turn_id, fence, sealed_seq=batch.seq, progress_at=db_now(), interrupt_id=None, **changes)
    do_touch_session(session)
    journal(turn_id, "delivered", messages=[str(message.id) for message in messages], step=step, seq=batch.seq)
    return Delivery(messages, batch.seq)


def due(waiting: Sequence[Message]) -> list[Message]:
    """Return what is to be delivered now, of all that waits: never one before another that was typed earlier.

    Everything up to the last one that interrupts; behind it, those that want to come as soon as possible. What was
    held before the turn began goes along, and comes first, as with any next message.
    """
    free = [message for message in waiting if not message.held]
    interrupting = [n for n, message in enumerate(free, 1) if message.delivery == Message.Delivery.INTERRUPT]
    end = interrupting[-1] if interrupting else 0
    while end < len(free) and free[end].delivery == Message.Delivery.ASAP:
        end += 1
    return list(waiting[: waiting.index(free[end - 1]) + 1]) if end else []


def _give_places(session: Session, turn: Turn, batch: EventBatch, messages: Sequence[Message]) -> Message:
    """Give the messages their places, between what the turn said so far and what it says next; return the answer
    that it goes on in. An answer that says nothing yet steps behind them.
    """
    [answer] = open_answer_of(turn.pk)
    parts = Transcript.of(read_events(turn.pk) + batch.rows).parts_of(answer.id)
    if any(part["type"] != "step-start" for part in parts):
        answer.parts, answer.state = parts, Message.State.DONE
        answer.save(update_fields=["parts", "state"])
        for message in messages:
            do_place(session, message)
        following = do_open_answer(session, turn)
        insert(following)
        return following
    # It gives back its place, and takes one behind them.
    assert answer.seq is not None  # noqa: S101 - the last one that has a place
    session.next_seq = answer.seq
    do_unplace(session, answer)
    for message in (*messages, answer):
        do_place(session, message)
    answer.save(update_fields=["seq", "parent"])
    return answer
