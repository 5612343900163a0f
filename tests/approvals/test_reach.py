"""Who is told that a decision waits, when, and how often. Without its guard, the race goes wrong."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail as outbox
from django.core.mail import EmailMessage
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from approvals.models import Action, Presence
from approvals.reach import due, messenger, presence
from approvals.reach.messenger import Messenger
from common.db import db_now, seconds_ago
from common.errors import Busy
from copilot.models import User
from copilot.sweep import sweep
from tests.approvals.reaching import Browser, is_reached, keys_set, make_action, pass_and_wait
from tests.turns.racing import guarded, race

__all__ = ["keys_set"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _mail_works(settings: Settings) -> None:
    settings.EMAIL_ENABLED = True


@pytest.fixture
def person(make_user: Any) -> User:
    """Somebody who can be told by mail, and has no page open."""
    made: User = make_user(email="ada@example.org")
    return made


def look(user: User, seconds: float = 0) -> None:
    """Have the person look at a page so many seconds ago."""
    presence.forget(user.pk)
    presence.note_in_front(user.pk)
    Presence.objects.filter(pk=user.pk).update(front_at=seconds_ago(seconds))


def reaching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("reach_")]


def close(action: Action) -> None:
    Action.objects.filter(pk=action.pk).update(status="cancelled", resolved_at=db_now())


def test_somebody_who_is_away_is_told_once(person: User) -> None:
    action = make_action(person)
    assert (pass_and_wait(), pass_and_wait()) == (1, 0)
    assert [message.to for message in outbox.outbox] == [["ada@example.org"]]
    assert is_reached(action)


def test_the_sweep_tells(person: User) -> None:
    make_action(person)
    assert sweep() == {"unreached": 1}
    assert due.finish_reaching(20)
    assert len(outbox.outbox) == 1


def test_there_is_time_to_decide_before_anybody_is_told(person: User, settings: Settings) -> None:
    settings.APPROVALS_REACH_SECONDS = 120
    action = make_action(person, age=60)
    assert pass_and_wait() == 0
    assert not is_reached(action)


def test_somebody_who_looks_at_a_page_is_not_told_until_they_left(person: User) -> None:
    action = make_action(person)
    look(person)
    assert pass_and_wait() == 0
    assert not is_reached(action)
    look(person, presence.FRONT_SECONDS + 1)
    assert pass_and_wait() == 1
    assert len(outbox.outbox) == 1


def test_a_page_of_somebody_else_does_not_count(person: User, other_user: User) -> None:
    make_action(person)
    look(other_user)
    assert pass_and_wait() == 1


def test_a_clock_that_was_set_back_silences_nobody(person: User) -> None:
    make_action(person)
    look(person, -3600)
    assert pass_and_wait() == 1


@pytest.mark.parametrize("over", [{"left": -1}, {"status": "expired", "resolved_at": timezone.now()}])
def test_what_does_not_wait_any_more_is_not_told(person: User, over: dict[str, Any]) -> None:
    make_action(person, **over)
    assert pass_and_wait() == 0


def test_a_decision_made_while_the_message_waited_is_not_told(person: User) -> None:
    action = make_action(person)
    close(action)
    assert due.reach(action.pk) is False
    assert outbox.outbox == []


def test_somebody_who_came_back_while_the_message_waited_is_told_when_they_left(person: User) -> None:
    action = make_action(person)
    look(person)
    assert due.reach(action.pk) is False
    assert not is_reached(action)


@pytest.mark.parametrize("over", [{"email": ""}, {"email": "a@example.org", "is_active": False}])
def test_who_can_be_told_in_no_way_is_not_looked_at_again(make_user: Any, over: dict[str, Any]) -> None:
    action = make_action(make_user(**over))
    assert pass_and_wait() == 0
    assert is_reached(action)
    assert outbox.outbox == []


@pytest.mark.parametrize("mails", [True, False])
@pytest.mark.usefixtures("keys_set")
def test_only_who_can_be_told_in_a_way_that_is_set_up_is_told(
    mails: bool, make_user: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMAIL_ENABLED = mails
    handed: list[object] = []
    monkeypatch.setattr(due._messenger, "hand_over", lambda action_id: handed.append(action_id) or True)
    in_browser = make_user()
    Browser("one").subscribe(in_browser)
    by_browser, by_mail, by_nothing = map(
        make_action, (in_browser, make_user(email="grace@example.org"), make_user())
    )
    told = [by_browser, by_mail] if mails else [by_browser]
    assert due.reach_due() == len(told)
    assert handed == [action.pk for action in told]
    assert [is_reached(action) for action in (by_browser, by_mail, by_nothing)] == [False, not mails, True]


def test_giving_up_changes_nothing_of_what_was_told(person: User) -> None:
    reached_at = timezone.now() - timedelta(minutes=5)
    action = make_action(person, reached_at=reached_at)
    due._give_up([action.pk])
    assert Action.objects.get().reached_at == reached_at


@pytest.mark.scaled
def test_no_connection_is_held_while_others_are_waited_for(person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no pool to starve")
    held: list[bool] = []
    monkeypatch.setattr(EmailMessage, "send", lambda self: held.append(connection.connection is not None) or 1)
    action = make_action(person)
    assert race(lambda: due.reach(action.pk)) == [True]
    assert held == [False]


def test_where_nothing_can_be_sent_nothing_is_asked_of_the_database(
    person: User, settings: Settings, django_assert_num_queries: Any
) -> None:
    settings.EMAIL_ENABLED = False
    make_action(person)
    with django_assert_num_queries(0):
        assert due.reach_due() == 0


def test_ten_thousand_that_were_told_cost_one_look_into_an_index(
    person: User, django_assert_num_queries: Any
) -> None:
    now = timezone.now()
    Action.objects.bulk_create(
        Action(
            user=person,
            session=person.pk,
            turn=f"00000000-0000-0000-0000-{number:012}",
            created_at=now - timedelta(hours=1),
            expires_at=now + timedelta(hours=1),
            reached_at=now,
        )
        for number in range(10_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with django_assert_num_queries(1):
        assert due.reach_due() == 0
    assert "action_unreached" in due._due().order_by("created_at")[: due.BATCH].explain()


@guarded
def test_of_two_that_found_the_same_one_tells(
    guarded: bool, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = make_action(person)
    if not guarded:
        unguarded = Action.objects.with_time().select_related("user")
        monkeypatch.setattr(due, "_claim", lambda action_id: unguarded.get(pk=action_id))
    told = race(*[lambda: due.reach(action.pk)] * 2)
    assert sorted(told) == ([False, True] if guarded else [True, True])
    assert len(outbox.outbox) == (1 if guarded else 2)


def test_two_sweeps_at_once_tell_once(person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two processes: each has threads of its own."""
    for _ in range(5):
        make_action(person)
    messengers = [Messenger(due.reach) for _ in range(2)]
    mine = threading.local()

    class Own:
        hand_over = staticmethod(lambda action_id: mine.messenger.hand_over(action_id))

    def one_sweep() -> int:
        mine.messenger = messengers.pop()
        found = due.reach_due()
        assert mine.messenger.drain(20)
        return found

    monkeypatch.setattr(due, "_messenger", Own)
    assert all(isinstance(found, int) for found in race(one_sweep, one_sweep))
    assert len(outbox.outbox) == 5


# --- threads ----------------------------------------------------------------------------------


def test_what_is_being_told_is_not_handed_over_twice(person: User) -> None:
    began, may_end = threading.Event(), threading.Event()

    def tell(_: object) -> None:
        began.set()
        assert may_end.wait(10)

    here = Messenger(tell)
    action_id = person.pk
    assert here.hand_over(action_id)
    assert began.wait(10)
    assert not here.hand_over(action_id)
    assert not here.drain(0)
    may_end.set()
    assert here.drain(10)
    assert here.hand_over(action_id)
    assert here.drain(10)


def test_what_has_no_room_is_left_for_later(person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messenger, "ROOM", 1)
    may_end = threading.Event()
    here = Messenger(lambda _: may_end.wait(10))
    monkeypatch.setattr(due, "_messenger", here)
    actions = [make_action(person) for _ in range(2)]
    assert due.reach_due() == 1
    may_end.set()
    assert here.drain(10)
    assert not any(map(is_reached, actions))


@pytest.mark.parametrize(
    ("error", "level"),
    [(ZeroDivisionError(), "ERROR"), (OperationalError("away"), "WARNING"), (Busy(), "WARNING")],
)
def test_a_failure_ends_no_thread(
    person: User,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    level: str,
) -> None:
    told: list[object] = []

    def tell(action_id: object) -> None:
        told.append(action_id)
        raise error

    released: list[str] = []
    monkeypatch.setattr(messenger, "release_connections", lambda: released.append("released"))
    before = len(reaching_threads())
    here = Messenger(tell)
    for _ in range(messenger.THREADS + 1):
        assert here.hand_over(person.pk)
        assert here.drain(10)
    assert len(told) == messenger.THREADS + 1
    assert len(released) == len(told)
    assert len(reaching_threads()) - before == messenger.THREADS
    assert {record.levelname for record in caplog.records} == {level}


# --- presence ---------------------------------------------------------------------------------


def test_a_page_in_front_is_written_down_seldom(person: User, django_assert_num_queries: Any) -> None:
    presence.forget(person.pk)
    presence.note_in_front(person.pk)
    with django_assert_num_queries(0):
        presence.note_in_front(person.pk)
    look(person, presence.FRONT_SECONDS + 1)
    assert not presence.in_front().exists()
    presence.forget(person.pk)
    presence.note_in_front(person.pk)
    assert presence.in_front().get().pk == person.pk


def test_a_note_that_was_not_stored_is_tried_again(person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    presence.forget(person.pk)

    def fail(user_id: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(presence, "_write", fail)
        with pytest.raises(ZeroDivisionError):
            presence.note_in_front(person.pk)
    presence.note_in_front(person.pk)
    assert presence.in_front().filter(pk=person.pk).exists()


def test_two_first_notes_at_once(person: User) -> None:
    assert race(*[lambda: presence._write(person.pk)] * 4) == [None] * 4
    assert Presence.objects.count() == 1
