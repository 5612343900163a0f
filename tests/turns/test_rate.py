"""How often a person may send. The database's clock counts, so tests move the person's row instead of waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from common.errors import Conflict, Invalid, NotFound, RateLimited
from copilot.models import Message, SendRate, Turn, User
from copilot.turns import rate
from copilot.turns.branches import edit_message, regenerate
from copilot.turns.submit import deliver_queued, submit_message, withdraw_queued
from tests.factories import accept, hold, make_running, make_session
from tests.turns.racing import guarded, race

DEFAULT = 30


def spend(user: User, seconds: float) -> None:
    """Have a person sent so much that it counts for so many seconds from now."""
    moment = timezone.now() + timedelta(seconds=seconds)
    SendRate.objects.update_or_create(user=user, defaults={"spent_until": moment})


def spent(user: User) -> float:
    """Return for how many seconds from now what a person sent counts."""
    return (SendRate.objects.get(user=user).spent_until - timezone.now()).total_seconds()


@pytest.mark.django_db
def test_thirty_at_once_and_one_every_two_seconds_by_default(user: User, settings: Settings) -> None:
    settings.SEND_RATE = DEFAULT
    session = make_session(user)
    make_running(session)  # one
    settings.PENDING_MAX = 100
    for _ in range(DEFAULT - 1):
        accept(session)
    assert 55 < spent(user) <= 60
    spend(user, 58.5)
    with pytest.raises(RateLimited) as refused:
        accept(session)
    assert (refused.value.error_code, refused.value.status) == ("rate_limited", 429)
    spend(user, 57.9)
    accept(session)


@pytest.mark.django_db
def test_nothing_is_stored_of_what_is_refused_and_it_says_when_to_come_again(
    user: User, settings: Settings
) -> None:
    settings.SEND_RATE = 1
    session = make_session(user)
    spend(user, 30)
    before = timezone.now()
    with pytest.raises(RateLimited) as refused:
        accept(session)
    assert (Message.objects.count(), Turn.objects.count()) == (0, 0)
    assert 29 <= spent(user) <= 30
    fields = refused.value.fields
    assert fields["window"] == "minute"
    assert fields["retry_after"] in (30, 31)
    assert timedelta(seconds=29) < datetime.fromisoformat(fields["resets_at"]) - before < timedelta(seconds=31)
    assert f"{fields['retry_after']} s" in refused.value.detail


@pytest.mark.django_db
def test_all_sessions_of_a_person_count_together_and_nobody_elses(
    user: User, other_user: User, settings: Settings
) -> None:
    settings.SEND_RATE = 2
    accept(make_session(user))
    accept(make_session(user), origin="bot")
    with pytest.raises(RateLimited):
        accept(make_session(user), origin="key")
    accept(make_session(other_user))


@pytest.mark.django_db
def test_a_repeated_client_id_is_not_counted(user: User, settings: Settings) -> None:
    settings.SEND_RATE = 1
    session = make_session(user)
    first = accept(session, client_id="c1")
    for _ in range(3):
        again = accept(session, client_id="c1")
        assert (again.repeated, again.message.id) == (True, first.message.id)
    with pytest.raises(Conflict):  # and says what is wrong with it
        accept(session, "another", client_id="c1")


@pytest.mark.django_db
def test_what_is_refused_for_another_reason_is_not_counted(user: User, settings: Settings) -> None:
    settings.SEND_RATE, settings.PENDING_MAX = 3, 1
    session = make_session(user)
    make_running(session)
    accept(session)
    for error, message in ((Conflict, {}), (Invalid, {"model": "no/model"}), (NotFound, {"session_id": "x"})):
        with pytest.raises(error):
            submit_message(**{"user": user, "session_id": session.id, "text": "x", **message})
    assert spent(user) <= 40
    accept(make_session(user))


@pytest.mark.django_db
def test_an_edit_and_another_answer_count_and_are_undone_when_refused(user: User, settings: Settings) -> None:
    settings.SEND_RATE = 3
    session = make_session(user)
    make_running(session).answer()
    question = session.messages.get(role="user")
    edited = edit_message(user=user, message_id=question.id, text="another", client_id="c1")
    assert edited.turn is not None
    hold(edited.turn).answer()
    again = regenerate(user=user, session_id=session.id)
    assert again.turn is not None
    hold(again.turn).answer()
    before = list(session.messages.order_by("pk").values())
    acts: list[Callable[[], Any]] = [
        lambda: edit_message(user=user, message_id=edited.message.id, text="a third"),
        lambda: regenerate(user=user, session_id=session.id),
    ]
    for act in acts:
        with pytest.raises(RateLimited):
            act()
    assert list(session.messages.order_by("pk").values()) == before
    assert edit_message(user=user, message_id=question.id, text="another", client_id="c1").repeated


@pytest.mark.django_db
def test_what_the_server_starts_itself_is_not_counted(user: User, settings: Settings) -> None:
    settings.SEND_RATE = 1
    session = make_session(user)
    spend(user, 60)
    settings.PENDING_MAX = 2
    for origin in ("child", "background", "child"):
        accept(session, origin=origin)


@pytest.mark.django_db
def test_sending_held_messages_now_is_not_sending_them_again(user: User, settings: Settings) -> None:
    settings.SEND_RATE = 2
    session = make_session(user)
    holder = make_running(session)
    accept(session)
    Message.objects.queued().update(held=True)
    Turn.objects.filter(pk=holder.turn.pk).delete()
    assert deliver_queued(user=user, session_id=session.id).turn is not None


@pytest.mark.django_db
def test_withdrawing_gives_nothing_back(user: User, settings: Settings) -> None:
    """Else somebody who sends and withdraws in turns would have no limit."""
    settings.SEND_RATE = 2
    session = make_session(user)
    make_running(session)
    waiting = accept(session)
    withdraw_queued(user=user, session_id=session.id, message_id=waiting.message.id)
    with pytest.raises(RateLimited):
        accept(session)


@pytest.mark.django_db
def test_no_limit_counts_nothing(user: User, settings: Settings, django_assert_num_queries: Any) -> None:
    settings.SEND_RATE = 0
    with django_assert_num_queries(0):
        rate.do_count_send(user.pk)


@pytest.mark.django_db
def test_counting_is_one_statement(user: User, settings: Settings, django_assert_num_queries: Any) -> None:
    settings.SEND_RATE = 1_000_000
    rate.do_count_send(user.pk)
    with django_assert_num_queries(1):
        rate.do_count_send(user.pk)
    assert spent(user) < 1


@pytest.mark.django_db
def test_a_clock_that_was_set_back_locks_nobody_out(user: User, settings: Settings) -> None:
    settings.SEND_RATE = 2
    spend(user, 3600)
    rate.do_count_send(user.pk)
    assert 59 < spent(user) <= 60
    with pytest.raises(RateLimited):
        rate.do_count_send(user.pk)


@pytest.mark.django_db
def test_what_somebody_else_counted_a_moment_later_is_no_clock_that_was_set_back(
    user: User, settings: Settings
) -> None:
    """A statement keeps the time at which it began, also when it waited for one that began after it."""
    settings.SEND_RATE = 2
    spend(user, 65)
    with pytest.raises(RateLimited):
        rate.do_count_send(user.pk)


@pytest.mark.django_db
def test_a_row_that_is_long_paid_off_gives_one_burst_and_no_more(user: User, settings: Settings) -> None:
    settings.SEND_RATE = 2
    spend(user, -86400)
    rate.do_count_send(user.pk)
    rate.do_count_send(user.pk)
    with pytest.raises(RateLimited):
        rate.do_count_send(user.pk)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known", [True, False])
def test_many_at_once_are_no_more_than_the_burst(user: User, settings: Settings, known: bool) -> None:
    """From connections of their own, to sessions of their own: only the person's row is between them."""
    settings.SEND_RATE = 5
    if known:
        spend(user, 0)
    sessions = [make_session(user) for _ in range(12)]
    outcomes = race(*(lambda session=session: accept(session) for session in sessions))
    refused = [outcome for outcome in outcomes if isinstance(outcome, RateLimited)]
    assert (len(outcomes) - len(refused), len(refused)) == (5, 7), outcomes
    assert Message.objects.filter(role="user").count() == Turn.objects.count() == 5


@pytest.mark.django_db(transaction=True)
@guarded
def test_the_last_place_of_a_burst_is_taken_once(
    guarded: bool, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch, no_locks: Callable[[], None]
) -> None:
    settings.SEND_RATE = 2
    spend(user, 30)
    if not guarded:
        no_locks()
        monkeypatch.setattr(rate, "_count", look_then_write)
    sessions = [make_session(user) for _ in range(2)]
    outcomes = race(*(lambda session=session: accept(session) for session in sessions))
    assert sum(isinstance(outcome, RateLimited) for outcome in outcomes) == (1 if guarded else 0), outcomes


_both_looked = threading.Barrier(2, timeout=5)


def look_then_write(per_minute: int) -> Callable[[object], int]:
    """Count as one would without a guard: read, decide, write."""

    def count(user_id: object) -> int:
        [row] = SendRate.objects.filter(pk=user_id)
        _both_looked.wait()
        if row.spent_until > timezone.now() + rate.MINUTE - rate.MINUTE / per_minute:
            return 0
        row.spent_until += rate.MINUTE / per_minute
        row.save()
        return 1

    return count


@pytest.mark.django_db
def test_the_wait_is_told_in_seconds_of_ones_own(user: User, other_user: User, settings: Settings) -> None:
    settings.SEND_RATE = 60
    spend(other_user, 30)
    spend(user, 59.5)
    with pytest.raises(RateLimited) as refused:
        accept(make_session(user))
    assert refused.value.fields["retry_after"] == 1
