"""A conversation in a few words: what is said, answered, edited, and what is then seen of it."""

from __future__ import annotations

from typing import Any

from copilot import selectors
from copilot.agent.state import load
from copilot.models import Message, Session, Turn
from copilot.turns.branches import edit_message, regenerate, show_branch
from copilot.turns.cancel import request_stop
from copilot.turns.submit import Accepted
from tests.factories import accept, fresh, hold


def say(session: Session, text: str, answer: str) -> Message:
    """Send a message and have it answered; return the message."""
    accepted = accept(session, text)
    return answered(accepted, answer)


def answered(accepted: Accepted, answer: str) -> Message:
    """Have the turn of an accepted message answered; return the message."""
    assert accepted.turn is not None
    hold(accepted.turn).answer(answer)
    return fresh(accepted.message)


def edit(message: Message, text: str, **over: Any) -> Accepted:
    return edit_message(user=message.session.user, message_id=message.id, text=text, **over)


def again(session: Session, **over: Any) -> Accepted:
    return regenerate(user=session.user, session_id=session.id, **over)


def show(session: Session, message: Message | None) -> Session:
    assert message is not None
    return show_branch(user=session.user, session_id=session.id, message_id=message.id)


def stop(session: Session) -> None:
    request_stop(user=session.user, session_id=session.id, turn_id=None, reason="stopped")


def shown(session: Session) -> list[str]:
    """Return the texts that a person sees."""
    return [message.text for message in selectors.messages_page(fresh(session)).messages]


def seen_by_model(turn: Turn | None) -> list[str]:
    """Return the texts that the model is sent for a turn, and mark where its question begins with a ``>``."""
    assert turn is not None
    state = load(turn.pk)
    marks = ["> " if place >= state.asked_from else "" for place, _ in enumerate(state.messages)]
    return [mark + message.parts[0].text for mark, message in zip(marks, state.messages, strict=True)]  # type: ignore[union-attr]


def siblings(message: Message) -> list[str]:
    [branch] = selectors.branches_of([fresh(message)]).values()
    assert branch.siblings[branch.index] == message.pk
    return [Message.objects.get(pk=pk).text for pk in branch.siblings]
