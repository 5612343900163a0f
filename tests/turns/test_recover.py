"""Taking over from a worker that is gone, and handing back in good order."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from copilot.models import Turn
from copilot.turns.recover import PROBATION_SECONDS, take_over
from tests.factories import (
    Holder,
    accept,
    answer_of,
    claim_next,
    events_of,
    expire_lease,
    fresh,
    hold,
    journal_of,
    kinds_of,
    make_running,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def holder() -> Holder:
    return make_running()


def lose(holder: Holder) -> bool:
    expire_lease(holder.claim.turn_id)
    return take_over(holder.claim.turn_id, lease=5)


def test_a_lease_that_holds_is_respected(holder: Holder) -> None:
    assert not take_over(holder.claim.turn_id, lease=5)
    assert holder.turn.status == "running"


def test_the_first_loss_costs_an_attempt_and_no_time(holder: Holder) -> None:
    assert lose(holder)
    turn = holder.turn
    assert (turn.status, turn.attempt, turn.not_before, turn.worker, turn.heartbeat_at) == (
        "queued",
        2,
        None,
        None,
        None,
    )
    assert turn.fence == holder.claim.fence + 1
    assert events_of(turn)[-1][1] == {"type": "data-status", "data": {"state": "recovered", "attempt": 2}}
    assert journal_of(turn) == ["submitted", "claimed", "recovered"]
    assert hold(turn).turn.status == "running"


def test_the_third_attempt_waits(holder: Holder) -> None:
    lose(holder)
    lose(hold(holder.turn))
    turn = holder.turn
    assert (turn.status, turn.attempt) == ("queued", 3)
    assert turn.not_before is not None
    wait = (turn.not_before - timezone.now()).total_seconds()
    assert PROBATION_SECONDS - 2 < wait <= PROBATION_SECONDS
    assert claim_next(uuid.uuid4()) is None


def test_after_its_last_attempt_it_fails(holder: Holder, settings: Settings) -> None:
    settings.TURN_MAX_ATTEMPTS = 2
    lose(holder)
    again = hold(holder.turn)
    again.begin()
    again.open_text("Half")
    queued = accept(again.session, "later").message
    assert lose(again)
    turn = holder.turn
    assert (turn.status, turn.outcome) == ("failed", "worker_lost")
    assert [kind for kind in kinds_of(turn) if kind in ("finish", "error", "abort")] == ["error"]
    answer = answer_of(turn)
    assert answer is not None
    assert (answer.state, answer.text) == ("partial", "Half")
    assert fresh(queued).held


def test_a_lost_turn_that_was_to_stop_ends(holder: Holder) -> None:
    Turn.objects.update(stop_requested_at=timezone.now(), stop_reason="operator")
    assert lose(holder)
    assert (holder.turn.status, holder.turn.outcome) == ("cancelled", "operator")


def test_it_is_taken_over_once(holder: Holder) -> None:
    assert lose(holder)
    assert not take_over(holder.claim.turn_id, lease=5)
    assert holder.turn.attempt == 2
    assert not take_over(uuid.uuid4(), lease=5)


def test_at_the_start_of_the_only_process_every_lease_has_run_out(holder: Holder) -> None:
    assert take_over(holder.claim.turn_id, lease=-3600)


def test_handing_back_costs_no_attempt(holder: Holder) -> None:
    holder.begin()
    holder.open_text("Half")
    holder.hand_back()
    turn = holder.turn
    assert (turn.status, turn.attempt, turn.not_before, turn.worker) == ("queued", 1, None, None)
    assert events_of(turn)[-1][1]["data"] == {"state": "recovered", "reason": "handed_back"}
    assert journal_of(turn)[-1] == "handed_back"
    again = hold(turn)
    assert events_of(turn)[-1][1] == {"type": "data-rollback", "data": {"to_seq": 0}}
    again.answer("Whole.")
    answer = answer_of(turn)
    assert answer is not None
    assert answer.text == "Whole."


def test_a_turn_that_is_to_stop_is_not_queued_again(holder: Holder) -> None:
    """Nobody claims a queued turn that is to stop, so handing it back would leave it there for ever."""
    queued = accept(holder.session, "later").message
    Turn.objects.update(stop_requested_at=timezone.now(), stop_reason="stopped")
    holder.hand_back()
    assert (holder.turn.status, holder.turn.outcome) == ("cancelled", "stopped")
    assert kinds_of(holder.turn)[-1] == "abort"
    assert fresh(queued).held


@pytest.mark.parametrize("how", ["lost", "handed back"])
def test_earlier_running_time_is_kept(holder: Holder, how: str) -> None:
    Turn.objects.update(claimed_at=timezone.now() - timedelta(seconds=40))
    if how == "lost":
        lose(holder)
    else:
        holder.hand_back()
    assert 30_000 < holder.turn.running_ms < 50_000
    assert fresh(holder.turn).started_at is not None
