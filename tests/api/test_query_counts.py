"""Reading costs the same number of queries, however much there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from copilot.models import Message, Session, UsageRecord
from tests.api.conftest import Api

Make = Callable[..., Any]


@pytest.fixture(params=[5, 500])
def filled(request: pytest.FixtureRequest, session: Session, make_turn: Make) -> Session:
    """A session with a live turn, and few or many messages."""
    count: int = request.param
    for number in range(count // 50 + 1):
        turn = make_turn(session, "completed")
        UsageRecord.objects.create(turn=turn, user_id=turn.user_id, fence=1, step=number, model="demo/demo")
    live = make_turn(session, "running")
    UsageRecord.objects.create(turn=live, user_id=live.user_id, fence=1, step=1, model="demo/demo")
    Message.objects.bulk_create(
        Message(
            session=session,
            turn=turn,
            role="user" if seq % 2 else "assistant",
            state="done",
            seq=seq,
            number=seq,
            parts=[{"type": "text", "text": "x"}],
        )
        for seq in range(1, count + 1)
    )
    Message.objects.bulk_create(
        Message(session=session, role="user", state="queued", number=count + number, parts=[])
        for number in range(1, 6)
    )
    session.next_seq, session.accepted = count + 1, count + 5
    session.save(update_fields=["next_seq", "accepted"])
    return session


def test_a_session(api: Api, filled: Session, django_assert_num_queries: Any) -> None:
    # Login session, user; session, its live turn, what waits; the live turn's messages (it is in its first step
    # and has used nothing); the newest messages.
    with django_assert_num_queries(7):
        api.get(f"sessions/{filled.id}")


def test_a_page_of_messages(api: Api, filled: Session, django_assert_num_queries: Any) -> None:
    # Login session, user; session, messages.
    with django_assert_num_queries(4):
        api.get(f"sessions/{filled.id}/messages")
    # One more to know what lies beyond the bound.
    with django_assert_num_queries(5):
        api.get(f"sessions/{filled.id}/messages", before=4)
    with django_assert_num_queries(5):
        api.get(f"sessions/{filled.id}/messages", after=2)


def test_what_waits(api: Api, filled: Session, django_assert_num_queries: Any) -> None:
    # Login session, user; session, messages.
    with django_assert_num_queries(4):
        api.get(f"sessions/{filled.id}/queued")


@pytest.mark.parametrize("count", [5, 90])
def test_the_list_of_sessions(
    api: Api, make_session: Make, make_turn: Make, count: int, django_assert_num_queries: Any
) -> None:
    for _ in range(count):
        session = make_session()
        turn = make_turn(session, "completed")
        make_turn(session, "requires_action")
        UsageRecord.objects.create(turn=turn, user_id=turn.user_id, fence=1, step=1, model="demo/demo")
    # Login session, user; sessions, each with what goes on in it.
    with django_assert_num_queries(3):
        assert len(api.get("sessions", limit=100).json()["results"]) == count


def test_sending_to_a_long_session(api: Api, session: Session, django_assert_max_num_queries: Any) -> None:
    Message.objects.bulk_create(
        Message(session=session, role="user", state="done", seq=seq, number=seq, parts=[]) for seq in range(1, 501)
    )
    Session.objects.filter(pk=session.pk).update(next_seq=501, accepted=500)
    with django_assert_max_num_queries(13):
        response = api.post(f"sessions/{session.id}/messages", {"text": "x"})
    assert response.json()["message"]["seq"] == 501
