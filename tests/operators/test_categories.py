"""The categories show what is really in trouble: by lease, place in the queue and running time, not by age."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from approvals.models import Action
from copilot.diagnostics.categories import CATEGORIES, counts, rows_of
from copilot.diagnostics.invalid import KINDS, invalid_turns
from copilot.models import Turn
from tests.factories import backdate, fresh
from tests.operators import troubles
from tests.operators.troubles import HOUR

pytestmark = pytest.mark.django_db

SHOWN = {
    "running": {"fresh", "orphan", "long"},
    "queued": {"queued", "stuck"},
    "waiting": {"asking"},
    "orphaned": {"orphan"},
    "failed": {"failed"},
    "long_running": {"long"},
    "stuck_queued": {"stuck"},
    "invalid": set(),
}
ACTIONS = {
    "running": {"stop"},
    "queued": {"stop", "requeue"},
    "waiting": {"stop"},
    "orphaned": {"stop", "cleanup"},
    "failed": set(),
    "long_running": {"stop"},
    "stuck_queued": {"stop", "requeue", "cleanup"},
    "invalid": set(),
}


def test_categories_come_in_the_order_of_the_contract() -> None:
    assert list(CATEGORIES) == list(SHOWN)


def test_each_category_allows_what_can_help_and_nothing_else() -> None:
    assert {name: set(category.actions) for name, category in CATEGORIES.items()} == ACTIONS


def test_each_category_shows_what_really_is_in_it() -> None:
    turns = troubles.one_of_each()
    names = {turn.pk: name for name, turn in turns.items()}
    shown = {name: {names[turn.pk] for turn in rows_of(name)} for name in CATEGORIES}
    assert shown == SHOWN
    assert counts() == {name: len(found) for name, found in SHOWN.items()}


def test_a_category_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError):
        rows_of("zombies")


def test_no_age_makes_a_turn_an_orphan_while_its_worker_is_alive() -> None:
    turn = troubles.long_running(hours=100)
    backdate(turn, created_at=100 * HOUR)
    assert not rows_of("orphaned").exists()


def test_a_lease_that_ran_out_makes_an_orphan_of_the_youngest_turn(settings: Any) -> None:
    turn = troubles.running().turn
    backdate(turn, heartbeat_at=timedelta(seconds=settings.TURN_LEASE_SECONDS + 1))
    assert list(rows_of("orphaned")) == [turn]


def test_pauses_are_not_running_time() -> None:
    """It began four days ago, and has run for two hours."""
    turn = troubles.long_running(hours=2)
    backdate(turn, started_at=100 * HOUR)
    assert not rows_of("long_running").exists()


def test_earlier_stretches_are_running_time() -> None:
    turn = troubles.long_running(hours=2)
    Turn.objects.filter(pk=turn.pk).update(running_ms=23 * 3600 * 1000)
    assert list(rows_of("long_running")) == [turn]


def test_a_turn_that_was_queued_again_waits_from_then_on() -> None:
    turn = troubles.stuck(hours=48)
    backdate(turn, queued_at=timedelta(minutes=1))
    assert not rows_of("stuck_queued").exists()


@pytest.mark.parametrize(("name", "setting"), [("long_running", "LONG_RUNNING"), ("stuck_queued", "STUCK_QUEUED")])
def test_a_setting_says_how_long_is_too_long(name: str, setting: str, settings: Any) -> None:
    troubles.one_of_each()
    setattr(settings, f"DIAG_{setting}_SECONDS", 1_000_000)
    assert not rows_of(name).exists()


def test_failed_turns_are_those_of_the_look_back_newest_first() -> None:
    older, newer = troubles.failure(30 * HOUR), troubles.failure(HOUR)
    assert list(rows_of("failed")) == [newer]
    assert list(rows_of("failed", hours=48)) == [newer, older]
    assert (counts()["failed"], counts(hours=48)["failed"]) == (1, 2)


# --- what must not be -------------------------------------------------------------------------

Break = Callable[[], Turn]
NOW = timezone.now()


def broken(make: Callable[[], Turn], **columns: Any) -> Break:
    """Return what makes a turn and spoils it."""

    def make_it() -> Turn:
        turn = make()
        troubles.spoil(turn, **columns)
        return turn

    return make_it


def asking_for_nothing() -> Turn:
    """A turn whose question is gone, as when somebody deleted its row."""
    turn = troubles.asking()
    Action.objects.filter(pk=turn.action_id).delete()
    return turn


def running() -> Turn:
    return troubles.running().turn


IMPOSSIBLE: list[tuple[str, Break]] = [
    ("unknown_status", broken(troubles.ended, status="lost")),
    ("queued_with_start", broken(troubles.stuck, started_at=NOW)),
    ("running_without_start", broken(running, started_at=None)),
    ("running_without_start", broken(running, claimed_at=None)),
    ("running_without_worker", broken(running, worker=None)),
    ("running_without_worker", broken(running, heartbeat_at=None)),
    ("held_without_running", broken(troubles.stuck, worker=uuid.uuid4())),
    ("held_without_running", broken(troubles.ended, heartbeat_at=NOW)),
    ("asking_without_waiting", broken(running, action_id=uuid.uuid4())),
    ("ended_without_end", broken(troubles.ended, finished_at=None)),
    ("ended_without_end", broken(troubles.failure, outcome=None)),
    ("ended_without_end", broken(troubles.ended, last_seq=None)),
    ("live_with_end", broken(running, finished_at=NOW)),
    ("live_with_end", broken(troubles.stuck, outcome="stop")),
    ("waiting_for_nothing", asking_for_nothing),
    ("waiting_for_nothing", broken(troubles.asking, action_id=None)),
]


@pytest.mark.parametrize(("kind", "make"), IMPOSSIBLE)
def test_what_must_not_be_is_shown_by_its_kind(kind: str, make: Break) -> None:
    with troubles.past_the_constraints():
        turn = make()
        assert list(rows_of("invalid")) == [turn]
        assert kind in {name for name, condition in KINDS.items() if invalid_turns().filter(condition).exists()}


def test_every_kind_was_tried() -> None:
    assert {kind for kind, _ in IMPOSSIBLE} == set(KINDS)


def test_a_turn_that_was_handed_back_may_have_started() -> None:
    holder = troubles.running()
    holder.hand_back()
    assert fresh(holder.turn).started_at is not None
    assert not rows_of("invalid").exists()
