"""What the rules look at: a turn or a session with everything that belongs to it, read in one snapshot.

A server may be writing all the time, so the rows of one batch must come from one moment; otherwise a turn that
ends between two reads would look broken.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery, Sum

from approvals.models import Action, AuditEntry
from approvals.models.action import ActionQuerySet
from copilot.events import schema
from copilot.events.fold import Event, Transcript
from copilot.models import Message, Session, Step, ToolCall, Turn, TurnEvent, TurnLog, UsageRecord, User
from copilot.models.turn import LIVE, TurnQuerySet
from copilot.usage.tally import Tally, tallies

#: Rows of a batch; a turn brings its whole log along, a session only a few numbers a message.
TURNS = 50
SESSIONS = 200
ACTIONS = 200
PEOPLE = 50


@dataclass
class TurnFacts:
    """A turn and its rows; ``usage`` is (fence, step, user) of each record, ``journal`` (kind, data)."""

    turn: Turn
    events: list[Event] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    usage: list[tuple[int, int, uuid.UUID]] = field(default_factory=list)
    journal: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    #: In the order in which they were asked.
    actions: list[Action] = field(default_factory=list)
    #: The calls that the audit log has decisions about, by action.
    audited: dict[uuid.UUID | None, list[uuid.UUID | None]] = field(default_factory=dict)
    #: How many of its calls have sealed values; counted once it has ended.
    sealed: int = 0
    #: When this was read, on the database's clock.
    now: datetime | None = None

    @property
    def answers(self) -> list[Message]:
        """The messages that the turn wrote or is writing."""
        return [message for message in self.messages if message.role == Message.Role.ASSISTANT]

    @property
    def questions(self) -> list[Message]:
        """The messages that it answers."""
        return [message for message in self.messages if message.role == Message.Role.USER]

    @cached_property
    def transcript(self) -> Transcript:
        """What the events add up to."""
        return Transcript.of(self.events)

    @cached_property
    def shown_calls(self) -> dict[str, dict[str, Any]]:
        """The tool parts that the events add up to, by call."""
        return self.transcript.calls

    @property
    def terminals(self) -> list[Event]:
        """The terminal events; there should be one at most."""
        return [(seq, chunk) for seq, chunk in self.events if schema.is_terminal(chunk)]


@dataclass(frozen=True, slots=True)
class Place:
    """What a rule needs to know of one message of a session."""

    id: uuid.UUID
    seq: int | None
    number: int
    role: str
    state: str
    held: bool
    turn_id: uuid.UUID | None
    turn_status: str | None
    turn_session_id: uuid.UUID | None
    parent: uuid.UUID | None
    shown: bool
    origin: str


@dataclass
class SessionFacts:
    """A session, its messages without their content, and the sums over its usage records."""

    session: Session
    messages: list[Place] = field(default_factory=list)
    live: int = 0
    used: tuple[int, int, int] = (0, 0, 0)

    @property
    def placed(self) -> list[Place]:
        """The messages that have a place in the transcript, in order."""
        return [message for message in self.messages if message.seq is not None]


@dataclass(frozen=True, slots=True)
class ActionFacts:
    """A pending action, the status of its turn (None: it is gone), and for how long its time is over."""

    action: Action
    turn_status: str | None
    overdue: float


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """A person, and what the counters of their use say beside what they should."""

    user_id: uuid.UUID
    tally: Tally


@contextmanager
def snapshot() -> Iterator[None]:
    """Let every read inside see the same moment, without a lock that a writer would wait for."""
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "sqlite":
        # Not ``atomic``: with IMMEDIATE transactions that would be the writer's lock.
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
    else:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield


def turn_facts(turns: TurnQuerySet) -> Iterator[TurnFacts]:
    """Yield the facts of these turns, batch by batch in order of their ids."""
    for batch in _batches(turns.select_related("next_turn", "parent", "session").with_time(), TURNS, _load_turns):
        yield from batch


def session_facts(sessions: QuerySet[Session]) -> Iterator[SessionFacts]:
    """Yield the facts of these sessions, batch by batch in order of their ids."""
    for batch in _batches(sessions.select_related("parent"), SESSIONS, _load_sessions):
        yield from batch


def action_facts(actions: ActionQuerySet) -> Iterator[ActionFacts]:
    """Yield the facts of those of these actions that are pending, batch by batch in order of their ids."""
    turns = Turn.objects.filter(pk=OuterRef("turn")).values("status")[:1]
    pending = actions.filter(status=Action.Status.PENDING).with_time().annotate(turn_status=Subquery(turns))
    for batch in _batches(pending, ACTIONS, list):
        for action in batch:
            overdue = (action.time - action.expires_at).total_seconds()
            yield ActionFacts(action, action.turn_status, overdue)


def person_facts(people: QuerySet[User]) -> Iterator[PersonFacts]:
    """Yield the facts of these people, batch by batch in order of their ids."""
    for batch in _batches(people.only("pk"), PEOPLE, _load_people):
        yield from batch


def _load_people(people: Sequence[User]) -> list[PersonFacts]:
    return [PersonFacts(user_id, tally) for user_id, tally in tallies([user.pk for user in people]).items()]


def _batches(rows: QuerySet[Any], size: int, load: Any) -> Iterator[list[Any]]:
    after = None
    while True:
        with snapshot():
            batch = list((rows.filter(pk__gt=after) if after else rows).order_by("pk")[:size])
            loaded = load(batch) if batch else []
        if not batch:
            return
        yield loaded
        after = batch[-1].pk


def _load_turns(turns: Sequence[Turn]) -> list[TurnFacts]:
    facts = {turn.pk: TurnFacts(turn, now=getattr(turn, "time", None)) for turn in turns}
    ids = list(facts)
    events = TurnEvent.objects.filter(turn_id__in=ids).order_by("turn_id", "seq")
    for turn_id, seq, chunk in events.values_list("turn_id", "seq", "chunk"):
        facts[turn_id].events.append((seq, chunk))
    for message in Message.objects.filter(turn_id__in=ids).order_by("seq"):
        _of(facts, message.turn_id).messages.append(message)
    steps = Step.objects.filter(turn_id__in=ids).order_by("number")
    for turn_id, number in steps.values_list("turn_id", "number"):
        facts[turn_id].steps.append(number)
    calls = ToolCall.objects.filter(turn_id__in=ids).order_by("step", "position")
    for call in calls.only("turn_id", "step", "position", "name", "state", "sha256", "started_at"):
        _of(facts, call.turn_id).calls.append(call)
    usage = UsageRecord.objects.filter(turn_id__in=ids).order_by("pk")
    for turn_id, fence, step, user_id in usage.values_list("turn_id", "fence", "step", "user_id"):
        facts[turn_id].usage.append((fence, step, user_id))
    journal = TurnLog.objects.filter(turn_id__in=ids).order_by("pk")
    for turn_id, kind, data in journal.values_list("turn_id", "kind", "data"):
        facts[turn_id].journal.append((kind, data))
    _load_approvals(facts)
    return list(facts.values())


def _load_approvals(facts: dict[uuid.UUID, TurnFacts]) -> None:
    for action in Action.objects.filter(turn__in=facts).order_by("pk"):
        facts[action.turn].actions.append(action)
    entries = AuditEntry.objects.filter(turn__in=facts, event=AuditEntry.Event.DECIDED).order_by("pk")
    for turn_id, action_id, call_id in entries.values_list("turn", "action", "tool_call"):
        _of(facts, turn_id).audited.setdefault(action_id, []).append(call_id)
    ended = [turn_id for turn_id, each in facts.items() if each.turn.is_terminal]
    sealed = ToolCall.objects.filter(turn_id__in=ended).exclude(sealed="", sealed_output="").order_by()
    for turn_id, count in sealed.values_list("turn_id").annotate(Count("pk")):
        facts[turn_id].sealed = count


def _of(facts: dict[uuid.UUID, TurnFacts], turn_id: uuid.UUID | None) -> TurnFacts:
    assert turn_id is not None  # noqa: S101 - selected by it
    return facts[turn_id]


def _load_sessions(sessions: Sequence[Session]) -> list[SessionFacts]:
    ids = [session.pk for session in sessions]
    places: dict[uuid.UUID, list[Place]] = defaultdict(list)
    messages = Message.objects.filter(session_id__in=ids).order_by("session_id", "seq", "number")
    columns = (
        *("id", "seq", "number", "role", "state", "held", "turn_id", "turn__status", "turn__session_id"),
        *("parent", "shown", "origin"),
    )
    for session_id, *values in messages.values_list("session_id", *columns):
        places[session_id].append(Place(*values))
    live = list(Turn.objects.filter(session_id__in=ids, status__in=LIVE).values_list("session_id", flat=True))
    used = {
        session_id: (read or 0, written or 0, cost or 0)
        for session_id, read, written, cost in UsageRecord.objects.filter(turn__session_id__in=ids)
        .values_list("turn__session_id")
        .annotate(Sum("input_tokens"), Sum("output_tokens"), Sum("cost_microdollars"))
    }
    return [
        SessionFacts(session, places[session.pk], live.count(session.pk), used.get(session.pk, (0, 0, 0)))
        for session in sessions
    ]
