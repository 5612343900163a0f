"""Stopping turns as an operator: all requests are stored first, and each is seen to, whoever is there to do it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from approvals.models import Action, AuditEntry
from approvals.signals import StaleAction
from common.errors import Busy
from copilot.events import publish
from copilot.models import Session, Turn, TurnLog, User
from copilot.operators import actions
from copilot.operators.actions import stop
from copilot.sweep import sweep
from copilot.turns import stops
from copilot.turns.claim import claim_waiting
from copilot.turns.leases import wishes
from copilot.turns.stops import request_stops
from tests.approvals.waiting import turn_of, waiting
from tests.factories import accept, answer_of, fresh, journal_of, kinds_of, make_running, make_session
from tests.factories import make_turn as make_queued
from tests.operators.acting import FOR_HOURS, acts, ids, make_operator, make_orphan
from tests.turns.racing import guarded, race

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> User:
    return make_operator("olga")


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is gone as soon as it has stored the requests."""
    monkeypatch.setattr(actions, "settle_with_children", lambda turn_id, **_: False)


def age_requests() -> None:
    """Pretend that all stops were requested hours ago."""
    Turn.objects.filter(stop_requested_at__isnull=False).update(stop_requested_at=timezone.now() - FOR_HOURS)


# --- what becomes of each -------------------------------------------------------------------


def test_a_queued_turn_ends_at_once(operator: User) -> None:
    turn = make_queued()
    outcome = stop([turn.pk], operator=operator)
    assert (outcome.affected, outcome.requested) == (1, 1)
    turn.refresh_from_db()
    assert (turn.status, turn.outcome) == ("cancelled", "operator")
    assert kinds_of(turn) == ["abort"]
    assert journal_of(turn) == ["submitted", "stop_requested", "cancelled"]
    assert acts() == [("olga", "stop", "", 1, 1)]


def test_what_a_person_was_asked_is_taken_back_in_the_operators_name(operator: User) -> None:
    action = waiting(session=make_session())
    assert stop([action.turn], operator=operator).affected == 1
    turn = turn_of(action)
    assert (turn.status, turn.outcome) == ("cancelled", "operator")
    assert Action.objects.get(pk=action.pk).status == "cancelled"
    assert AuditEntry.objects.get(action=action.pk, event="cancelled").actor == "olga"


def test_a_running_turns_worker_is_told_and_nobody_waits_for_it(
    operator: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    told: list[uuid.UUID] = []
    monkeypatch.setattr(publish, "stop_requested", told.append)
    holder = make_running()
    with django_capture_on_commit_callbacks(execute=True):
        assert stop(ids(holder), operator=operator).affected == 1
    assert told == ids(holder)
    worker = holder.turn.worker
    assert worker is not None
    assert wishes(worker, ids(holder))[holder.claim.turn_id].stop_reason == "operator", "the heartbeat tells again"
    assert holder.turn.status == "running"


def test_a_turn_whose_worker_is_gone_ends_at_once(operator: User) -> None:
    holder = make_orphan()
    stop(ids(holder), operator=operator)
    assert (holder.turn.status, holder.turn.outcome) == ("cancelled", "operator")


def test_what_was_said_is_kept_and_what_waits_is_held(operator: User) -> None:
    holder = make_running()
    holder.begin()
    holder.open_text("Half")
    queued = accept(holder.session, "later").message
    stop(ids(holder), operator=operator)
    age_requests()
    sweep()
    answer = answer_of(holder.turn)
    assert answer is not None
    assert (holder.turn.outcome, answer.text, fresh(queued).held) == ("operator", "Half", True)


def test_a_turn_that_a_person_stopped_before_keeps_that_reason(operator: User) -> None:
    holder = make_running()
    asked_at = timezone.now() - FOR_HOURS
    Turn.objects.update(stop_requested_at=asked_at, stop_reason="stopped")
    assert stop(ids(holder), operator=operator).affected == 1
    assert (holder.turn.stop_requested_at, holder.turn.stop_reason) == (asked_at, "stopped")
    assert TurnLog.objects.get(turn=holder.turn, kind="stop_requested").data == {"reason": "stopped"}


def test_who_has_ended_and_who_never_was_is_not_counted(operator: User) -> None:
    ended = make_running()
    ended.answer()
    before = Turn.objects.values().get()
    outcome = stop([*ids(ended), uuid.uuid4()], operator=operator)
    assert (outcome.affected, outcome.requested) == (0, 2)
    assert Turn.objects.values().get() == before
    assert journal_of(ended.turn).count("stop_requested") == 0


def test_a_turn_that_is_named_twice_counts_once(operator: User) -> None:
    turn = make_queued()
    outcome = stop([turn.pk, turn.pk], operator=operator)
    assert (outcome.affected, outcome.requested) == (1, 1)


def test_the_others_are_left_alone(operator: User) -> None:
    mine, other = make_queued(), make_queued()
    stop([mine.pk], operator=operator)
    assert fresh(other).status == "queued"


def child_of(parent: Turn, make: Callable[..., Any] = make_queued) -> Any:
    """Make a turn that another one started in a child session."""
    home = Session.objects.get(pk=parent.session_id)
    session = Session.objects.create(
        user=home.user, parent=home, parent_call=uuid.uuid4(), depth=1, updated_at=timezone.now()
    )
    child = make(session)
    Turn.objects.filter(pk=ids(child)[0]).update(parent=parent, origin="child")
    return child


def test_stopping_a_parent_stops_what_it_started(operator: User) -> None:
    parent = make_orphan()
    child = child_of(parent.turn)
    grandchild = child_of(child)
    assert stop(ids(parent), operator=operator).affected == 1
    assert [fresh(turn).outcome for turn in (child, grandchild)] == ["parent_stopped", "parent_stopped"]


def test_children_of_a_parent_that_ends_later_end_with_it(operator: User) -> None:
    parent = make_running()
    child = child_of(parent.turn)
    stop(ids(parent), operator=operator)
    assert fresh(child).status == "queued"
    age_requests()
    sweep()
    assert (parent.turn.outcome, fresh(child).outcome) == ("operator", "parent_stopped")


# --- whoever is left to do it ------------------------------------------------------------------


@pytest.mark.usefixtures("unsettled")
def test_the_sweep_ends_what_the_requester_did_not_live_to_end(operator: User) -> None:
    action, turn = waiting(session=make_session()), make_queued()
    stop([turn.pk, action.turn], operator=operator)
    Turn.objects.update(stop_requested_at=timezone.now() + FOR_HOURS)
    assert sweep() == {}, "whoever stored the requests is given a moment"
    age_requests()
    assert sweep() == {"unsettled_stops": 2}
    assert [fresh(turn).outcome, turn_of(action).outcome] == ["operator", "operator"]
    assert sweep() == {}


@pytest.mark.usefixtures("unsettled")
def test_a_queued_turn_that_is_to_stop_is_taken_up_by_nobody(operator: User) -> None:
    turn = make_queued()
    stop([turn.pk], operator=operator)
    assert fresh(turn).status == "queued"
    assert claim_waiting(uuid.uuid4(), 4) == []


@pytest.mark.parametrize("error", [Busy(), StaleAction(), ValueError("a bug")])
def test_one_that_cannot_be_settled_keeps_no_other_waiting(
    operator: User, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    turns = [make_queued() for _ in range(3)]
    settle = stops.settle_stop

    def fail(turn_id: uuid.UUID, **over: Any) -> bool:
        if turn_id == turns[0].pk:
            raise error
        return settle(turn_id, **over)

    monkeypatch.setattr(stops, "settle_stop", fail)
    assert stop(ids(*turns), operator=operator).affected == 3, "its request is stored"
    assert [fresh(turn).status for turn in turns] == ["queued", "cancelled", "cancelled"]


def test_when_time_is_up_the_rest_is_left_to_the_sweep(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "SETTLE_SECONDS", -1.0)
    turns = [make_queued() for _ in range(3)]
    assert stop(ids(*turns), operator=operator).affected == 3
    assert {fresh(turn).status for turn in turns} == {"queued"}
    age_requests()
    assert sweep() == {"unsettled_stops": 3}


def test_requests_are_stored_in_a_few_statements_however_many(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(stops, "CHUNK", 4)
    turns = [make_queued() for _ in range(8)]
    # Twice: savepoint, rows locked, requests, journal, end of the savepoint.
    with django_assert_max_num_queries(10):
        assert set(request_stops(ids(*turns), reason="operator")) == set(ids(*turns))


def test_requests_that_cannot_be_stored_are_not_counted(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = [make_queued() for _ in range(2)]
    request = stops._request

    def fail(turn_ids: Any, reason: str, *, wait: bool) -> Any:
        if turns[0].pk in turn_ids:
            raise Busy
        return request(turn_ids, reason, wait=wait)

    monkeypatch.setattr(stops, "_request", fail)
    assert stop(ids(*turns), operator=operator).affected == 1
    assert [fresh(turn).status for turn in turns] == ["queued", "cancelled"]
    assert acts() == [("olga", "stop", "", 2, 1)]


def test_what_was_stored_before_the_database_gave_up_is_counted(
    operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_queued(), make_queued()
    request = stops._request

    def fail(turn_ids: Any, reason: str, *, wait: bool) -> Any:
        if second.pk in turn_ids:
            raise OperationalError("canceling statement due to statement timeout")
        return request(turn_ids, reason, wait=wait)

    monkeypatch.setattr(stops, "_request", fail)
    monkeypatch.setattr(actions, "CHUNK", 1)
    with pytest.raises(OperationalError):
        stop(ids(first, second), operator=operator)
    assert [fresh(turn).stop_reason for turn in (first, second)] == ["operator", ""]
    assert acts() == [("olga", "stop", "", 2, 1)]


# --- at the same time ---------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_turn_that_somebody_is_at_work_on_is_waited_for(operator: User) -> None:
    """A stop and an end at once: the turn ends once, as one or the other."""
    holder = make_running()
    holder.begin()
    outcome, finished = race(lambda: stop(ids(holder), operator=operator), holder.finish)
    turn = holder.turn
    assert not isinstance(finished, Exception)
    assert (outcome.affected, turn.status) in [(1, "cancelled"), (0, "completed")]


@pytest.mark.django_db(transaction=True)
def test_two_operators_stop_the_same_turns(operator: User) -> None:
    turns = [make_queued() for _ in range(6)]
    chosen = ids(*turns)
    first, second = race(
        lambda: stop(chosen, operator=operator), lambda: stop(list(reversed(chosen)), operator=operator)
    )
    assert {fresh(turn).outcome for turn in turns} == {"operator"}
    assert {len(kinds_of(turn)) for turn in turns} == {1}
    assert max(first.affected, second.affected) == 6
    assert len(acts()) == 2


@guarded
def test_nobody_takes_up_a_queued_turn_once_its_stop_is_stored(
    guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = make_queued()
    request_stops([turn.pk], reason="operator")
    if not guarded:
        Turn.objects.update(stop_requested_at=None)
    assert bool(claim_waiting(uuid.uuid4(), 1)) is not guarded
