"""Follow-ups over a limit are held: shown with until when, sent when their person says so and there is room."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from pytest_django import Settings

from common.errors import UsageLimit
from copilot import objects, sweep
from copilot.diagnostics import invariants
from copilot.models import Message, Session, Turn, User
from copilot.turns import begin, finish
from copilot.turns.children import tell_parent
from copilot.turns.submit import deliver_queued
from copilot.usage.allowance import reset
from tests.factories import Holder, accept, events_of, fresh, hold, make_running, make_session, make_turn
from tests.usage.spending import counted, spend, untrue, use

pytestmark = pytest.mark.django_db
LIMIT = 1_000_000


@pytest.fixture(autouse=True)
def _limits(settings: Settings) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = LIMIT


@pytest.fixture
def session(user: User) -> Session:
    return make_session(user)


@pytest.fixture
def holder(session: Session) -> Holder:
    return make_running(session)


def states_of(holder: Holder) -> list[dict[str, Any]]:
    """Return what the turn's stream told of how things stand."""
    return [chunk["data"] for _, chunk in events_of(holder.turn) if chunk["type"] == "data-status"]


def test_what_waits_is_held_and_says_until_when(user: User, session: Session, holder: Holder) -> None:
    waiting = [accept(session, text, client_id=text).message for text in ("one", "two")]
    use(holder, LIMIT)
    assert holder.answer() is None
    assert states_of(holder) == [{"state": "waiting_limit", "reason": "daily"}]
    assert holder.turn.status == "completed"
    for position, message in enumerate(waiting, 1):
        shown = objects.message_object(fresh(message))
        assert (shown["held"], shown["position"], shown["waiting_for"]) == (True, position, "limit")
        assert shown["resets_at"].endswith("T00:00:00Z")
    again = accept(session, "two", client_id="two")
    assert (again.repeated, again.waiting_for, again.position) == (True, "limit", 2)
    assert not session.turns.live().exists()
    assert invariants.check() == []


def test_send_now_is_refused_until_there_is_room(user: User, session: Session, holder: Holder) -> None:
    message = accept(session).message
    use(holder, LIMIT)
    holder.answer()
    with pytest.raises(UsageLimit):
        deliver_queued(user=user, session_id=session.pk)
    assert fresh(message).held_until is not None
    reset(user, week=False)
    turn = deliver_queued(user=user, session_id=session.pk).turn
    assert turn is not None
    sent = fresh(message)
    assert (sent.state, sent.turn_id, sent.held, sent.held_until) == ("done", turn.pk, False, None)
    assert "waiting_for" not in objects.message_object(sent)
    assert untrue() == []


def test_with_room_it_goes_on_as_ever(session: Session, holder: Holder) -> None:
    accept(session)
    use(holder, LIMIT - 1)
    assert holder.answer() is not None
    assert states_of(holder) == []
    assert not Message.objects.filter(held=True).exists()
    assert untrue() == []


def test_what_the_turn_itself_still_reserved_is_no_reason(
    user: User, session: Session, settings: Settings
) -> None:
    """It gives that back with its end."""
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = 100
    holder = make_running(session)
    assert holder.turn.reserved > 100
    accept(session)
    assert holder.answer() is not None
    assert counted(user)["day"][2] == Turn.objects.live().get().reserved
    assert untrue() == []


def test_room_that_somebody_else_takes_in_the_last_moment_holds_it_too(
    user: User, session: Session, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = accept(session).message
    look = finish.refusal_of

    def overtaken(*args: Any, **kwargs: Any) -> Any:
        found = look(*args, **kwargs)
        spend(user, LIMIT)
        return found

    monkeypatch.setattr(finish, "refusal_of", overtaken)
    assert holder.answer() is None
    assert fresh(message).held_until is not None
    assert invariants.check() == []


def test_what_was_held_for_another_reason_is_not_held_for_the_limit(session: Session, holder: Holder) -> None:
    message = accept(session).message
    use(holder, LIMIT)
    holder.answer(ending=finish.failed("quota", "Nothing left."))
    held = fresh(message)
    assert (held.held, held.held_until) == (True, None)
    assert "waiting_for" not in objects.message_object(held)


@pytest.mark.parametrize("used", [LIMIT, LIMIT - 1], ids=["the person's", "of one turn"])
def test_what_waits_for_a_turn_that_a_limit_ended_says_until_when_it_is_held(
    session: Session, holder: Holder, used: int
) -> None:
    """That of a single turn holds nobody back afterwards: there is no time to tell."""
    message = accept(session).message
    use(holder, used)
    holder.answer(ending=finish.failed("usage_limit", "It is reached."))
    reached = used == LIMIT
    held = fresh(message)
    assert (held.held, held.held_until is not None) == (True, reached)
    assert ("waiting_for" in objects.message_object(held)) == reached
    assert states_of(holder) == ([{"state": "waiting_limit", "reason": "daily"}] if reached else [])
    assert invariants.check() == []


def test_code_that_knows_no_limit_can_deliver_what_is_held_for_one(session: Session, holder: Holder) -> None:
    """As during an update, or when it is taken back: it writes only the columns that it knows."""
    message = accept(session).message
    use(holder, LIMIT)
    holder.answer()
    Message.objects.filter(pk=message.pk).update(held=False)
    assert (fresh(message).held, fresh(message).held_until is not None) == (False, True)


def test_a_stray_that_the_sweep_finds_is_held(user: User, session: Session, holder: Holder) -> None:
    message = accept(session).message
    spend(user, LIMIT)
    Turn.objects.filter(pk=holder.turn.pk).delete()
    session.messages.exclude(pk=message.pk).delete()
    Session.objects.filter(pk=session.pk).update(head=None, next_seq=1)
    sweep.sweep([sweep.Rule(sweep._stranded_messages)])
    assert fresh(message).held_until is not None
    assert not session.turns.exists()


def test_the_end_of_a_child_is_told_with_the_next_message(user: User, session: Session, holder: Holder) -> None:
    holder.answer()
    below = {"parent": session, "parent_call": uuid.uuid4(), "depth": 1}
    child = Session.objects.create(user=user, updated_at=session.updated_at, **below)
    turn = make_turn(child)
    Turn.objects.filter(pk=turn.pk).update(parent=holder.turn, origin="child", owed=True)
    hold(fresh(turn)).answer()
    spend(user, LIMIT)
    assert tell_parent(turn.pk)
    [told] = session.messages.queued()
    assert (told.held, told.held_until is not None, str(child.pk) in told.text) == (True, True, True)
    assert not tell_parent(turn.pk), "once"
    assert not session.turns.live().exists()
    reset(user, week=True)
    answers = accept(session, "go on").turn
    assert answers is not None
    assert answers.messages.filter(role="user").count() == 2


def test_the_look_is_not_made_where_nothing_waits(
    session: Session, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "refusal_of", lambda *_, **__: pytest.fail("nothing waits"))
    monkeypatch.setattr(begin, "do_reserve", lambda *_: pytest.fail("nothing begins"))
    holder.answer()
