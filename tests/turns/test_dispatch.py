"""Telling workers of a turn: what they are sent, and a broker that does not take it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from celery import current_app
from kombu.exceptions import OperationalError

from copilot import worker
from copilot.models import Turn
from copilot.tasks import run_turn
from copilot.turns import dispatch
from tests.factories import accept, hold, make_running, make_session
from tests.turns.racing import guarded

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was sent to the broker."""
    sent: list[Any] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **_: sent.append((name, args)))
    return sent


def test_workers_are_told_after_the_commit_by_an_id_alone(sent: list[Any]) -> None:
    """Processes of another version understand an id; everything else is in the row."""
    accepted = accept(make_session(), "hello")
    assert accepted.turn is not None
    assert sent == [("copilot.run_turn", [str(accepted.turn.id)])]


def test_workers_are_told_once_for_a_message_that_is_sent_again(sent: list[Any]) -> None:
    session = make_session()
    for _ in range(3):
        accept(session, "hello", client_id="c1")
    assert len(sent) == 1


def test_workers_are_not_told_of_a_message_that_waits(sent: list[Any]) -> None:
    holder = make_running()
    sent.clear()
    assert accept(holder.session, "and this?").queued
    assert sent == []
    next_turn = holder.finish()
    # Perhaps twice: as the next turn, and as the one that takes the slot which is free now.
    assert {args[0] for _, args in sent} == {str(next_turn)}


@pytest.mark.parametrize("error", [OperationalError("no broker"), ConnectionError("refused"), TimeoutError()])
def test_a_broker_that_is_away_loses_no_message(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    ran: list[int] = []
    monkeypatch.setattr(current_app, "send_task", fail)
    monkeypatch.setattr(dispatch, "_run", ran.append)
    accepted = accept(make_session(), "hello")
    assert accepted.turn is not None
    assert ran == [1], "a process that works takes it by itself"
    assert hold(Turn.objects.get(pk=accepted.turn.id)).turn.status == "running"


@guarded
def test_a_bug_in_telling_does_not_undo_the_message(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(current_app, "send_task", fail)
    session = make_session()
    if guarded:
        assert accept(session, "hello").turn is not None
    else:
        on_commit = dispatch.transaction.on_commit
        monkeypatch.setattr(dispatch.transaction, "on_commit", lambda tell, robust: on_commit(tell))
        with pytest.raises(RuntimeError):
            accept(session, "hello")
    assert Turn.objects.get().status == "queued"


def test_a_message_of_the_broker_that_comes_too_early_or_to_nobody_is_nothing() -> None:
    assert worker.current() is None
    run_turn(str(uuid.uuid4()))
