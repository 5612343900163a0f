"""Accepting a message: stored once, answered by a turn or waiting for one."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from common.errors import AppError, Conflict, Invalid, NotFound, TooLarge
from copilot.models import Message, Session, Turn, User
from copilot.turns.finish import failed
from copilot.turns.submit import TEXT_MAX, submit_message
from tests.factories import (
    accept,
    events_of,
    expire_lease,
    fresh,
    hold,
    journal_of,
    make_running,
    make_session,
    make_turn,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def session(user: User) -> Session:
    return make_session(user)


def counts() -> tuple[int, int]:
    return Message.objects.count(), Turn.objects.count()


def test_an_idle_session_starts_a_turn(session: Session) -> None:
    accepted = accept(session, "hello there", client_id="c1", timezone="Europe/Berlin")
    turn = accepted.turn
    assert turn is not None
    assert (accepted.queued, accepted.position, accepted.repeated) == (False, None, False)
    question, answer = session.messages.order_by("seq")
    assert (question.id, question.state, question.seq, question.turn_id) == (
        accepted.message.id,
        "done",
        1,
        turn.id,
    )
    assert (answer.role, answer.state, answer.seq, answer.turn_id) == ("assistant", "open", 2, turn.id)
    turn.refresh_from_db()
    assert (turn.status, turn.fence, turn.attempt, turn.started_at) == ("queued", 0, 1, None)
    assert (turn.user_id, turn.model, turn.settings["time_zone"]) == (
        session.user_id,
        "demo/demo",
        "Europe/Berlin",
    )
    assert journal_of(turn) == ["submitted"]
    assert events_of(turn) == []


def test_a_busy_session_queues(session: Session) -> None:
    turn = make_turn(session)
    first, second = accept(session, "one more"), accept(session, "and one more")
    for position, accepted in enumerate((first, second), 1):
        assert accepted.queued
        assert (accepted.position, accepted.turn, accepted.waiting_for) == (position, None, "turn")
        assert (accepted.message.seq, accepted.message.turn_id, accepted.message.held) == (None, None, False)
    assert Turn.objects.get() == turn


def test_a_message_for_an_idle_session_only_is_refused_by_a_busy_one(session: Session) -> None:
    first = accept(session, client_id="a", only_idle=True)
    with pytest.raises(Conflict) as refused:
        accept(session, client_id="b", only_idle=True)
    assert refused.value.error_code == "session_busy"
    assert list(session.messages.queued()) == []
    assert accept(session, client_id="a", only_idle=True).turn == first.turn


def test_numbers_follow_the_order_of_acceptance(session: Session) -> None:
    make_turn(session)
    accept(session, "b")
    accept(session, "c")
    questions = session.messages.filter(role="user").order_by("number")
    assert [message.text for message in questions] == ["hello", "b", "c"]
    assert fresh(session).accepted == session.messages.count()


def test_the_same_client_id_gives_the_earlier_result(session: Session) -> None:
    first = accept(session, "hello", client_id="c1")
    before = counts()
    again = accept(session, "hello", client_id="c1")
    assert (again.message.id, again.turn, again.repeated, again.queued) == (
        first.message.id,
        first.turn,
        True,
        False,
    )
    assert counts() == before
    assert fresh(session).revision == session.revision + 1


def test_the_same_client_id_shows_the_present_state_of_a_queued_message(session: Session) -> None:
    holder = make_running(session)
    accept(session, "earlier")
    queued = accept(session, "later", client_id="c2")
    again = accept(session, "later", client_id="c2")
    assert (again.queued, again.position, again.repeated) == (True, 2, True)
    next_turn = holder.answer()
    delivered = accept(session, "later", client_id="c2")
    assert delivered.message.id == queued.message.id
    assert not delivered.queued
    assert delivered.turn is not None
    assert delivered.turn.id == next_turn


def test_the_same_client_id_after_the_end_starts_nothing(session: Session) -> None:
    accept(session, "hello", client_id="c1")
    turn = Turn.objects.get()
    holder = hold(turn)
    holder.answer()
    again = accept(session, "hello", client_id="c1")
    assert again.repeated
    assert again.turn == turn
    assert Turn.objects.count() == 1


@pytest.mark.parametrize("change", [{"text": "other"}, {"model": "demo/demo"}, {"delivery": "next"}])
def test_a_client_id_is_not_for_another_message(session: Session, change: dict[str, str]) -> None:
    accept(session, client_id="c1")
    before = counts()
    with pytest.raises(Conflict) as refused:
        accept(session, **{"text": "hello", "client_id": "c1", **change})
    assert refused.value.error_code == "client_id_reused"
    assert counts() == before


def test_client_ids_of_two_sessions_do_not_meet(session: Session) -> None:
    accept(session, client_id="c1")
    assert not accept(make_session(session.user), "other", client_id="c1").repeated


def test_a_full_queue_refuses_the_next_and_keeps_the_others(session: Session, settings: Settings) -> None:
    settings.PENDING_MAX = 2
    make_turn(session)
    kept = [accept(session, text, client_id=text).message.id for text in ("b", "c")]
    with pytest.raises(Conflict) as refused:
        accept(session, "d")
    assert refused.value.error_code == "queue_full"
    assert list(session.messages.queued().values_list("id", flat=True)) == kept
    assert accept(session, "c", client_id="c").repeated, "a repetition is not one more"


def test_what_was_held_is_delivered_first(session: Session) -> None:
    holder = make_running(session)
    held = [accept(session, text).message for text in ("b", "c")]
    holder.finish(failed("auth", "No."))
    assert all(fresh(message).held for message in held)
    accepted = accept(session, "d")
    assert not accepted.queued
    turn = accepted.turn
    assert turn is not None
    asked = turn.messages.filter(role="user").order_by("seq")
    assert [message.text for message in asked] == ["b", "c", "d"]
    assert not asked.filter(held=True).exists()
    assert list(asked.values_list("seq", flat=True)) == [3, 4, 5], "after the question and its failed answer"


def test_held_messages_do_not_count_against_the_cap(session: Session, settings: Settings) -> None:
    settings.PENDING_MAX = 1
    holder = make_running(session)
    accept(session, "b")
    holder.finish(failed("auth", "No."))
    assert not accept(session, "c").queued


def test_the_first_line_that_says_something_is_the_title(session: Session) -> None:
    accept(session, "\n  \n  How   are you?\nFine.")
    assert fresh(session).title == "How are you?"


def test_a_long_title_is_cut_at_a_word(session: Session) -> None:
    accept(session, "word " * 40)
    title = fresh(session).title
    assert len(title) <= 61
    assert title.endswith("word…")


def test_a_title_that_is_there_stays(user: User) -> None:
    session = make_session(user, title="Mine")
    accept(session, "hello")
    assert fresh(session).title == "Mine"


def test_the_last_message_says_what_the_turn_runs_with(session: Session) -> None:
    turn = make_turn(session, effort="high", model="demo/demo")
    assert (turn.effort, turn.model) == ("high", "demo/demo")


def test_accepting_takes_over_a_turn_whose_worker_is_gone(session: Session) -> None:
    holder = make_running(session)
    expire_lease(holder.claim.turn_id)
    accepted = accept(session, "are you there?")
    assert accepted.queued
    turn = holder.turn
    assert (turn.status, turn.attempt) == ("queued", 2)


def test_accepting_ends_a_lost_turn_that_was_to_stop(session: Session) -> None:
    holder = make_running(session)
    Turn.objects.update(stop_requested_at=holder.turn.created_at, stop_reason="stopped")
    expire_lease(holder.claim.turn_id)
    accepted = accept(session, "go on")
    assert not accepted.queued
    assert holder.turn.status == "cancelled"


@pytest.mark.parametrize(
    ("over", "error", "code"),
    [
        ({"text": ""}, Invalid, "invalid"),
        ({"text": " \n\x00"}, Invalid, "invalid"),
        ({"text": 5}, Invalid, "invalid"),
        ({"text": "x" * (TEXT_MAX + 1)}, TooLarge, "text_too_long"),
        ({"client_id": ""}, Invalid, "invalid"),
        ({"client_id": "x" * 129}, Invalid, "invalid"),
        ({"client_id": "a\x00b"}, Invalid, "invalid"),
        ({"client_id": "a\ud800"}, Invalid, "invalid"),
        ({"model": "no/such"}, Invalid, "unknown_model"),
        ({"model": "demo/other"}, Invalid, "unknown_model"),
        ({"effort": "enormous"}, Invalid, "invalid"),
        ({"delivery": "now"}, Invalid, "invalid"),
        ({"timezone": "Mars/Olympus"}, Invalid, "invalid"),
        ({"context": {"page": "x"}}, Invalid, "unknown_field"),
        ({"context": {"url": 1}}, Invalid, "invalid"),
        ({"context": {"content": "x" * (TEXT_MAX + 1)}}, TooLarge, "text_too_long"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    session: Session, over: dict[str, Any], error: type[AppError], code: str
) -> None:
    with pytest.raises(error) as refused:
        accept(session, **{"text": "hello", **over})
    assert refused.value.error_code == code
    assert counts() == (0, 0)
    assert fresh(session).revision == session.revision


@pytest.mark.parametrize("busy", [False, True])
def test_the_longest_text_is_accepted(session: Session, busy: bool) -> None:
    if busy:
        make_turn(session)
    accepted = accept(session, "x" * TEXT_MAX)
    assert (accepted.queued, len(accepted.message.text)) == (busy, TEXT_MAX)


def test_text_that_no_database_can_hold_is_mended(session: Session) -> None:
    assert fresh(accept(session, "a\x00b\ud800c 😀").message).text == "ab\ufffdc 😀"


def test_a_page_that_no_database_can_hold_is_mended(session: Session) -> None:
    accepted = accept(session, context={"url": "https://a.example/\x00", "content": "a\ud800b"})
    assert fresh(accepted.message).options["context"] == {"url": "https://a.example/", "content": "a\ufffdb"}


@pytest.mark.parametrize("session_id", ["not-an-id", "00000000-0000-0000-0000-000000000000", None])
def test_unknown_sessions_are_not_found(user: User, session_id: object) -> None:
    with pytest.raises(NotFound):
        submit_message(user=user, session_id=session_id, text="hello")


def test_somebody_elses_session_is_not_found(session: Session) -> None:
    with pytest.raises(NotFound):
        submit_message(user=make_user(), session_id=session.id, text="hello")
    assert counts() == (0, 0)
