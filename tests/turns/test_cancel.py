"""Stopping a turn: durable, settled within seconds, and never more than what was asked for."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from common.db import db
from common.errors import NotFound
from copilot.events import log
from copilot.models import Session, Turn, TurnEvent, User
from copilot.turns import cancel
from copilot.turns.cancel import CancelResult, cancel_turn, finish_unconfirmed, request_stop
from tests.factories import (
    Holder,
    accept,
    answer_of,
    expire_lease,
    fresh,
    journal_of,
    kinds_of,
    make_running,
    make_session,
    make_turn,
    make_user,
)


@pytest.fixture
def session(user: User) -> Session:
    return make_session(user)


def stop(session: Session, **over: Any) -> tuple[Turn, bool] | None:
    about = {"user": session.user, "session_id": session.id, "turn_id": None, "reason": "stopped", **over}
    return request_stop(**about)


@pytest.mark.django_db
def test_a_queued_turn_ends_at_once(session: Session) -> None:
    make_turn(session)
    stopped = stop(session)
    assert stopped is not None
    turn, waits = stopped
    assert (turn.status, turn.outcome, waits) == ("cancelled", "stopped", False)
    assert kinds_of(turn) == ["abort"]
    assert answer_of(turn) is None
    assert journal_of(turn) == ["submitted", "stop_requested", "cancelled"]


@pytest.mark.django_db
def test_a_running_turn_is_asked_and_told_again(session: Session) -> None:
    holder = make_running(session)
    first, second = stop(session), stop(session, reason="operator")
    assert first is not None
    assert second is not None
    assert first[1]
    assert second[1]
    turn = holder.turn
    assert turn.status == "running"
    assert (turn.stop_requested_at, turn.stop_reason) == (first[0].stop_requested_at, "stopped"), (
        "the first counts"
    )


@pytest.mark.django_db
def test_a_turn_whose_worker_is_gone_ends_at_once(session: Session) -> None:
    holder = make_running(session)
    holder.begin()
    holder.open_text("Half")
    expire_lease(holder.claim.turn_id)
    stopped = stop(session)
    assert stopped is not None
    assert (stopped[0].status, stopped[1]) == ("cancelled", False)
    answer = answer_of(holder.turn)
    assert answer is not None
    assert (answer.state, answer.text) == ("partial", "Half")


@pytest.mark.django_db
def test_nothing_to_stop(session: Session) -> None:
    assert stop(session) is None
    make_running(session).answer()
    assert stop(session) is None


@pytest.mark.django_db
def test_an_ended_turn_is_left_alone(session: Session) -> None:
    holder = make_running(session)
    holder.answer()
    make_turn(session)
    stopped = stop(session, turn_id=holder.claim.turn_id)
    assert stopped is not None
    assert (stopped[0].status, stopped[1]) == ("completed", False)
    assert Turn.objects.live().count() == 1, "the next one was not meant"


@pytest.mark.django_db
def test_what_waited_is_held(session: Session) -> None:
    make_turn(session)
    queued = accept(session, "later").message
    stop(session)
    assert fresh(queued).held


@pytest.mark.django_db
def test_an_unconfirmed_stop_is_settled_by_others(session: Session) -> None:
    holder = make_running(session)
    holder.begin()
    holder.open_text("Half")
    stop(session)
    assert not finish_unconfirmed(holder.claim.turn_id, 5.0), "not yet"
    Turn.objects.update(stop_requested_at=timezone.now() - timedelta(seconds=6))
    assert finish_unconfirmed(holder.claim.turn_id, 5.0)
    assert (holder.turn.status, kinds_of(holder.turn)[-1]) == ("cancelled", "abort")
    assert not finish_unconfirmed(holder.claim.turn_id, 5.0)
    assert not finish_unconfirmed(uuid.uuid4(), 0.0)


def append_meanwhile(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Have a worker that still writes append between the reading of the log's end and the writing after it."""
    left = [times]
    read = log.last_seq

    def last_seq(turn_id: uuid.UUID) -> int:
        newest = read(turn_id)
        if left[0]:
            left[0] -= 1
            TurnEvent.objects.create(turn_id=turn_id, seq=newest + 1, chunk={"type": "start-step"})
        return newest

    monkeypatch.setattr(log, "last_seq", last_seq)


@pytest.mark.django_db
def test_a_worker_that_goes_on_writing_does_not_keep_its_turn(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = make_running(session)
    stop(session)
    append_meanwhile(monkeypatch, 1)
    assert finish_unconfirmed(holder.claim.turn_id, 0.0)
    assert holder.turn.status == "cancelled"


@pytest.mark.django_db
@pytest.mark.parametrize("act", ["accept", "stop"])
def test_a_lost_worker_that_still_writes_does_not_fail_a_request(
    session: Session, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    holder = make_running(session)
    expire_lease(holder.claim.turn_id)
    append_meanwhile(monkeypatch, 1)
    if act == "accept":
        assert accept(session, "more").queued
        assert holder.turn.status == "queued"
    else:
        stop(session)
        assert holder.turn.status == "cancelled"


# --- the whole call --------------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "CONFIRM_SECONDS", 0.3)


@pytest.mark.django_db(transaction=True)
async def test_cancel_of_a_queued_turn(user: User) -> None:
    turn = await db(lambda: make_turn(make_session(user)))
    result = await cancel_turn(user=user, session_id=turn.session_id)
    assert result == CancelResult(cancelled=True, confirmed=True, turn=turn.id)
    assert await cancel_turn(user=user, session_id=turn.session_id) == CancelResult(
        cancelled=False, confirmed=False
    )
    again = await cancel_turn(user=user, turn_id=str(turn.id))
    assert again == CancelResult(cancelled=True, confirmed=True, turn=turn.id)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hurried")
async def test_cancel_takes_the_turn_of_a_worker_that_does_not_answer(user: User) -> None:
    holder: Holder = await db(lambda: make_running(make_session(user)))
    result = await cancel_turn(user=user, turn_id=holder.claim.turn_id)
    assert result == CancelResult(cancelled=True, confirmed=False, turn=holder.claim.turn_id)
    assert await db(lambda: kinds_of(holder.turn)) == ["abort"]


@pytest.mark.django_db(transaction=True)
async def test_cancel_of_an_ended_turn_says_what_became_of_it(user: User) -> None:
    holder: Holder = await db(lambda: make_running(make_session(user)))
    await db(holder.answer)
    result = await cancel_turn(user=user, turn_id=holder.claim.turn_id)
    assert result == CancelResult(cancelled=False, confirmed=True, turn=holder.claim.turn_id)


@pytest.mark.django_db(transaction=True)
async def test_cancel_of_what_is_not_there(user: User) -> None:
    turn = await db(lambda: make_turn(make_session(user)))
    stranger = await db(make_user)
    elsewhere = await db(lambda: make_session(user))
    for about in (
        {"user": stranger, "session_id": turn.session_id},
        {"user": stranger, "turn_id": turn.id},
        {"user": user, "turn_id": uuid.uuid4()},
        {"user": user, "turn_id": "nonsense"},
        {"user": user, "session_id": "nonsense"},
        {"user": user, "session_id": elsewhere.id, "turn_id": turn.id},
    ):
        with pytest.raises(NotFound):
            await cancel_turn(**about)
    assert (await db(fresh, turn)).status == "queued"
