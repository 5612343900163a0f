"""Requeueing as an operator: the same turn, of the same person, taken up now; and nothing is ever run twice."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.utils import timezone
from kombu.exceptions import OperationalError

from common.errors import Busy
from copilot.models import Message, Turn, User
from copilot.operators import actions
from copilot.operators.actions import requeue
from copilot.turns import dispatch
from copilot.turns.claim import claim_waiting
from tests.factories import claim_next, fresh, journal_of, make_running, make_turn
from tests.operators.acting import acts, ids, make_operator, make_stuck
from tests.turns.racing import Between, between, build_queries_anew, guarded, race

__all__ = ["between"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> User:
    return make_operator("olga")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the turns that the broker was told of."""
    sent: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **_: sent.extend(args))
    return sent


def test_a_queued_turn_is_taken_up_now_as_it_is(operator: User, sent: list[str]) -> None:
    turn = make_turn()
    later = timezone.now() + timedelta(hours=1)
    Turn.objects.update(not_before=later, redispatch_at=later, dispatches=9)
    before = fresh(turn)
    sent.clear()
    assert claim_next(uuid.uuid4()) is None
    outcome = requeue([turn.pk], operator=operator)
    assert (outcome.affected, outcome.requested) == (1, 1)
    assert sent == [str(turn.pk)]
    after = fresh(turn)
    assert (after.pk, after.user_id, after.session_id) == (before.pk, before.user_id, before.session_id)
    assert (after.user_id == operator.pk, after.queued_at, after.attempt) == (False, before.queued_at, 1)
    assert (after.not_before, after.dispatches, after.redispatch_at < later) == (None, 0, True)
    assert Turn.objects.count() == 1
    assert journal_of(turn) == ["submitted", "requeued"]
    claim = claim_next(uuid.uuid4())
    assert claim is not None
    assert claim.turn_id == turn.pk
    assert acts() == [("olga", "requeue", "", 1, 1)]


def test_a_turn_that_runs_waits_or_has_ended_is_left_alone(operator: User, sent: list[str]) -> None:
    running, ended = make_running(), make_running()
    ended.answer()
    sent.clear()
    before = list(Turn.objects.order_by("pk").values())
    outcome = requeue([*ids(running, ended), uuid.uuid4()], operator=operator)
    assert (outcome.affected, outcome.requested) == (0, 3)
    assert list(Turn.objects.order_by("pk").values()) == before
    assert sent == []


def test_a_turn_that_is_to_stop_is_left_to_that(operator: User, sent: list[str]) -> None:
    turn = make_turn()
    Turn.objects.update(stop_requested_at=timezone.now())
    sent.clear()
    assert requeue([turn.pk], operator=operator).affected == 0
    assert sent == []


def test_twice_is_as_good_as_once(operator: User, sent: list[str]) -> None:
    turn = make_stuck()
    for _ in range(2):
        assert requeue([turn.pk], operator=operator, category="stuck_queued").affected == 1
    assert len(claim_waiting(uuid.uuid4(), 4)) == 1
    assert (Turn.objects.count(), Message.objects.filter(role="user").count()) == (1, 1)


def test_a_broker_that_is_away_is_asked_once_and_the_turns_are_run_here(
    operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [make_turn() for _ in range(3)]
    asked, ran = [], list[int]()

    def fail(*args: Any, **kwargs: Any) -> None:
        asked.append(kwargs["args"])
        raise OperationalError("no broker")

    monkeypatch.setattr(current_app, "send_task", fail)
    monkeypatch.setattr(dispatch, "_run", ran.append)
    assert requeue(ids(*turns), operator=operator).affected == 3
    assert (len(asked), ran) == (1, [3])


@pytest.mark.parametrize("error", [Busy(), ValueError("a bug")])
def test_one_that_fails_keeps_no_other_waiting_and_is_not_counted(
    operator: User, sent: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    turns = [make_turn() for _ in range(3)]
    make_due = actions._make_due

    def fail(turn_id: uuid.UUID) -> bool:
        if turn_id == turns[1].pk:
            raise error
        return make_due(turn_id)

    monkeypatch.setattr(actions, "_make_due", fail)
    sent.clear()
    outcome = requeue(ids(*turns), operator=operator)
    assert (outcome.affected, outcome.requested, len(sent)) == (2, 3, 2)
    assert acts() == [("olga", "requeue", "", 3, 2)]


@guarded
@pytest.mark.django_db(transaction=True)
def test_a_turn_that_is_claimed_after_it_was_listed_is_not_touched(
    operator: User, sent: list[str], guarded: bool, between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker takes it between the operator's look and the act: it runs, and is not told to run again."""
    turn = make_stuck()
    if not guarded:
        monkeypatch.setattr(actions, "_waiting", Turn.objects.all)
        build_queries_anew(monkeypatch)
    monkeypatch.setattr(actions, "_make_due", between.before(actions._make_due))
    sent.clear()
    outcome, claims = race(
        lambda: requeue([turn.pk], operator=operator, category="stuck_queued"),
        between.other(lambda: claim_waiting(uuid.uuid4(), 1)),
    )
    assert len(claims) == 1
    assert outcome.affected == len(sent) == (0 if guarded else 1)
    assert fresh(turn).status == "running"
