"""Rows made by the services that make them in life, and a worker's writes without a worker.

Everything here is synchronous; async tests call it through ``await db(...)``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.db.models import F
from django.utils import timezone

from common.db import transact
from copilot.events import schema
from copilot.events.log import EventBatch, Row, StaleTurn, from_outside, read_events
from copilot.events.schema import Chunk
from copilot.models import Message, Session, Turn, User
from copilot.turns import recover
from copilot.turns.claim import Claim, claim_waiting
from copilot.turns.finish import Ending, completed, finish_held
from copilot.turns.followups import Delivery, deliver_followups
from copilot.turns.progress import CallOutcome, FinishedStep, PlannedCall, begin_call, commit_step, settle_call
from copilot.turns.sessions import create_session
from copilot.turns.submit import Accepted, digest_of, do_accept, do_lock_session, submit_message

T = TypeVar("T")
LONG_AGO = timedelta(hours=1)


def make_user(name: str = "") -> User:
    """Create a person; no two have the same name."""
    return User.objects.create_user(username=name or f"u-{uuid.uuid4().hex[:12]}")


def make_session(user: User | None = None, **over: Any) -> Session:
    """Create a session, of a new person unless one is given."""
    return create_session(user=user or make_user(), **over)


def accept(
    session: Session, text: str = "hello", *, author: str = "", standing: str = "", **over: Any
) -> Accepted:
    """Have the session's owner send a message; with an author or a standing, somebody through a bot."""
    if author or standing:
        return _accept_through_bot(session, text, author=author, standing=standing, **over)
    return submit_message(user=session.user, session_id=session.id, text=text, **over)


@from_outside
@transact
def _accept_through_bot(session: Session, text: str, **over: Any) -> Accepted:
    message = {"origin": "bot", "delivery": "asap", "options": {}, "client_id": None, **over}
    return do_accept(do_lock_session(session.user, session.pk), text=text, digest=digest_of(text), **message)


def make_turn(session: Session | None = None, text: str = "hello", **over: Any) -> Turn:
    """Create a queued turn by sending a message to an idle session."""
    turn = accept(session or make_session(), text, **over).turn
    assert turn is not None
    turn.refresh_from_db()
    return turn


def make_running(session: Session | None = None, text: str = "hello") -> Holder:
    """Create a turn that a worker holds."""
    turn = make_turn(session, text)
    return hold(turn)


def claim_next(worker_id: uuid.UUID) -> Claim | None:
    """Claim a turn for a worker; None when there is none to take."""
    found = claim_waiting(worker_id, 1)
    return found[0] if found else None


def hold(turn: Turn) -> Holder:
    """Claim the next waiting turn, which must be ``turn``, for a new worker."""
    claim = claim_next(uuid.uuid4())
    assert claim is not None
    assert claim.turn_id == turn.id
    return Holder(claim)


def fresh(row: T) -> T:
    """Read a row again."""
    return type(row).objects.get(pk=row.pk)  # type: ignore[attr-defined, no-any-return]


def events_of(turn: Turn) -> list[Row]:
    """Return a turn's whole log."""
    return read_events(turn.id)


def kinds_of(turn: Turn) -> list[str]:
    """Return the types of a turn's chunks, in order."""
    return [chunk["type"] for _, chunk in read_events(turn.id)]


def answer_of(turn: Turn) -> Message | None:
    """Return the message that the turn wrote, if it left one."""
    return turn.messages.filter(role=Message.Role.ASSISTANT).first()


def journal_of(turn: Turn) -> list[str]:
    """Return the kinds of a turn's journal, in order."""
    return list(turn.journal.values_list("kind", flat=True))


def expire_lease(turn_id: uuid.UUID) -> None:
    """Pretend that the turn's worker has not been heard of for an hour."""
    Turn.objects.filter(pk=turn_id, status=Turn.Status.RUNNING).update(heartbeat_at=F("heartbeat_at") - LONG_AGO)


@from_outside
@transact
def give_up_worker(turn_id: uuid.UUID) -> None:
    """Take a running turn from its worker as if its lease had run out, whatever the heartbeat says meanwhile."""
    session = Session.objects.locked().get(turns__pk=turn_id)
    recover.do_take_over(session, Turn.objects.get(pk=turn_id))


def backdate(turn: Turn, **moments: timedelta) -> None:
    """Move moments of a turn into the past."""
    Turn.objects.filter(pk=turn.pk).update(**{name: timezone.now() - ago for name, ago in moments.items()})


@dataclass
class Holder:
    """A worker's hold on a turn: its fence, and its counter of the log. Every write raises StaleTurn when lost."""

    claim: Claim
    seq: int = -1
    steps: int = 0
    parts: int = 0
    #: It gave the turn up by itself.
    closed: bool = False

    def __post_init__(self) -> None:
        self.seq = self.claim.seq
        self.steps = self.turn.steps

    @property
    def turn(self) -> Turn:
        return Turn.objects.get(pk=self.claim.turn_id)

    @property
    def session(self) -> Session:
        return Session.objects.get(pk=self.claim.session_id)

    def write(self, write: Callable[..., T], *deltas: Chunk, **arguments: Any) -> T:
        """Run one of the engine's writes in a transaction with ``deltas`` before it."""
        if self.closed:
            raise StaleTurn

        @transact
        def run() -> tuple[int, T]:
            batch = EventBatch(self.claim.turn_id, self.seq)
            batch.append(*deltas)
            result = write(batch, turn_id=self.claim.turn_id, fence=self.claim.fence, **arguments)
            batch.write()
            return batch.seq, result

        self.seq, result = run()
        return result

    def stream(self, *chunks: Chunk) -> None:
        """Append chunks as the log writer does: behind nothing but the dense seq."""
        self.write(lambda batch, **_: None, *chunks)

    def begin(self) -> None:
        """Open the answer, or its next step, as the agent loop does."""
        self.stream(*self.opening(), schema.start_step())

    def opening(self) -> list[Chunk]:
        """Return what comes before a step, or before a message that is delivered."""
        turn = self.turn
        if turn.messages.filter(after_step=turn.steps).exists():
            return []
        answer = turn.messages.get(state=Message.State.OPEN)
        return [schema.finish_step() if turn.sealed_seq else schema.start(answer.id)]

    def deliver(self) -> Delivery | None:
        """Deliver into the turn what was sent meanwhile; between two steps."""
        turn = self.turn
        arguments = {"session_id": turn.session_id, "step": turn.steps, "opening": self.opening()}
        delivered: Delivery | None = self.write(deliver_followups, **arguments)
        return delivered

    def open_text(self, *deltas: str) -> str:
        """Begin a text part, leave it open and return its id."""
        self.parts += 1
        part = f"t{self.claim.fence}.{self.parts}"
        self.stream(schema.part_start("text", part), *(schema.part_delta("text", part, each) for each in deltas))
        return part

    def say(self, *deltas: str) -> None:
        """Stream a whole text part."""
        self.stream(schema.part_end("text", self.open_text(*deltas)))

    def step(self, *names: str, reason: str = "tool-calls") -> list[PlannedCall]:
        """Commit a step with one call of each of these tools; return the calls."""
        self.steps += 1
        calls = [PlannedCall(uuid.uuid4(), f"p{self.steps}-{n}", name, {}) for n, name in enumerate(names)]
        self.write(commit_step, step=FinishedStep(self.steps, reason, [], calls))
        return calls

    def begin_call(self, call: PlannedCall) -> None:
        """Commit that a call is about to run."""
        self.write(begin_call, call_id=call.id)

    def settle(self, call: PlannedCall, state: str = "done", **outcome: Any) -> None:
        """Commit a call's outcome."""
        values = {"output": {"ok": True}} if state == "done" else {"error": "It did not work."}
        self.write(settle_call, call_id=call.id, outcome=CallOutcome(state, **{**values, **outcome}))

    def finish(self, ending: Ending | None = None) -> uuid.UUID | None:
        """End the turn; return the id of the next one."""
        next_turn = self.write(finish_held, session_id=self.claim.session_id, ending=ending or completed("stop"))
        self.closed = True
        return next_turn

    def hand_back(self) -> None:
        """Queue the turn again because the worker stops."""
        self.write(recover.hand_back, session_id=self.claim.session_id)
        self.closed = True

    def answer(self, text: str = "Hello.", ending: Ending | None = None) -> uuid.UUID | None:
        """Say one text and end the turn."""
        self.begin()
        self.say(text)
        return self.finish(ending)
