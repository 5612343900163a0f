"""Looks for rows that break a rule: for operators (``manage.py check_invariants``) and for the test suite.

The rules themselves are in ``turn_rules``, ``approval_rules``, ``session_rules`` and ``usage_rules``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Q, QuerySet

from approvals.models import Action
from approvals.models.action import ActionQuerySet
from common.db import seconds_ago
from copilot.diagnostics import approval_rules, session_rules, turn_rules, usage_rules
from copilot.diagnostics.facts import action_facts, person_facts, session_facts, turn_facts
from copilot.events import schema
from copilot.events.fold import Event, Transcript
from copilot.events.log import read_events
from copilot.models import Message, Session, Turn, User
from copilot.models.turn import LIVE, TurnQuerySet

Facts = TypeVar("Facts")

TURN_RULES = (*turn_rules.RULES, *approval_rules.TURN_RULES)
RULES = sum(map(len, (TURN_RULES, session_rules.RULES, approval_rules.ACTION_RULES, usage_rules.RULES)))


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule, the row that breaks it and how; ``kind`` is turn, session, approval or user."""

    rule: str
    kind: str
    id: uuid.UUID
    sentence: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.kind} {self.id}: {self.sentence}"


def check(turn_ids: Sequence[uuid.UUID] | None = None) -> list[Violation]:
    """Return every violation among these turns and what belongs to them, or among all; none is the promise."""
    if turn_ids is None:
        return list(violations())
    turns = Turn.objects.filter(pk__in=turn_ids)
    sessions = Session.objects.filter(pk__in=turns.values("session"))
    actions = Action.objects.filter(turn__in=turn_ids)
    people = User.objects.filter(pk__in=turns.values("user"))
    return [*_of_turns(turns), *_of_sessions(sessions), *_of_actions(actions), *_of_people(people)]


def violations(*, since_hours: float | None = None) -> Iterator[Violation]:
    """Yield violations as they are found, reading a bounded batch at a time.

    Args:
        since_hours: only what is live, pending or was active within so many hours.
    """
    turns, sessions, people = Turn.objects.all(), Session.objects.all(), User.objects.all()
    if since_hours is not None:
        moment = seconds_ago(since_hours * 3600)
        turns = turns.filter(Q(status__in=LIVE) | Q(created_at__gte=moment) | Q(finished_at__gte=moment))
        sessions = sessions.filter(updated_at__gte=moment)
        people = people.filter(pk__in=sessions.values("user"))
    yield from _of_turns(turns)
    yield from _of_sessions(sessions)
    yield from _of_actions(Action.objects.all())
    yield from _of_people(people)


def _of_turns(turns: TurnQuerySet) -> Iterator[Violation]:
    for facts in turn_facts(turns):
        for rule in TURN_RULES:
            for sentence in _sentences(rule, facts):
                yield Violation(rule.__name__, "turn", facts.turn.pk, sentence)


def _of_sessions(sessions: QuerySet[Session]) -> Iterator[Violation]:
    for facts in session_facts(sessions):
        for rule in session_rules.RULES:
            for sentence in _sentences(rule, facts):
                yield Violation(rule.__name__, "session", facts.session.pk, sentence)


def _of_actions(actions: ActionQuerySet) -> Iterator[Violation]:
    for facts in action_facts(actions):
        for rule in approval_rules.ACTION_RULES:
            for sentence in _sentences(rule, facts):
                yield Violation(rule.__name__, "approval", facts.action.pk, sentence)


def _of_people(people: QuerySet[User]) -> Iterator[Violation]:
    for facts in person_facts(people):
        for rule in usage_rules.RULES:
            for sentence in _sentences(rule, facts):
                yield Violation(rule.__name__, "user", facts.user_id, sentence)


def _sentences(rule: Callable[[Facts], Iterator[str]], facts: Facts) -> list[str]:
    """Apply a rule; rows that are too broken for it to read break it too."""
    try:
        return list(rule(facts))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return [f"cannot be read ({type(error).__name__}: {error})"]


def transcript_problems(turn_id: uuid.UUID, events: Sequence[tuple[int | None, schema.Chunk]]) -> list[str]:
    """Compare what a follower from the beginning was given with the rows; return what is wrong.

    Every event comes once, in order, without a gap but the one that ``data-reset`` covers; the terminal event is
    the last; each is the row of that seq; and the text that remains after rollbacks is the stored text.

    Args:
        events: (seq, chunk) as followed; transient chunks, without a seq, are passed over.
    """
    followed = [(seq, chunk) for seq, chunk in events if seq is not None]
    problems = [*_order_problems(followed), *_row_problems(turn_id, followed)]
    shown, stored = _shown_text(followed), _stored_text(turn_id)
    if shown != stored:
        problems.append(f"the follower shows {len(shown)} characters of text, stored are {len(stored)}, or others")
    return problems


def _order_problems(followed: Sequence[Event]) -> Iterator[str]:
    before = 0
    for place, (seq, chunk) in enumerate(followed):
        if seq <= before:
            yield f"event {seq} came after event {before}"
        elif seq != before + 1 and chunk["type"] != "data-reset":
            yield f"event {seq} followed event {before}"
        if schema.is_terminal(chunk) and place != len(followed) - 1:
            yield f"the terminal event {seq} was not the last"
        before = seq
    if not followed or not schema.is_terminal(followed[-1][1]):
        yield "the last event was not terminal"


def _row_problems(turn_id: uuid.UUID, followed: Sequence[Event]) -> Iterator[str]:
    rows = dict(read_events(turn_id))
    given = {seq: chunk for seq, chunk in followed if chunk["type"] != "data-reset"}
    for seq in sorted(rows.keys() & given.keys()):
        if rows[seq] != given[seq]:
            yield f"event {seq} was given otherwise than it is stored"
    reset = any(chunk["type"] == "data-reset" for _, chunk in followed)
    if not reset and (missed := sorted(rows.keys() - given.keys())):
        yield f"{len(missed)} stored events were not given, the first is {missed[0]}"
    turn = Turn.objects.get(pk=turn_id)
    if followed and turn.last_seq not in (None, followed[-1][0]):
        yield f"the last event was {followed[-1][0]}, but the turn ended with {turn.last_seq}"


def _shown_text(followed: Sequence[Event]) -> str:
    """The text on the follower's page: a reset replaces all that came before it."""
    start, shown = 0, ""
    for place, (_, chunk) in enumerate(followed):
        if chunk["type"] == "data-reset":
            parts = chunk["data"]["parts"]
            start, shown = place + 1, "".join(part["text"] for part in parts if part["type"] == "text")
    return shown + Transcript.of(followed[start:]).text


def _stored_text(turn_id: uuid.UUID) -> str:
    answers = Message.objects.settled().filter(turn_id=turn_id, role=Message.Role.ASSISTANT).order_by("seq")
    return "".join(message.text for message in answers)
