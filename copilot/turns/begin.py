"""Giving messages their place in the transcript and starting the turn that answers them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from copilot.events import publish
from copilot.models import Message, Session, Turn
from copilot.providers.registry import default_model
from copilot.turns.dispatch import dispatch_on_commit
from copilot.turns.journal import journal

TITLE_LENGTH = 60


def do_begin_turn(session: Session, messages: Sequence[Message], *, origin: str) -> Turn:
    """Start one turn that answers ``messages``, in this order. The caller holds the session lock.

    The messages, each still without a place, come first in the transcript; the open answer follows them. What
    the last one asked for (model, effort, time zone) counts.
    """
    options: dict[str, Any] = messages[-1].options
    turn = Turn.objects.create(
        session=session,
        user_id=session.user_id,
        origin=origin,
        model=options.get("model") or session.model or default_model(),
        effort=options.get("effort") or settings.COPILOT_EFFORT,
        settings={
            "time_zone": options.get("timezone", ""),
            "tools": session.tools,
            "max_output_tokens": settings.COPILOT_MAX_OUTPUT_TOKENS,
        },
    )
    seq = session.next_seq
    for seq, message in enumerate(messages, session.next_seq):
        message.turn, message.seq, message.state, message.held = turn, seq, Message.State.DONE, False
        message.save(update_fields=["turn", "seq", "state", "held"])
    do_open_answer(session, turn, seq=seq + 1)
    if not session.title:
        session.title = title_from(messages[0].text)
    do_touch_session(session, next_seq=seq + 2, title=session.title)
    journal(turn.id, "submitted", messages=[str(message.id) for message in messages])
    dispatch_on_commit(turn.id)
    return turn


def do_open_answer(session: Session, turn: Turn, *, seq: int) -> Message:
    """Create the message that the turn writes. The caller holds the session lock."""
    return Message.objects.create(
        session=session,
        turn=turn,
        role=Message.Role.ASSISTANT,
        state=Message.State.OPEN,
        seq=seq,
        number=do_count_message(session),
    )


def do_count_message(session: Session) -> int:
    """Allocate the next number in order of acceptance. The caller holds the session lock."""
    session.accepted += 1
    Session.objects.filter(pk=session.pk).update(accepted=session.accepted)
    return session.accepted


def do_touch_session(session: Session, **changes: Any) -> None:
    """Record activity: a new revision, told to open pages after the commit. The caller holds the lock."""
    Session.objects.filter(pk=session.pk).update(revision=F("revision") + 1, updated_at=timezone.now(), **changes)
    announce(session.pk, session.user_id)


def announce(session_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Tell open pages, after the commit, that the session has a new revision."""
    transaction.on_commit(lambda: publish.session_changed(session_id, user_id), robust=True)


def title_from(text: str) -> str:
    """Return a provisional title: the first line that says something, cut at a word."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = " ".join((lines or [""])[0].split())
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[:TITLE_LENGTH].rsplit(" ", 1)[0]
    return f"{cut}…"
