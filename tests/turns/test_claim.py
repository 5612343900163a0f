"""Admission: which waiting turn a free slot takes."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from copilot.models import Turn, User
from copilot.turns import claim as claiming
from copilot.turns.claim import Claim, claim_waiting
from tests.factories import (
    accept,
    backdate,
    claim_next,
    events_of,
    fresh,
    give_up_worker,
    journal_of,
    kinds_of,
    make_running,
    make_session,
    make_turn,
    make_user,
)

pytestmark = pytest.mark.django_db
WORKER = uuid.uuid4()


def claim() -> Claim:
    found = claim_next(WORKER)
    assert found is not None
    return found


def waiting(user: User, *, seconds: int = 1) -> Turn:
    """A turn of ``user`` that has waited this long."""
    turn = make_turn(make_session(user))
    backdate(turn, queued_at=timedelta(seconds=seconds))
    return turn


def test_nothing_waits() -> None:
    assert claim_next(WORKER) is None


def test_a_claim_leases_the_turn_under_a_new_fence() -> None:
    turn = make_turn()
    found = claim()
    assert found == Claim(turn.id, turn.session_id, turn.user_id, fence=1, seq=0)
    turn.refresh_from_db()
    assert (turn.status, turn.worker, turn.attempt) == ("running", WORKER, 1)
    assert turn.heartbeat_at == turn.claimed_at == turn.started_at == turn.progress_at
    assert journal_of(turn) == ["submitted", "claimed"]
    assert claim_next(WORKER) is None, "it is taken"


def test_the_oldest_goes_first(user: User) -> None:
    newer, oldest, newest = (waiting(user, seconds=s) for s in (20, 30, 10))
    assert [claim().turn_id for _ in range(3)] == [oldest.id, newer.id, newest.id]


def test_the_person_with_the_fewest_running_goes_first(user: User) -> None:
    first, second = waiting(user, seconds=60), waiting(user, seconds=50)
    theirs = waiting(make_user(), seconds=1)
    assert [claim().turn_id for _ in range(3)] == [first.id, theirs.id, second.id]


def test_nobody_runs_more_than_their_share(user: User, settings: Settings) -> None:
    settings.TURNS_PER_USER_MAX = 2
    turns = [waiting(user, seconds=s) for s in (30, 20, 10)]
    theirs = waiting(make_user(), seconds=1)
    assert {claim().turn_id for _ in range(3)} == {turns[0].id, turns[1].id, theirs.id}
    assert claim_next(WORKER) is None
    assert fresh(turns[2]).status == "queued"


def test_no_limit_is_no_limit(user: User, settings: Settings) -> None:
    settings.TURNS_PER_USER_MAX = 0
    for seconds in range(12):
        waiting(user, seconds=seconds)
    assert all(claim_next(WORKER) for _ in range(12))


def test_a_turn_on_probation_waits_for_its_time() -> None:
    turn = make_turn()
    Turn.objects.update(not_before=timezone.now() + timedelta(hours=1))
    assert claim_next(WORKER) is None
    Turn.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    assert claim().turn_id == turn.id
    assert fresh(turn).not_before is None


def test_what_is_to_stop_is_not_claimed() -> None:
    make_turn()
    Turn.objects.update(stop_requested_at=timezone.now())
    assert claim_next(WORKER) is None


def test_started_at_is_the_first_claim_and_stays() -> None:
    turn = make_running().turn
    backdate(turn, started_at=timedelta(minutes=5))
    started = fresh(turn).started_at
    give_up_worker(turn.id)
    found = claim()
    turn.refresh_from_db()
    assert (turn.started_at, turn.fence, found.fence) == (started, 3, 3)
    assert turn.claimed_at is not None
    assert started is not None
    assert turn.claimed_at > started


def test_claiming_again_takes_back_what_no_row_keeps() -> None:
    holder = make_running()
    holder.begin()
    holder.step("calculator")
    sealed = holder.seq
    holder.open_text("this is lost")
    give_up_worker(holder.claim.turn_id)
    found = claim()
    newest, chunk = events_of(holder.turn)[-1]
    assert chunk == {"type": "data-rollback", "data": {"to_seq": sealed}}
    assert found.seq == newest


def test_a_first_claim_takes_nothing_back() -> None:
    make_turn()
    assert kinds_of(Turn.objects.get(pk=claim().turn_id)) == []


def test_when_others_took_all_that_was_looked_at_it_looks_again(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker that was told of a turn would go idle beside others that wait."""
    monkeypatch.setattr(claiming, "SPARE", 0)
    first, second = waiting(user, seconds=20), waiting(user, seconds=10)
    look = claiming._candidates
    taken: list[Claim] = []

    def candidates(wanted: int, **_: bool) -> list[claiming.Candidate]:
        found = look(wanted)
        if not taken:
            taken.extend(claiming._claim(uuid.uuid4(), found))
        return found

    monkeypatch.setattr(claiming, "_candidates", candidates)
    assert claim().turn_id == second.id
    assert taken[0].turn_id == first.id


def test_a_burst_is_claimed_in_as_many_calls(user: User) -> None:
    sessions = [make_session(make_user()) for _ in range(20)]
    for session in sessions:
        accept(session)
    assert len({claim().turn_id for _ in range(20)}) == 20
    assert claim_next(WORKER) is None


def test_a_burst_is_claimed_at_once_and_whoever_waits_alone_is_not_behind_it(user: User) -> None:
    many = [waiting(user, seconds=100 - n) for n in range(10)]
    other = waiting(make_user(), seconds=1)
    claims = claim_waiting(WORKER, 4)
    assert {held.turn_id for held in claims} == {other.id, *(turn.id for turn in many[:3])}
    assert Turn.objects.filter(status="running", worker=WORKER).count() == 4


def test_a_burst_takes_no_more_than_a_persons_share(user: User, settings: Settings) -> None:
    settings.TURNS_PER_USER_MAX = 2
    for _ in range(5):
        waiting(user)
    assert len(claim_waiting(WORKER, 10)) == 2
    assert claim_waiting(WORKER, 10) == []


def test_what_was_claimed_does_not_wait_for_the_rest(user: User, settings: Settings) -> None:
    """Its lease runs from now on, and nobody renews it before its worker knows of it."""
    settings.TURNS_PER_USER_MAX = 0
    for _ in range(claiming.BATCH + 3):
        waiting(user)
    first, second = claim_waiting(WORKER, 100), claim_waiting(WORKER, 100)
    assert (len(first), len(second)) == (claiming.BATCH, 3)
    assert len({held.turn_id for held in first + second}) == claiming.BATCH + 3
    assert claim_waiting(WORKER, 100) == []


def test_a_batch_costs_few_queries(user: User, django_assert_max_num_queries: Any, settings: Settings) -> None:
    settings.TURNS_PER_USER_MAX = 0
    for _ in range(claiming.BATCH):
        waiting(user)
    with django_assert_max_num_queries(8 + claiming.BATCH):  # each has a line in the journal
        assert len(claim_waiting(WORKER, claiming.BATCH)) == claiming.BATCH
