"""Temporary sessions: named by nobody but the person, and gone some time after their last turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from copilot import sweep as sweeping
from copilot.models import Message, Session, Turn, TurnEvent, User
from copilot.sweep import sweep
from copilot.turns import sessions
from copilot.turns.finish import failed, finish_held
from copilot.turns.sessions import delete_expired_session, delete_session, forget_deleted_turn
from copilot.workspaces import workspace_of
from tests.factories import accept, backdate, fresh, make_running, make_session, make_turn
from tests.turns.racing import Between, guarded, race

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def session() -> Session:
    return make_session(temporary=True)


def age(session: Session, by: timedelta) -> None:
    """Have everything in a session have happened so long ago."""
    moment = timezone.now() - by
    Session.objects.filter(pk=session.pk).update(created_at=moment, updated_at=moment)
    session.turns.update(created_at=moment)
    session.turns.filter(finished_at__isnull=False).update(finished_at=moment)


def exists(session: Session) -> bool:
    return Session.objects.filter(pk=session.pk).exists()


# --- no title ------------------------------------------------------------------------------------


def test_its_first_message_does_not_name_it(session: Session) -> None:
    accept(session, "Plan a surprise party")
    assert (fresh(session).title, fresh(session).title_source) == ("", "auto")


@pytest.mark.parametrize(("temporary", "title"), [(True, ""), (False, "A party")])
def test_a_model_does_not_name_it(temporary: bool, title: str) -> None:
    holder = make_running(make_session(temporary=temporary))
    holder.begin()
    holder.say("Sure.")
    holder.write(finish_held, session_id=holder.claim.session_id, ending=failed("auth", "No."), title="A party")
    assert holder.session.title == title


def test_its_person_may_name_it() -> None:
    session = make_session(temporary=True, title="Mine")
    accept(session, "hello")
    assert fresh(session).title == "Mine"


# --- the end -------------------------------------------------------------------------------------


def test_a_day_after_its_last_turn_it_is_deleted_with_all_that_is_in_it(session: Session) -> None:
    holder = make_running(session)
    holder.answer()
    age(session, DAY - MINUTE)
    assert "expired_sessions" not in sweep()
    assert exists(session)
    age(session, DAY + MINUTE)
    assert sweep()["expired_sessions"] == 1
    assert not exists(session)
    assert (Message.objects.count(), Turn.objects.count(), TurnEvent.objects.count()) == (0, 0, 0)


def test_the_last_of_its_turns_counts(session: Session) -> None:
    for _ in range(2):
        make_running(session).answer()
    age(session, 3 * DAY)
    last = session.turns.order_by("created_at").last()
    assert last is not None
    backdate(last, finished_at=DAY - MINUTE)
    sweep()
    assert exists(session)
    backdate(last, finished_at=DAY + MINUTE)
    sweep()
    assert not exists(session)


def test_the_end_of_a_turn_counts_and_not_what_was_done_since(session: Session) -> None:
    make_running(session).answer()
    age(session, DAY + MINUTE)
    Session.objects.filter(pk=session.pk).update(updated_at=timezone.now())
    sweep()
    assert not exists(session)


def test_one_that_was_never_used_goes_a_day_after_its_creation(session: Session) -> None:
    age(session, DAY - MINUTE)
    sweep()
    assert exists(session)
    age(session, DAY + MINUTE)
    sweep()
    assert not exists(session)


@pytest.mark.parametrize("status", ["queued", "running", "requires_action"])
def test_while_a_turn_is_live_it_stays(session: Session, status: str) -> None:
    make_running(session).answer()
    age(session, 9 * DAY)
    turn = make_running(session).turn if status == "running" else make_turn(session)
    if status == "requires_action":
        Turn.objects.filter(pk=turn.pk).update(status=status, action_id=turn.pk)
    backdate(turn, created_at=9 * DAY)
    Session.objects.filter(pk=session.pk).update(updated_at=timezone.now() - 9 * DAY)
    sweeping._expired_sessions()
    assert exists(session)


def test_others_stay(user: User) -> None:
    kept = make_session(user)
    make_running(kept).answer()
    age(kept, 999 * DAY)
    sweep()
    assert exists(kept)


def test_how_long_is_a_setting(session: Session, settings: Settings) -> None:
    settings.TEMPORARY_SESSION_SECONDS = 60
    age(session, 2 * MINUTE)
    sweep()
    assert not exists(session)


@pytest.mark.django_db(transaction=True)
@guarded
def test_a_message_that_comes_while_it_is_deleted_is_not_deleted_with_it(
    guarded: bool, between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep has found it due; before it takes the lock, its person goes on talking."""
    session = make_session(temporary=True)
    age(session, 2 * DAY)
    monkeypatch.setattr(sweeping, "expired_sessions", between.after(sessions.expired_sessions))
    if not guarded:
        monkeypatch.setattr(sessions, "_expired", lambda seconds: Session.objects.all())
    removed, accepted = race(sweeping._expired_sessions, between.other(lambda: accept(session)))
    assert not isinstance(accepted, Exception)
    assert (removed, exists(session)) == ((0, True) if guarded else (1, False))


# --- its files -----------------------------------------------------------------------------------


def write_file(session: Session) -> Path:
    """Leave a file in a session's folder, as its tools do."""
    folder = workspace_of(session.pk)
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "notes.txt").write_text("secret")
    return folder


def test_its_files_go_after_the_commit(session: Session, django_capture_on_commit_callbacks: Any) -> None:
    folder = write_file(session)
    age(session, 2 * DAY)
    with django_capture_on_commit_callbacks(execute=True):
        sweep()
        assert folder.exists(), "the deletion may still be rolled back"
    assert not folder.exists()


def test_any_deleted_session_takes_its_files_along(
    user: User, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    session, other = make_session(user), make_session(user)
    folder, kept = write_file(session), write_file(other)
    with django_capture_on_commit_callbacks(execute=True):
        delete_session(user=user, session_id=session.id)
    assert (folder.exists(), kept.exists()) == (False, True)


def test_what_a_tool_writes_before_it_hears_of_the_deletion_goes_too(
    user: User, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    holder = make_running(make_session(user))
    session, turn_id = holder.session, holder.claim.turn_id
    with django_capture_on_commit_callbacks(execute=True):
        forget_deleted_turn(turn_id, session.id)
    kept = write_file(session)
    with django_capture_on_commit_callbacks(execute=True):
        delete_session(user=user, session_id=session.id)
    folder = write_file(session)
    assert folder == kept
    with django_capture_on_commit_callbacks(execute=True):
        forget_deleted_turn(turn_id, session.id)
    assert not folder.exists()


def test_a_folder_that_cannot_be_removed_does_not_keep_the_session(
    session: Session, django_capture_on_commit_callbacks: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = workspace_of(session.pk)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file in its place")
    age(session, 2 * DAY)
    with django_capture_on_commit_callbacks(execute=True):
        sweep()
    assert not exists(session)
    assert "workspace not removed" in caplog.text
    folder.unlink()


def test_one_that_is_used_again_stays_whatever_else_is_due(session: Session) -> None:
    """The sweep found both; one got a message before its turn came."""
    due, used = make_session(temporary=True), session
    for each in (due, used):
        age(each, 2 * DAY)
    make_turn(used)
    assert delete_expired_session(used.pk, DAY.total_seconds()) is False
    assert exists(used)
    assert delete_expired_session(due.pk, DAY.total_seconds()) is True
