"""A person who is deleted leaves nothing, whatever there was; everybody else keeps everything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session as Login
from django.db import IntegrityError
from django.test import Client
from pytest_django import Settings

from approvals.models import AuditEntry
from common import db as database
from common import faults
from common.errors import Conflict, NotFound
from common.ids import new_id
from copilot.events.log import StaleTurn
from copilot.models import OperatorEntry, Session, Turn, TurnEvent, User
from copilot.retention import decision, deletion, leaving
from copilot.retention.decision import begin_deletion
from copilot.retention.deletion import Progress, being_deleted, go_on
from copilot.sweep import sweep
from linking.models import ServerLink, WebhookDelivery
from tests.approvals.waiting import turn_of, waiting
from tests.factories import backdate, make_running, make_session, make_turn
from tests.retention.lives import Life, everything, mentions, models, words_of
from tests.turns.racing import Between, guarded, race

pytestmark = pytest.mark.django_db
#: More than any deletion here takes: reaching it is a failure.
STEPS_MAX = 200


def delete(user: User) -> int:
    """Delete a person to the end; return in how many steps."""
    begin_deletion(user.pk, by=user, operated=False)
    for steps in range(STEPS_MAX):
        if go_on(user.pk) is Progress.DONE:
            return steps
    raise AssertionError("it does not come to an end")


def contents(data_dir: Path) -> list[str]:
    """What files hold."""
    return sorted(path.read_text() for path in data_dir.rglob("*") if path.is_file())


# --- nothing is left ------------------------------------------------------------------------------


def test_a_life_has_a_row_in_every_table_that_people_can_have_one_in(lives: tuple[Life, Life]) -> None:
    """The guard of the tests below: a table that comes later and is not filled here would not be looked at."""
    life, _ = lives
    filled = mentions(*words_of(life)).keys()
    nobodys = {
        "admin.LogEntry",
        "auth.Group",
        "auth.Group_permissions",
        "auth.Permission",
        "contenttypes.ContentType",
        "copilot.McpServer",
        "copilot.User_groups",
        "copilot.User_user_permissions",
        "copilot.Worker",
        "linking.Bot",
        "linking.BotKey",
        "linking.LinkToken",
        "linking.UserLink",  # as of servers
        "linking.Webhook",
    }
    by_id = {"copilot.Step", "copilot.TurnLog"}  # of a turn, and in nobody's words
    assert {model._meta.label for model in models()} - filled <= nobodys | by_id


def test_nothing_of_a_person_who_was_deleted_is_left(
    lives: tuple[Life, Life], django_capture_on_commit_callbacks: Any, data_dir: Path
) -> None:
    life, other = lives
    WebhookDelivery.objects.update(state="delivered", finished_at=life.turn.finished_at)
    turns = [str(pk) for pk in Turn.objects.filter(user=life.user).values_list("pk", flat=True)]
    with django_capture_on_commit_callbacks(execute=True):
        delete(life.user)
    left = mentions(*words_of(life), life.user.username, *turns)
    # What the bot is still to be told, once: that the place is its person's no more.
    assert left == {"linking.WebhookDelivery": 1}
    assert WebhookDelivery.objects.get(state="waiting").event == "link.removed"
    assert contents(data_dir) == [other.mark] * 3


def test_other_people_keep_everything(lives: tuple[Life, Life]) -> None:
    life, other = lives
    own = words_of(other)
    before = {
        label: [row for row in rows if any(word in row for word in own)] for label, rows in everything().items()
    }
    delete(life.user)
    after = {
        label: [row for row in rows if any(word in row for word in own)] for label, rows in everything().items()
    }
    assert after == before


def test_every_table_that_names_a_person_is_looked_at(lives: tuple[Life, Life]) -> None:
    """Also by its columns: no foreign key and no plain id leads to who is gone."""
    life, _ = lives
    delete(life.user)
    for model in models():
        for field in model._meta.concrete_fields:
            if field.get_internal_type() in ("UUIDField", "ForeignKey", "OneToOneField"):
                manager: Any = model._base_manager
                assert life.user.pk not in manager.values_list(field.attname, flat=True), f"{model}.{field.name}"


def test_what_was_approved_stays_as_nobodys(lives: tuple[Life, Life]) -> None:
    life, _ = lives
    kept = list(AuditEntry.objects.filter(user=life.user).values_list("pk", "at", "event", "tool", "decision"))
    assert kept
    delete(life.user)
    entries = AuditEntry.objects.filter(pk__in=[row[0] for row in kept])
    assert sorted(entries.values_list("pk", "at", "event", "tool", "decision")) == sorted(
        (pk, at, event, tool, decision) for pk, at, event, tool, decision in kept
    )
    for entry in entries:
        nothing = (entry.user, entry.actor, entry.text, entry.shown, entry.final, entry.session, entry.turn)
        assert nothing == (None, "", "", None, None, None, None)


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"event": "expired", "surface": "admin", "actor": "root"}, "root"),
        ({"event": "cancelled", "surface": "server", "actor": "root", "text": "operator"}, "root"),
        ({"event": "cancelled", "surface": "server", "actor": "ada", "text": "stopped"}, ""),
        ({"event": "decided", "surface": "web", "actor": "ada's former name", "text": "operator"}, ""),
        ({"event": "expired", "surface": "admin", "actor": "ada"}, ""),
        ({"event": "cancelled", "surface": "server", "actor": "ada", "text": "operator"}, ""),
    ],
)
def test_operators_stay_named_and_the_person_does_not(user: User, about: dict[str, str], named: str) -> None:
    """Also where the person was an operator."""
    AuditEntry.objects.create(user=user, **about)
    delete(user)
    assert AuditEntry.objects.get().actor == named


def test_an_entry_of_nobody_cannot_say_what_somebody_wrote(lives: tuple[Life, Life]) -> None:
    life, _ = lives
    entries = AuditEntry._base_manager.filter(user=life.user)
    with pytest.raises(IntegrityError, match="audit_of_nobody_tells_nothing"):
        entries.update(user=None)


# --- how it goes ----------------------------------------------------------------------------------


def test_from_the_first_moment_on_nobody_comes_in(lives: tuple[Life, Life]) -> None:
    life, _ = lives
    assert life.client.get("/").status_code == 200
    begin_deletion(life.user.pk, by=life.user, operated=False)
    assert life.client.get("/").status_code == 302
    user = User.objects.get(pk=life.user.pk)
    assert (user.is_active, user.has_usable_password()) == (False, False)


def test_an_account_that_is_being_deleted_cannot_be_activated(user: User) -> None:
    begin_deletion(user.pk, by=user, operated=False)
    with pytest.raises(IntegrityError):
        User.objects.filter(pk=user.pk).update(is_active=True)


def test_begun_twice_it_is_one(user: User, operator: User) -> None:
    begin_deletion(user.pk, by=operator, operated=True)
    since = User.objects.get(pk=user.pk).deleting_at
    begin_deletion(user.pk, by=operator, operated=True)
    assert User.objects.get(pk=user.pk).deleting_at == since
    assert OperatorEntry.objects.filter(action="delete_user").count() == 1


def test_nobody_is_deleted_who_is_not_marked(lives: tuple[Life, Life]) -> None:
    life, _ = lives
    before = everything()
    assert go_on(life.user.pk) is Progress.DONE
    assert (everything(), being_deleted(9)) == (before, [])


def test_somebody_unknown_is_not_found() -> None:
    with pytest.raises(NotFound):
        begin_deletion(new_id(), by=None, operated=True)
    assert go_on(new_id()) is Progress.DONE


def test_the_sweep_goes_on_with_whoever_is_marked(lives: tuple[Life, Life]) -> None:
    life, _ = lives
    begin_deletion(life.user.pk, by=life.user, operated=False)
    for _ in range(STEPS_MAX):
        if not User.objects.filter(pk=life.user.pk).exists():
            break
        sweep()
    assert not mentions(str(life.user.pk), life.user.pk.hex)


def test_one_pass_of_the_sweep_takes_its_time_and_no_more(
    lives: tuple[Life, Life], monkeypatch: pytest.MonkeyPatch
) -> None:
    life, _ = lives
    begin_deletion(life.user.pk, by=life.user, operated=False)
    go_on(life.user.pk)  # what ran is stopped
    monkeypatch.setattr(leaving, "SECONDS", 0.0)
    assert leaving.leaving_people() == 1


def test_somebody_whose_turn_does_not_end_keeps_nobody_else_waiting(user: User, other_user: User) -> None:
    make_running(make_session(user))
    for each in (user, other_user):
        begin_deletion(each.pk, by=each, operated=False)
    for _ in range(9):
        leaving.leaving_people()
    assert list(User.objects.values_list("pk", flat=True)) == [user.pk]


def test_logins_are_read_a_few_at_a_time_and_each_once(
    user: User, make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody's have to be read to find a person's: recovery must not wait for that."""
    monkeypatch.setattr(deletion, "LOGINS_AT_ONCE", 2)
    for _ in range(3):
        Client().force_login(user)
    others = [make_user(username=f"other-{number}") for number in range(4)]
    for other in others:
        Client().force_login(other)
    begin_deletion(user.pk, by=user, operated=False)
    read = [deletion._log_out(user) for _ in range(5)]
    assert read == [2, 2, 2, 1, 0]
    left = {login.get_decoded()[SESSION_KEY] for login in Login.objects.all()}
    assert left == {str(other.pk) for other in others}
    assert go_on(user.pk) is Progress.DONE
    assert user.pk not in deletion._logins_read


# --- what runs ------------------------------------------------------------------------------------


def test_what_runs_is_stopped_first_and_taken_from_a_worker_that_does_not_answer(user: User) -> None:
    holder = make_running(make_session(user), "Go on and on.")
    holder.begin()
    begin_deletion(user.pk, by=user, operated=False)
    assert go_on(user.pk) is Progress.WAITING
    turn = holder.turn
    assert (turn.status, turn.stop_requested_at is not None) == ("running", True)
    assert go_on(user.pk) is Progress.WAITING, "it has some seconds to end by itself"
    backdate(turn, stop_requested_at=timedelta(seconds=6))
    assert delete(user) > 0
    assert not TurnEvent.objects.exists()


def test_a_worker_that_comes_back_finds_nothing_to_write_to(user: User) -> None:
    holder = make_running(make_session(user))
    holder.begin()
    begin_deletion(user.pk, by=user, operated=False)
    go_on(user.pk)
    backdate(holder.turn, stop_requested_at=timedelta(seconds=6))
    delete(user)
    with pytest.raises(StaleTurn):
        holder.step("calculator")
    # The log takes deltas of any worker, as it is guarded by its own order alone; nobody reads these.
    holder.say("Late.")
    sweep()
    assert not TurnEvent.objects.exists()
    assert not mentions(str(user.pk), user.pk.hex)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("status", ["queued", "requires_action"])
def test_what_waits_is_ended_at_once_whoever_asked_for_it_before(user: User, status: str, asked: bool) -> None:
    session = make_session(user)
    turn = make_turn(session) if status == "queued" else turn_of(waiting(session=session))
    if asked:
        Turn.objects.filter(pk=turn.pk).update(stop_requested_at=turn.created_at, stop_reason="operator")
    begin_deletion(user.pk, by=user, operated=False)
    assert go_on(user.pk) is Progress.MORE
    assert not Turn.objects.exists()


# --- crashes, races and refusals ------------------------------------------------------------------


class Crash(BaseException):
    """The process dies."""


def crash() -> None:
    raise Crash


def test_a_crash_between_any_two_steps_leaves_less_to_do(lives: tuple[Life, Life]) -> None:
    life, _ = lives
    begin_deletion(life.user.pk, by=life.user, operated=False)
    go_on(life.user.pk)
    faults.arm("person_step", crash)
    crashes = 0
    for _ in range(STEPS_MAX):
        try:
            if go_on(life.user.pk) is Progress.DONE:
                break
        except Crash:
            crashes += 1
            assert being_deleted(1) == [life.user.pk], "whoever comes next knows of it"
    assert crashes > 5
    assert not mentions(str(life.user.pk), life.user.pk.hex)


def test_the_last_superuser_stays(operator: User, make_user: Callable[..., User]) -> None:
    with pytest.raises(Conflict, match="last active superuser"):
        begin_deletion(operator.pk, by=operator, operated=False)
    assert User.objects.get(pk=operator.pk).is_active
    make_user(username="second", is_superuser=True)
    begin_deletion(operator.pk, by=operator, operated=False)
    assert not User.objects.get(pk=operator.pk).is_active


def test_a_superuser_who_cannot_log_in_is_none(operator: User, make_user: Callable[..., User]) -> None:
    make_user(username="away", is_superuser=True, is_active=False)
    with pytest.raises(Conflict):
        begin_deletion(operator.pk, by=operator, operated=False)


def _look_without_a_lock() -> list[User]:
    return list(decision._chiefs())


@guarded
@pytest.mark.django_db(transaction=True)
def test_of_two_last_superusers_who_go_at_once_one_stays(
    guarded: bool, operator: User, make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one has seen that there is another; before it goes, that one goes too."""
    second = make_user(username="second", is_superuser=True)
    look, between = decision._lock_chiefs, Between()
    if not guarded:
        monkeypatch.setattr(database, "_transaction", nullcontext)
        look = _look_without_a_lock
    monkeypatch.setattr(decision, "_lock_chiefs", between.after(look))
    first_goes, second_goes = (
        partial(begin_deletion, pk, by=None, operated=False) for pk in (operator.pk, second.pk)
    )
    outcomes = race(first_goes, between.other(second_goes))
    left = User.objects.filter(is_superuser=True, is_active=True).count()
    assert left == (1 if guarded else 0)
    assert [type(outcome).__name__ for outcome in outcomes] == ["NoneType", "Conflict" if guarded else "NoneType"]


@pytest.mark.django_db(transaction=True)
def test_a_request_that_was_under_way_cannot_keep_the_account(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes a session after the last look: then that one goes too."""
    begin_deletion(user.pk, by=user, operated=False)
    forget = deletion._do_forget
    came = []

    def late(person: User) -> bool:
        if not came:
            came.append(make_session(person))
        return forget(person)

    monkeypatch.setattr(deletion, "_do_forget", late)
    assert go_on(user.pk) is Progress.MORE
    while go_on(user.pk) is not Progress.DONE:
        pass
    assert not Session.objects.exists()
    assert not User.objects.filter(pk=user.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_two_who_delete_the_same_person_at_once_do_it_once(lives: tuple[Life, Life]) -> None:
    life, other = lives
    begin_deletion(life.user.pk, by=life.user, operated=False)

    def run() -> None:
        for _ in range(STEPS_MAX):
            if go_on(life.user.pk) is Progress.DONE:
                return

    assert race(run, run) == [None, None]
    assert not User.objects.filter(pk=life.user.pk).exists()
    assert Session.objects.filter(user=other.user).count() == 3


def test_a_linked_place_is_free_again(lives: tuple[Life, Life], client: Client, settings: Settings) -> None:
    life, other = lives
    delete(life.user)
    assert list(ServerLink.objects.values_list("owner", flat=True)) == [other.user.pk]
