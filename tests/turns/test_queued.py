"""Messages that wait: withdrawn, or sent now."""

from __future__ import annotations

import uuid

import pytest

from common.errors import Conflict, NotFound
from copilot.models import Session, User
from copilot.turns.finish import failed
from copilot.turns.submit import deliver_queued, withdraw_queued
from tests.factories import accept, expire_lease, fresh, make_running, make_session, make_turn, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def session(user: User) -> Session:
    return make_session(user)


def withdraw(session: Session, message_id: object) -> None:
    withdraw_queued(user=session.user, session_id=session.id, message_id=message_id)


def test_a_waiting_message_can_be_withdrawn(session: Session) -> None:
    make_turn(session)
    first, second = accept(session, "b", client_id="b").message, accept(session, "c").message
    before = fresh(session).revision
    withdraw(session, first.id)
    assert list(session.messages.queued()) == [second]
    assert fresh(session).revision > before
    with pytest.raises(NotFound):
        withdraw(session, first.id)


def test_a_delivered_message_cannot(session: Session) -> None:
    holder = make_running(session)
    queued = accept(session, "b").message
    holder.answer()
    with pytest.raises(Conflict) as refused:
        withdraw(session, queued.id)
    assert refused.value.error_code == "already_delivered"


def test_what_is_not_ones_own_cannot_be_withdrawn(session: Session) -> None:
    turn = make_turn(session)
    queued = accept(session, "b").message
    answer = turn.messages.get(role="assistant")
    for message_id in (uuid.uuid4(), "nonsense", answer.id):
        with pytest.raises(NotFound):
            withdraw(session, message_id)
    with pytest.raises(NotFound):
        withdraw_queued(user=make_user(), session_id=session.id, message_id=queued.id)
    with pytest.raises(NotFound):
        withdraw(make_session(session.user), queued.id)
    assert session.messages.queued().count() == 1


def test_a_held_message_can_be_withdrawn(session: Session) -> None:
    holder = make_running(session)
    held = accept(session, "b").message
    holder.finish(failed("auth", "No."))
    withdraw(session, held.id)
    assert not session.messages.queued().exists()
    assert not session.turns.live().exists()


def test_send_now_delivers_all_that_is_held_in_order(session: Session) -> None:
    holder = make_running(session)
    held = [accept(session, text).message for text in ("b", "c")]
    holder.finish(failed("auth", "No."))
    accepted = deliver_queued(user=session.user, session_id=session.id)
    turn = accepted.turn
    assert turn is not None
    assert accepted.message.id == held[-1].id
    assert list(turn.messages.filter(role="user").order_by("seq")) == held
    assert not session.messages.queued().exists()
    assert session.turns.live().get() == turn


def test_send_now_waits_for_a_live_turn(session: Session) -> None:
    make_turn(session)
    accept(session, "b")
    with pytest.raises(Conflict) as refused:
        deliver_queued(user=session.user, session_id=session.id)
    assert refused.value.error_code == "session_busy"


def test_send_now_takes_over_what_was_lost(session: Session) -> None:
    holder = make_running(session)
    accept(session, "b")
    expire_lease(holder.claim.turn_id)
    with pytest.raises(Conflict):
        deliver_queued(user=session.user, session_id=session.id)


def test_send_now_with_nothing_held(session: Session) -> None:
    with pytest.raises(Conflict) as refused:
        deliver_queued(user=session.user, session_id=session.id)
    assert refused.value.error_code == "stale"


def test_send_now_in_somebody_elses_session(session: Session) -> None:
    with pytest.raises(NotFound):
        deliver_queued(user=make_user(), session_id=session.id)
