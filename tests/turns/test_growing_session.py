"""A turn costs no more as its session grows: accepting, claiming and finishing do not look at its history."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from common.ids import new_id
from copilot.agent.state import load
from copilot.models import Message, Session, Turn
from tests.factories import accept, hold, make_session

pytestmark = pytest.mark.django_db(transaction=True)
logger = logging.getLogger(__name__)

#: Figures; ``--log-cli-level=INFO`` shows them.
SHORT, LONG, EARLIER_TURNS = 5, 3000, 300
TIMES = 15


def with_history(messages: int, turns: int) -> Session:
    """Create a session with so much behind it."""
    session = make_session()
    old = Turn.objects.bulk_create(
        Turn(
            session=session,
            user=session.user,
            model="demo/demo",
            status=Turn.Status.COMPLETED,
            outcome="stop",
            finished_at=timezone.now(),
            last_seq=1,
        )
        for _ in range(turns)
    )
    ids = [session.pk, *(new_id() for _ in range(messages))]
    Message.objects.bulk_create(
        Message(
            id=ids[n + 1],
            parent=ids[n],
            session=session,
            turn=old[n % turns],
            role=Message.Role.ASSISTANT if n % 2 else Message.Role.USER,
            state=Message.State.DONE,
            seq=n + 1,
            number=n + 1,
            parts=[{"type": "text", "text": f"message {n} with some words in it"}],
            client_id=uuid.uuid4().hex,
        )
        for n in range(messages)
    )
    Session.objects.filter(pk=session.pk).update(next_seq=messages + 1, accepted=messages, head=ids[-1])
    session.refresh_from_db()
    return session


def one_turn(session: Session) -> None:
    """Accept a message, claim its turn, say something and finish."""
    turn = accept(session, "hello", client_id=uuid.uuid4().hex).turn
    assert turn is not None
    holder = hold(turn)
    holder.begin()
    holder.say("Hello, ", "you.")
    holder.finish()


def queries_of(work: Callable[[], None]) -> int:
    """Return how many queries ``work`` makes once it was done before."""
    work()
    with CaptureQueriesContext(connection) as queries:
        work()
    return len(queries)


def milliseconds(work: Callable[[], None]) -> float:
    """Return how long ``work`` takes."""
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def test_a_turn_costs_no_more_in_a_long_session() -> None:
    short, long = with_history(SHORT, 2), with_history(LONG, EARLIER_TURNS)
    assert queries_of(lambda: one_turn(long)) == queries_of(lambda: one_turn(short))
    # In turns, and the quickest of each: whatever else the machine does then disturbs both alike.
    times = [(milliseconds(lambda: one_turn(short)), milliseconds(lambda: one_turn(long))) for _ in range(TIMES)]
    quick, slow = (min(each) for each in zip(*times, strict=True))
    logger.info("a turn after %d messages %.1f ms, after %d messages %.1f ms", SHORT, quick, LONG, slow)
    assert slow < 1.5 * quick


def test_what_a_model_is_sent_is_bounded() -> None:
    """The model's view of a long session is read with as many queries, and grows no further than its bound."""
    sizes = []
    for messages in (SHORT, LONG // 2, LONG):
        session = with_history(messages, 2)
        turn = accept(session, "hello").turn
        assert turn is not None
        hold(turn)
        with CaptureQueriesContext(connection) as queries:
            state = load(turn.pk)
        sizes.append((len(queries), len(state.messages)))
    assert len({queries for queries, _ in sizes}) == 1
    assert sizes[1] == sizes[2]
