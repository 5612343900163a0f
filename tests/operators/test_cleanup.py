"""Cleaning up as an operator: turns that nobody looks after fail, and others are never touched."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from common.errors import Busy
from copilot.diagnostics import invariants
from copilot.events.log import StaleTurn
from copilot.models import Turn, User
from copilot.operators import actions
from copilot.operators.actions import cleanup
from copilot.turns.claim import claim_waiting
from tests.factories import (
    Holder,
    accept,
    answer_of,
    events_of,
    expire_lease,
    fresh,
    journal_of,
    kinds_of,
    make_running,
    make_turn,
)
from tests.operators.acting import acts, come_back, ids, make_operator, make_orphan, make_stuck
from tests.turns.racing import Between, between, guarded, no_fence, no_locks, race, terminal_events

__all__ = ["between", "no_fence", "no_locks"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> User:
    return make_operator("olga")


@pytest.fixture
def no_condition(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that has any live turn taken for one that nobody looks after."""

    def remove() -> None:
        monkeypatch.setattr(actions, "rows_of", lambda name: Turn.objects.live())

    return remove


# --- what becomes of them -----------------------------------------------------------------------


def test_an_orphaned_turn_fails_as_one_whose_worker_was_lost(operator: User) -> None:
    holder = make_running()
    holder.begin()
    holder.open_text("Half")
    queued = accept(holder.session, "later").message
    expire_lease(holder.claim.turn_id)
    outcome = cleanup(ids(holder), operator=operator, category="orphaned")
    assert (outcome.affected, outcome.requested) == (1, 1)
    turn = holder.turn
    assert (turn.status, turn.outcome, turn.fence) == ("failed", "worker_lost", holder.claim.fence + 1)
    error = turn.public_error()
    assert error is not None
    assert ("lost" in error["detail"], error["retryable"]) == (True, True)
    assert kinds_of(turn)[-1] == "error"
    assert [seq for seq, _ in events_of(turn)] == list(range(1, (turn.last_seq or 0) + 1))
    answer = answer_of(turn)
    assert answer is not None
    assert (answer.state, answer.text, fresh(queued).held) == ("partial", "Half", True)
    assert journal_of(turn)[-1] == "failed"
    assert acts() == [("olga", "cleanup", "orphaned", 1, 1)]
    assert invariants.check() == []


def test_a_turn_that_is_stuck_in_the_queue_fails_as_stalled(operator: User) -> None:
    turn = make_stuck()
    assert cleanup([turn.pk], operator=operator, category="stuck_queued").affected == 1
    turn.refresh_from_db()
    assert (turn.status, turn.outcome) == ("failed", "stalled")
    error = turn.public_error()
    assert error is not None
    assert "No worker" in error["detail"]
    assert kinds_of(turn)[-1] == "error"
    assert claim_waiting(uuid.uuid4(), 1) == []
    assert invariants.check() == []


def test_a_turn_that_its_person_had_stopped_ends_as_stopped(operator: User) -> None:
    holder = make_orphan()
    Turn.objects.update(stop_requested_at=timezone.now(), stop_reason="stopped")
    assert cleanup(ids(holder), operator=operator).affected == 1
    assert (holder.turn.status, holder.turn.outcome) == ("cancelled", "stopped")


def test_the_next_message_starts_at_once(operator: User) -> None:
    holder = make_orphan()
    cleanup(ids(holder), operator=operator)
    accepted = accept(holder.session, "again")
    assert not accepted.queued


def test_chosen_ones_are_cleaned_up_whichever_way_they_are_stuck(operator: User) -> None:
    orphan, stuck = make_orphan(), make_stuck()
    assert cleanup(ids(orphan, stuck), operator=operator).affected == 2


def test_a_category_is_no_more_than_that_category(operator: User) -> None:
    orphan, stuck = make_orphan(), make_stuck()
    assert cleanup(ids(orphan, stuck), operator=operator, category="stuck_queued").affected == 1
    assert (orphan.turn.status, fresh(stuck).status) == ("running", "failed")


def test_whoever_is_looked_after_is_left_alone(operator: User) -> None:
    ended, running = make_running(), make_running()
    ended.answer()
    queued = make_turn()
    before = list(Turn.objects.order_by("pk").values())
    outcome = cleanup([*ids(ended, running, queued), uuid.uuid4()], operator=operator)
    assert (outcome.affected, outcome.requested) == (0, 4)
    assert list(Turn.objects.order_by("pk").values()) == before


@pytest.mark.parametrize("error", [Busy(), ValueError("a bug")])
def test_one_that_fails_keeps_no_other_waiting_and_is_not_counted(
    operator: User, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    turns = [make_stuck() for _ in range(3)]
    give_up = actions._give_up

    def fail(turn_id: uuid.UUID, categories: Any) -> bool:
        if turn_id == turns[0].pk:
            raise error
        return give_up(turn_id, categories)

    monkeypatch.setattr(actions, "_give_up", fail)
    assert cleanup(ids(*turns), operator=operator).affected == 2
    assert [fresh(turn).status for turn in turns] == ["queued", "failed", "failed"]


def test_when_time_is_up_what_was_done_is_told(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "WORK_SECONDS", -1.0)
    turn = make_stuck()
    outcome = cleanup([turn.pk], operator=operator)
    assert (outcome.affected, outcome.requested) == (0, 1)
    assert acts() == [("olga", "cleanup", "", 1, 0)]


# --- a worker that comes back ---------------------------------------------------------------------


@guarded
def test_a_worker_that_comes_back_after_its_turn_was_listed_keeps_it(
    operator: User, guarded: bool, no_condition: Callable[[], None]
) -> None:
    holder = make_orphan()
    listed = ids(holder)
    assert come_back(holder) == 1
    if not guarded:
        no_condition()
    assert cleanup(listed, operator=operator, category="orphaned").affected == (0 if guarded else 1)
    if guarded:
        holder.answer()
    assert holder.turn.status == ("completed" if guarded else "failed")


@guarded
def test_a_turn_that_completed_after_it_was_listed_stays_completed(
    operator: User, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = make_orphan()
    listed = ids(holder)
    holder.answer("Done after all.")
    if not guarded:
        monkeypatch.setattr(actions, "rows_of", lambda name: Turn.objects.all())
    assert cleanup(listed, operator=operator).affected == (0 if guarded else 1)
    assert holder.turn.status == ("completed" if guarded else "failed")


@guarded
@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_between_the_look_and_the_end_does_not_renew_a_lease_that_is_gone(
    operator: User,
    guarded: bool,
    between: Between,
    no_locks: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under the lock the heartbeat comes too late, and tells the worker that it has lost the turn."""
    holder = make_orphan()
    if not guarded:
        no_locks()
    monkeypatch.setattr(actions, "_given_up", between.after(actions._given_up))
    outcome, held = race(
        lambda: cleanup(ids(holder), operator=operator, category="orphaned"),
        between.other(lambda: come_back(holder)),
    )
    assert outcome.affected == 1
    assert held == (0 if guarded else 1), "whoever renews a lease has it"
    assert holder.turn.status == "failed"


@guarded
def test_a_worker_that_comes_back_afterwards_writes_nothing(
    operator: User, guarded: bool, no_fence: Callable[[Holder], None]
) -> None:
    holder = make_orphan()
    holder.begin()
    cleanup(ids(holder), operator=operator)
    assert come_back(holder) == 0
    if guarded:
        for write in (lambda: holder.say("from the grave"), holder.finish, holder.hand_back):
            with pytest.raises(StaleTurn):
                write()
    else:
        no_fence(holder)
        holder.finish()
    assert terminal_events(holder.turn) == (["error"] if guarded else ["error", "finish"])


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_finishes_at_that_moment_and_the_operator_have_one_winner(operator: User) -> None:
    holder = make_orphan()
    holder.begin()
    outcome, finished = race(lambda: cleanup(ids(holder), operator=operator), holder.finish)
    assert isinstance(finished, StaleTurn) is (outcome.affected == 1)
    assert holder.turn.status == ("failed" if outcome.affected else "completed")
    assert len(terminal_events(holder.turn)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_takes_up_a_stuck_turn_at_that_moment_keeps_it(operator: User, between: Between) -> None:
    turn = make_stuck()
    give_up = actions._give_up
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actions, "_give_up", between.before(give_up))
        outcome, claims = race(
            lambda: cleanup([turn.pk], operator=operator, category="stuck_queued"),
            between.other(lambda: claim_waiting(uuid.uuid4(), 1)),
        )
    assert (outcome.affected, len(claims), fresh(turn).status) == (0, 1, "running")


@pytest.mark.django_db(transaction=True)
def test_two_operators_clean_up_the_same_turns(operator: User) -> None:
    turns = [make_stuck() for _ in range(4)]
    chosen = ids(*turns)
    outcomes = race(lambda: cleanup(chosen, operator=operator), lambda: cleanup(chosen[::-1], operator=operator))
    assert sum(outcome.affected for outcome in outcomes) == 4
    assert {len(terminal_events(turn)) for turn in turns} == {1}
