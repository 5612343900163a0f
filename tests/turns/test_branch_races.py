"""Two at once, one of whom rewrites: one wins, and the branch that is shown stays one.

Each race is also run with its guard taken away, and must then go wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError

from common.errors import Conflict
from copilot.diagnostics.invariants import check
from copilot.models import Message, Session, Turn
from copilot.turns import branches
from copilot.turns.branches import edit_message, regenerate, show_branch
from tests.factories import accept, answer_of, fresh, hold, make_running
from tests.turns.racing import Between, guarded, race

pytestmark = pytest.mark.django_db(transaction=True)


def answered() -> tuple[Session, Message]:
    """Return a session with one question, which was answered."""
    holder = make_running()
    holder.answer("A")
    session = holder.session
    return session, session.messages.get(role="user")


def edit(message: Message, text: str = "b", **over: Any) -> Any:
    return edit_message(user=message.session.user, message_id=message.id, text=text, **over)


def codes(outcomes: list[Any]) -> list[str]:
    return [each.error_code for each in outcomes if isinstance(each, Conflict)]


@guarded
def test_of_two_edits_at_once_one_wins(
    guarded: bool, between: Between, no_locks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, message = answered()
    monkeypatch.setattr(branches, "_first_asked_with", between.after(branches._first_asked_with))
    if not guarded:
        no_locks()
    outcomes = race(lambda: edit(message, "b"), between.other(lambda: edit(message, "c")))
    if guarded:
        assert codes(outcomes) == ["session_busy"]
        assert check() == []
    else:
        assert any(isinstance(each, IntegrityError) for each in outcomes), "the constraints are the net"
    assert Turn.objects.live().count() == 1


@guarded
def test_a_message_sent_while_another_is_edited_waits_for_its_answer(
    guarded: bool, between: Between, no_locks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, message = answered()
    monkeypatch.setattr(branches, "_first_asked_with", between.after(branches._first_asked_with))
    if not guarded:
        no_locks()
    edited, sent = race(lambda: edit(message), between.other(lambda: accept(session, "c")))
    if guarded:
        assert not edited.queued
        assert sent.queued
        assert check() == []
    else:
        assert isinstance(edited, IntegrityError)


def test_an_edit_that_comes_after_a_message_is_refused() -> None:
    session, message = answered()
    outcomes = race(*[lambda: edit(message, "b"), lambda: accept(session, "c")] * 2)
    won = [each for each in outcomes if not isinstance(each, Conflict)]
    assert codes(outcomes) in (["session_busy"], ["session_busy"] * 2)
    assert sum(not each.queued for each in won) == 1
    assert check() == []


def test_an_edit_sent_twice_at_once_is_accepted_once() -> None:
    session, message = answered()
    outcomes = race(*[lambda: edit(message, client_id="e")] * 4)
    assert len({each.message.pk for each in outcomes}) == 1
    assert sorted(each.repeated for each in outcomes) == [False, True, True, True]
    assert session.turns.count() == 2
    assert check() == []


def test_another_answer_asked_for_twice_at_once_is_begun_once() -> None:
    session, _ = answered()
    outcomes = race(*[lambda: regenerate(user=session.user, session_id=session.id, client_id="r")] * 4)
    assert len({each.turn.pk for each in outcomes}) == 1
    assert sorted(each.repeated for each in outcomes) == [False, True, True, True]
    assert check() == []


@guarded
def test_two_branches_shown_at_once_leave_one(
    guarded: bool, between: Between, no_locks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, message = answered()
    for text in ("b", "c"):
        hold(edit(fresh(session).messages.filter(role="user", shown=True).get(), text).turn).answer(text.upper())
    first, second, _ = session.messages.filter(role="user").order_by("seq")
    monkeypatch.setattr(branches, "_shown_in", between.after(branches._shown_in))
    if not guarded:
        no_locks()

    def show(which: Message) -> Any:
        return show_branch(user=session.user, session_id=session.id, message_id=which.id)

    outcomes = race(lambda: show(first), between.other(lambda: show(second)))
    if guarded:
        assert not [each for each in outcomes if isinstance(each, Exception)]
        shown = set(session.messages.filter(shown=True).values_list("pk", flat=True))
        assert shown == {second.pk, answer_of(second.turn).pk}  # type: ignore[arg-type, union-attr]
        assert check() == []
    else:
        assert [type(each) for each in outcomes][:1] == [IntegrityError], "the constraint is the net"
    assert message.pk == first.pk
