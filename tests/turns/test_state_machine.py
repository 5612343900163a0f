"""Random histories of turns: whatever people, workers, zombies and the sweep do, the rows stay true."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from django.conf import settings as LIMITS
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from common.errors import Conflict
from copilot import sweep as sweeping
from copilot.diagnostics import invariants
from copilot.events import schema
from copilot.events.log import StaleTurn, read_events
from copilot.models import Message, Session, ToolCall, Turn, TurnEvent, TurnLog
from copilot.turns import recover
from copilot.turns.cancel import finish_unconfirmed, request_stop
from copilot.turns.finish import cancelled, completed, failed
from copilot.turns.progress import PlannedCall
from copilot.turns.submit import deliver_queued, withdraw_queued
from tests.factories import Holder, accept, claim_next, expire_lease, make_session, make_user

EXAMPLES = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
PLACES = st.integers(0, 1)
CHOICE = st.integers(0, 100)


class Turns(RuleBasedStateMachine):
    """Two sessions of one person, any number of workers, and workers that were given up for dead."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = transaction.atomic()
        self.undo.__enter__()
        user = make_user()
        self.sessions = [make_session(user), make_session(user)]
        self.holders: dict[uuid.UUID, Holder] = {}
        self.zombies: list[Holder] = []
        #: Accepted messages, in order, by session; withdrawn ones are taken out.
        self.accepted: dict[uuid.UUID, list[uuid.UUID]] = {session.id: [] for session in self.sessions}
        self.withdrawn: set[uuid.UUID] = set()
        self.client_ids: list[tuple[Session, str, uuid.UUID, str]] = []
        self.open_parts: dict[int, str] = {}
        self.in_step: set[int] = set()

    def teardown(self) -> None:
        try:
            assert invariants.check() == []
        finally:
            transaction.set_rollback(True)
            self.undo.__exit__(None, None, None)

    # --- people ---------------------------------------------------------------------------

    @rule(place=PLACES, delivery=st.sampled_from(Message.Delivery.values))
    def submit(self, place: int, delivery: str) -> None:
        session = self.sessions[place]
        client_id = uuid.uuid4().hex
        if session.turns.live().exists() and session.messages.queued().count() >= LIMITS.PENDING_MAX:
            with pytest.raises(Conflict, match="waiting already"):
                accept(session, client_id, client_id=client_id)
            return
        message = accept(session, client_id, client_id=client_id, delivery=delivery).message
        self.accepted[session.id].append(message.id)
        self.client_ids.append((session, client_id, message.id, delivery))
        self.find_zombies()

    @precondition(lambda self: self.client_ids)
    @rule(choice=CHOICE)
    def submit_again(self, choice: int) -> None:
        session, client_id, message_id, delivery = self.client_ids[choice % len(self.client_ids)]
        if message_id in self.withdrawn:
            return
        again = accept(session, client_id, client_id=client_id, delivery=delivery)
        assert again.repeated
        assert again.message.id == message_id

    @rule(place=PLACES)
    def stop(self, place: int) -> None:
        session = self.sessions[place]
        request_stop(user=session.user, session_id=session.id, turn_id=None, reason="stopped")
        self.find_zombies()

    @rule(place=PLACES, choice=CHOICE)
    def withdraw(self, place: int, choice: int) -> None:
        session = self.sessions[place]
        ids = self.accepted[session.id]
        if not ids:
            return
        message = Message.objects.get(pk=ids[choice % len(ids)])
        try:
            withdraw_queued(user=session.user, session_id=session.id, message_id=message.id)
        except Conflict:
            assert message.state == "done"
            return
        assert message.state == "queued"
        ids.remove(message.id)
        self.withdrawn.add(message.id)

    @rule(place=PLACES)
    def deliver(self, place: int) -> None:
        session = self.sessions[place]
        held = session.messages.filter(held=True).count()
        with suppress(Conflict):
            assert deliver_queued(user=session.user, session_id=session.id).turn is not None
            assert held
        assert not session.messages.filter(held=True).exists(), "while a turn is live nothing is held"
        self.find_zombies()

    # --- workers --------------------------------------------------------------------------

    @rule()
    def claim(self) -> None:
        claim = claim_next(uuid.uuid4())
        if claim is not None:
            assert claim.turn_id not in self.holders
            self.holders[claim.turn_id] = Holder(claim)

    def holder(self, choice: int) -> Holder | None:
        holders = list(self.holders.values())
        return holders[choice % len(holders)] if holders else None

    def step_in(self, holder: Holder) -> None:
        if id(holder) not in self.in_step:
            self.in_step.add(id(holder))
            holder.begin()

    def close(self, holder: Holder) -> None:
        if part := self.open_parts.pop(id(holder), None):
            holder.stream(schema.part_end("text", part))

    @rule(choice=CHOICE)
    def stream(self, choice: int) -> None:
        if holder := self.holder(choice):
            self.step_in(holder)
            part = self.open_parts.get(id(holder))
            if part is None:
                self.open_parts[id(holder)] = holder.open_text("a ", "b ")
            else:
                holder.stream(schema.part_delta("text", part, "c "))

    @rule(choice=CHOICE, calls=st.integers(0, 2))
    def commit_step(self, choice: int, calls: int) -> None:
        if holder := self.holder(choice):
            if open_calls(holder):
                return
            self.step_in(holder)
            self.close(holder)
            holder.step(*["calculator"] * calls)
            self.in_step.discard(id(holder))

    @rule(choice=CHOICE)
    def deliver_into_the_turn(self, choice: int) -> None:
        holder = self.holder(choice)
        if holder is None or id(holder) in self.in_step or open_calls(holder):
            return
        stopping = holder.turn.stop_requested_at is not None
        waiting = list(holder.session.messages.queued())
        found = holder.deliver()
        delivered = [message.id for message in found.messages] if found else []
        assert delivered == [message.id for message in waiting[: len(delivered)]], "in typing order"
        left = waiting[len(delivered) :]
        if not stopping:
            assert not left or left[0].delivery == "next"
            assert not any(message.delivery == "interrupt" for message in left)

    @rule(choice=CHOICE, which=CHOICE)
    def begin_call(self, choice: int, which: int) -> None:
        if (holder := self.holder(choice)) and (calls := open_calls(holder, "pending")):
            holder.begin_call(calls[which % len(calls)])

    @rule(choice=CHOICE, which=CHOICE, state=st.sampled_from(["done", "error", "denied", "unknown"]))
    def settle_call(self, choice: int, which: int, state: str) -> None:
        if (holder := self.holder(choice)) and (calls := open_calls(holder)):
            holder.settle(calls[which % len(calls)], state)

    @rule(choice=CHOICE, how=st.sampled_from(["completed", "failed", "cancelled"]))
    def finish(self, choice: int, how: str) -> None:
        holder = self.holder(choice)
        if holder is None:
            return
        if how == "completed":
            if open_calls(holder):
                return
            self.step_in(holder)
            self.close(holder)
        endings = {
            "completed": completed("stop"),
            "failed": failed("auth", "No."),
            "cancelled": cancelled("stopped"),
        }
        holder.finish(endings[how])
        self.find_zombies()
        assert holder.claim.turn_id not in self.holders

    @rule(choice=CHOICE)
    def hand_back(self, choice: int) -> None:
        if holder := self.holder(choice):
            holder.hand_back()
            self.find_zombies()

    # --- what becomes of workers ------------------------------------------------------------

    @rule(choice=CHOICE, by_sweep=st.booleans())
    def lose(self, choice: int, by_sweep: bool) -> None:
        if holder := self.holder(choice):
            expire_lease(holder.claim.turn_id)
            if by_sweep:
                sweeping.sweep()
            else:
                assert recover.take_over(holder.claim.turn_id, lease=5)
            self.find_zombies()

    @rule(choice=CHOICE)
    def lose_unnoticed(self, choice: int) -> None:
        """Whoever touches the session next takes it over."""
        if holder := self.holder(choice):
            expire_lease(holder.claim.turn_id)

    @rule(choice=CHOICE)
    def settle_a_stop(self, choice: int) -> None:
        if holder := self.holder(choice):
            asked = holder.turn.stop_requested_at is not None
            assert finish_unconfirmed(holder.claim.turn_id, 0.0) is asked
            self.find_zombies()

    @rule()
    def sweep(self) -> None:
        assert "stranded_messages" not in sweeping.sweep()
        self.find_zombies()

    @rule()
    def time_passes(self) -> None:
        Turn.objects.filter(not_before__isnull=False).update(not_before=timezone.now() - timedelta(seconds=1))

    @precondition(lambda self: self.zombies)
    @rule(choice=CHOICE, write=st.sampled_from(["stream", "step", "settle", "finish", "fail", "hand_back"]))
    def zombie(self, choice: int, write: str) -> None:
        zombie = self.zombies[choice % len(self.zombies)]
        before = everything()
        with pytest.raises(StaleTurn):
            write_as(zombie, write)
        assert everything() == before

    def find_zombies(self) -> None:
        """Workers whose turn has a new fence are zombies from now on."""
        for turn_id, holder in list(self.holders.items()):
            if holder.turn.fence != holder.claim.fence:
                self.zombies.append(self.holders.pop(turn_id))

    # --- what must hold -----------------------------------------------------------------------

    @rule()
    def look_at_everything(self) -> None:
        """All rules of the checker; too many queries to do it after each step."""
        assert invariants.check() == []

    @invariant()
    def whoever_holds_a_turn_is_known(self) -> None:
        self.find_zombies()
        running = set(Turn.objects.filter(status="running").values_list("pk", flat=True))
        assert running == set(self.holders)

    @invariant()
    def every_accepted_message_is_in_one_place_and_in_order(self) -> None:
        for session in self.sessions:
            rows = list(session.messages.filter(role="user").order_by("number"))
            assert [message.id for message in rows] == self.accepted[session.id]
            placed = [message.seq for message in rows if message.state == "done"]
            assert placed == sorted(filter(None, placed))
            assert all((message.turn is None) == (message.state == "queued") for message in rows)

    @invariant()
    def at_most_one_turn_a_session_is_live_and_it_can_go_on(self) -> None:
        live = list(Turn.objects.live())
        assert len({turn.session_id for turn in live}) == len(live)
        assert not [turn for turn in live if turn.status == "queued" and turn.stop_requested_at]

    @invariant()
    def each_turn_ends_once_and_its_log_is_dense(self) -> None:
        for turn in Turn.objects.all():
            events = read_events(turn.id)
            assert [seq for seq, _ in events] == list(range(1, len(events) + 1))
            ends = [seq for seq, chunk in events if schema.is_terminal(chunk)]
            assert ends == ([turn.last_seq] if turn.is_terminal else [])


def open_calls(holder: Holder, *states: str) -> list[PlannedCall]:
    rows = ToolCall.objects.filter(turn_id=holder.claim.turn_id, state__in=states or ("pending", "running"))
    return [
        PlannedCall(row.id, row.provider_id, row.name, row.arguments) for row in rows.order_by("step", "position")
    ]


def write_as(zombie: Holder, write: str) -> None:
    if write == "stream":
        zombie.open_text("from the grave")
    elif write == "step":
        zombie.step("calculator")
    elif write == "settle":
        zombie.settle(PlannedCall(uuid.uuid4(), "p", "calculator", {}))
    elif write == "finish":
        zombie.finish()
    elif write == "fail":
        zombie.finish(failed("network", "Cut."))
    else:
        zombie.hand_back()


def everything() -> list[object]:
    """What no zombie may change."""

    def rows() -> Iterator[object]:
        yield list(TurnEvent.objects.order_by("turn_id", "seq").values_list("turn_id", "seq"))
        yield list(
            Turn.objects.order_by("pk").values_list("pk", "status", "fence", "steps", "last_seq", "sealed_seq")
        )
        yield list(Message.objects.order_by("pk").values_list("pk", "state", "seq", "turn_id", "held"))
        yield list(ToolCall.objects.order_by("pk").values_list("pk", "state"))
        yield TurnLog.objects.count()

    return list(rows())


@pytest.mark.django_db
@pytest.mark.timeout(600)
def test_whatever_happens_the_rows_stay_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "dispatch", lambda turn_id: None)
    run_state_machine_as_test(Turns, settings=EXAMPLES)
