"""A session that changes while it is read: what is shown was never wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from copilot import selectors
from copilot.models import Session
from tests.api.conftest import Api
from tests.factories import Holder, accept, make_running, make_turn
from tests.turns.racing import guarded

pytestmark = pytest.mark.django_db

READS = ("active_turn", "queued_of", "messages_page")


def amid(monkeypatch: pytest.MonkeyPatch, read: str, act: Callable[[], object], *, before: bool) -> None:
    """Have something happen just before, or just after, one of the reads."""
    call = getattr(selectors, read)
    done: list[bool] = []

    def run(*args: Any, **kwargs: Any) -> Any:
        if before and not done:
            done.append(True)
            act()
        found = call(*args, **kwargs)
        if not done:
            done.append(True)
            act()
        return found

    monkeypatch.setattr(selectors, read, run)


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("before", [True, False])
def test_a_turn_is_never_shown_without_the_message_it_answers(
    api: Api, session: Session, read: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    amid(monkeypatch, read, lambda: make_turn(session), before=before)
    shown = api.get(f"sessions/{session.id}").json()
    if shown["active_turn"] is not None:
        assert [message["turn"] for message in shown["messages"]] == [shown["active_turn"]["id"]]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("before", [True, False])
def test_a_message_that_is_delivered_meanwhile_is_shown(
    api: Api, session: Session, read: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be shown in both places, under one id; it must not be in neither."""
    holder: Holder = make_running(session)
    waiting = accept(session, "and this?").message
    amid(monkeypatch, read, holder.finish, before=before)
    shown = api.get(f"sessions/{session.id}").json()
    assert str(waiting.id) in [message["id"] for message in shown["queued"] + shown["messages"]]


@guarded
def test_what_waits_is_read_before_what_was_said(
    api: Api, session: Session, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two before hold by the order of the reads; in another order a message that moves is missed."""
    holder: Holder = make_running(session)
    waiting = accept(session, "and this?").message
    said = selectors.messages_page(session)
    if guarded:
        amid(monkeypatch, "messages_page", holder.finish, before=True)
    else:
        monkeypatch.setattr(selectors, "messages_page", lambda session: said)
        amid(monkeypatch, "queued_of", holder.finish, before=True)
    shown = api.get(f"sessions/{session.id}").json()
    ids = [message["id"] for message in shown["queued"] + shown["messages"]]
    assert (str(waiting.id) in ids) is guarded
