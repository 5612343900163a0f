"""Two come for a turn at once: one gets it. As in ``test_races``, without its guard each race goes wrong."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from common import db as database
from copilot.models import Session, Turn
from copilot.models.session import SessionQuerySet
from copilot.turns import claim as claiming
from tests.factories import claim_next, make_session, make_turn, make_user
from tests.turns.racing import guarded, meet, race

pytestmark = pytest.mark.django_db(transaction=True)


@guarded
def test_a_turn_is_claimed_by_one(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = make_turn()
    meet(monkeypatch, claiming, "_candidates")
    if not guarded:
        unguarded = claiming._TAKE.replace("AND status = 'queued'", "")
        assert unguarded != claiming._TAKE
        monkeypatch.setattr(claiming, "_TAKE", unguarded)
        monkeypatch.setattr(SessionQuerySet, "select_for_update", lambda self, **_: self)
    claims = race(*[lambda: claim_next(uuid.uuid4())] * 2)
    assert len([claim for claim in claims if isinstance(claim, claiming.Claim)]) == (1 if guarded else 2)
    if guarded:
        assert Turn.objects.get(pk=turn.pk).fence == 1


def test_a_turn_whose_session_is_locked_for_a_moment_is_not_left_waiting() -> None:
    """A second message may hold the session's lock just when the worker comes for the first one."""
    turn = make_turn()
    locked, may_end = threading.Event(), threading.Event()

    @database.transact
    def busy() -> None:
        Session.objects.locked().get(pk=turn.session_id)
        locked.set()
        may_end.wait(claiming.ROUNDS * claiming.ROUND_SECONDS / 3)

    def claim() -> Any:
        assert locked.wait(10)
        return claim_next(uuid.uuid4())

    _, found = race(busy, claim)
    assert isinstance(found, claiming.Claim)


def test_others_do_not_wait_for_a_locked_session() -> None:
    make_turn()
    free = make_turn()
    locked, may_end = threading.Event(), threading.Event()

    @database.transact
    def busy() -> None:
        Session.objects.locked().get(pk=Turn.objects.exclude(pk=free.pk).get().session_id)
        locked.set()
        may_end.wait(1)

    def claim() -> Any:
        assert locked.wait(10)
        try:
            return claim_next(uuid.uuid4())
        finally:
            may_end.set()

    if connection.vendor == "postgresql":  # SQLite has one writer
        _, found = race(busy, claim)
        assert found.turn_id == free.id


@guarded
def test_two_workers_do_not_both_take_a_persons_last_slot(
    guarded: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user()
    for _ in range(2):
        make_turn(make_session(user))
    candidates = claiming._candidates(2)
    settings.TURNS_PER_USER_MAX = 1
    # Each looks at another turn first, so that nothing but the count keeps them apart.
    views = [candidates, candidates[::-1]]
    monkeypatch.setattr(claiming, "_candidates", lambda *_, **__: views.pop() if views else [])
    if not guarded:
        monkeypatch.setattr(claiming, "_slots_left", lambda user_ids: dict.fromkeys(user_ids, 1))
    claims = race(*[lambda: claim_next(uuid.uuid4())] * 2)
    assert not [claim for claim in claims if isinstance(claim, Exception)]
    running = Turn.objects.filter(status="running").count()
    assert (running == 1) is guarded


@pytest.mark.scaled
@guarded
def test_running_turns_are_counted_under_the_persons_lock(
    guarded: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has counted before either claims, unless the lock keeps the second from counting."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer: its transactions never overlap")
    user = make_user()
    for _ in range(2):
        make_turn(make_session(user))
    candidates = claiming._candidates(2)
    settings.TURNS_PER_USER_MAX = 1
    views = [candidates[:1], candidates[1:]]
    monkeypatch.setattr(claiming, "_candidates", lambda *_, **__: views.pop() if views else [])
    if not guarded:
        running = Turn.objects.filter(status="running", user=user)
        monkeypatch.setattr(claiming, "_slots_left", lambda users: dict.fromkeys(users, 1 - running.count()))
    meet(monkeypatch, claiming, "_slots_left")
    race(*[lambda: claim_next(uuid.uuid4())] * 2)
    assert Turn.objects.filter(status="running").count() == (1 if guarded else 2)
