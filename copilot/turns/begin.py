"""Giving messages their place in the transcript and starting the turn that answers them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from approvals.rules import resolve_policy
from common.db import seconds_ago
from common.errors import UsageLimit
from common.prepared import Update, insert, prepared_update
from common.redaction import redact_text
from copilot.events import publish
from copilot.instructions import instructions_of
from copilot.models import Message, Session, Turn
from copilot.providers.registry import default_model
from copilot.turns.authority import in_person, is_lent
from copilot.turns.bounds import inherit
from copilot.turns.dispatch import REDISPATCH_SECONDS, dispatch_on_commit
from copilot.turns.journal import journal
from copilot.usage.reservations import do_reserve

TITLE_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Again:
    """What a turn answers once more: the shown messages from this ``seq`` on, as their ``options`` ask for it."""

    asked_from: int
    options: dict[str, Any]


def do_begin_turn(
    session: Session, messages: Sequence[Message], *, origin: str, again: Again | None = None
) -> Turn:
    """Start one turn that answers ``messages``, in this order. The caller holds the session lock.

    The messages, each still without a place, come first in the transcript; the open answer follows them. What
    the last one asked for (model, effort, time zone) counts.

    Args:
        again: messages that have their place already and are answered once more, together with ``messages``.

    Raises:
        UsageLimit: the person has used as much as they may. Nothing was changed.
    """
    options: dict[str, Any] = messages[-1].options if messages else again.options if again else {}
    model = options.get("model") or session.model or default_model()
    reserved = do_reserve(session.user_id, model)
    behind = [*messages, *_asked_again(session, again)]
    by_owner, lent = in_person(behind, origin=origin), is_lent(behind, origin=origin)
    turn = Turn(
        redispatch_at=seconds_ago(-REDISPATCH_SECONDS),
        session=session,
        user_id=session.user_id,
        origin=origin,
        author=messages[-1].author if messages else "",
        model=model,
        effort=options.get("effort") or settings.COPILOT_EFFORT,
        settings={
            "time_zone": options.get("timezone", ""),
            "tools": session.tools,
            **instructions_of(session, personal=by_owner or lent),
            **({"lent": True} if lent else {}),
            "max_output_tokens": _most_output(options),
            "policy": _policy(session, origin, by_owner, options),
            **({"asked_from": again.asked_from} if again else {}),
        },
    )
    if reserved is not None:
        turn.reserved, turn.created_at = reserved
    inherit(turn, session, behind)
    for message in messages:
        message.turn, message.state, message.held, message.held_until = turn, Message.State.DONE, False, None
        do_place(session, message)
    answer = do_open_answer(session, turn)
    insert(turn)
    new = [message for message in messages if message._state.adding]
    for message in messages:
        if not message._state.adding:
            message.save(update_fields=["turn", "seq", "parent", "state", "held", "held_until"])
    insert(*new, answer)
    if messages and not (session.title or session.temporary):
        _ = _name(session.pk, title_from(messages[0].text))
    do_touch_session(session)
    journal(
        turn.id,
        "submitted",
        messages=[str(message.id) for message in messages],
        **({"asked_from": again.asked_from} if again else {}),
    )
    dispatch_on_commit(turn.id)
    return turn


def do_pass_on(session: Session, messages: Sequence[Message]) -> Turn | None:
    """Start a turn that answers messages which wait, or hold all that wait while a usage limit is reached.

    Under the same conditions as ``do_begin_turn``.
    """
    try:
        return do_begin_turn(session, messages, origin=messages[-1].origin)
    except UsageLimit as refusal:
        do_hold(session, refusal)
        return None


def do_hold(session: Session, refusal: UsageLimit | None = None) -> None:
    """Let what waits in a session wait until its person says so; ``refusal`` is the limit that it is held for."""
    until = datetime.fromisoformat(refusal.fields["resets_at"]) if refusal else None
    session.messages.queued().filter(held=False).update(held=True, held_until=until)


def _asked_again(session: Session, again: Again | None) -> Iterable[Message]:
    if again is None:
        return ()
    return session.messages.shown().filter(role=Message.Role.USER, seq__gte=again.asked_from)


def _most_output(options: Mapping[str, Any]) -> int:
    """Return how many tokens one call of the model may say, 0: no limit. A message can only ask for less."""
    limits = (options.get("max_output_tokens"), settings.COPILOT_MAX_OUTPUT_TOKENS)
    return min((limit for limit in limits if limit), default=0)


def _policy(session: Session, origin: str, by_owner: bool, options: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve what the turn's tools may do without being asked about: it is judged by this to its end.

    A message that is sent ``unattended`` comes from where nobody can be shown a question.
    """
    policy = resolve_policy(
        user_id=session.user_id,
        session_id=session.pk,
        approval_mode=session.approval_mode,
        origin=origin,
        in_person=by_owner,
        temporary=session.temporary,
    )
    if options.get("unattended"):
        policy = replace(policy, can_ask=False)
    return policy.as_json()


def do_open_answer(session: Session, turn: Turn) -> Message:
    """Return the message that the turn is going to write, not saved yet. The caller holds the session lock."""
    answer = Message(
        session=session,
        turn=turn,
        role=Message.Role.ASSISTANT,
        state=Message.State.OPEN,
        number=do_next_number(session),
    )
    do_place(session, answer)
    return answer


def do_new_message(session: Session, text: str, files: Sequence[dict[str, Any]] = (), **fields: Any) -> Message:
    """Return a person's message without a place yet, not saved. The caller holds the session lock.

    Args:
        files: the parts that go along with the text.
    """
    return Message(
        session=session,
        role=Message.Role.USER,
        state=Message.State.QUEUED,
        number=do_next_number(session),
        parts=[{"type": "text", "text": text}, *files],
        **fields,
    )


def do_next_number(session: Session) -> int:
    """Allocate the next number in order of acceptance; ``do_touch_session`` stores that it is taken."""
    session.accepted += 1
    return session.accepted


def do_place(session: Session, message: Message) -> None:
    """Give ``message`` the next place in the transcript, behind the last one that is shown.

    The caller holds the session lock and saves the message (``seq``, ``parent``); ``do_touch_session`` stores
    that the place is taken.
    """
    message.seq = session.next_seq
    message.parent = session.head or session.pk
    session.next_seq += 1
    session.head = message.pk


def do_unplace(session: Session, message: Message) -> None:
    """Take the last shown message out of the branch again, before it is deleted or placed anew.

    Under the same conditions as ``do_place``.
    """
    if session.head == message.pk:
        session.head = message.parent if message.parent != session.pk else None


def do_touch_session(session: Session) -> None:
    """Record activity, what was allocated and what is shown: a new revision, told to open pages after the commit.

    The caller holds the session lock since before it read ``session``.
    """
    now, taken = timezone.now(), (session.next_seq, session.accepted)
    _ = _touch(session.pk, now, *taken, session.head, session.rewrites)
    announce(session.pk, session.user_id)


@prepared_update
def _touch(session_id: Any, now: Any, next_seq: Any, accepted: Any, head: Any, rewrites: Any) -> Update:
    return Session.objects.filter(pk=session_id), {
        "revision": F("revision") + 1,
        "updated_at": now,
        "next_seq": next_seq,
        "accepted": accepted,
        "head": head,
        "rewrites": rewrites,
    }


@prepared_update
def _name(session_id: Any, title: Any) -> Update:
    return Session.objects.filter(pk=session_id), {"title": title}


def announce(session_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Tell open pages, after the commit, that the session has a new revision."""
    transaction.on_commit(lambda: publish.session_changed(session_id, user_id), robust=True)


def title_from(text: str) -> str:
    """Return a provisional title: the first line that says something, without secrets, cut at a word."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    line = " ".join(redact_text(first).split())
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[:TITLE_LENGTH].rsplit(" ", 1)[0]
    return f"{cut}…"
