"""The branches of a conversation: messages that are held meanwhile, the way back, and sessions from before."""

from __future__ import annotations

import importlib
import uuid
from typing import Any

import pytest
from django.apps import apps

from common.errors import NotFound
from copilot import selectors
from copilot.diagnostics.invariants import check
from copilot.models import Message, Session, Turn, User
from copilot.turns.branches import show_branch
from copilot.turns.finish import failed
from copilot.turns.submit import deliver_queued
from tests.factories import accept, answer_of, fresh, hold, make_running, make_session, make_user
from tests.turns.conversation import again, answered, edit, say, seen_by_model, show, shown, siblings, stop

pytestmark = pytest.mark.django_db


@pytest.fixture
def session(user: User) -> Session:
    return make_session(user)


# --- held messages ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["edit", "again"])
def test_what_is_held_stays_held_and_goes_along_with_the_next_message(session: Session, how: str) -> None:
    question = accept(session, "a")
    holder = hold(question.turn)  # type: ignore[arg-type]
    accept(session, "h1")
    accept(session, "h2")
    holder.answer("A", failed("auth", "No."))
    result = edit(fresh(question.message), "b") if how == "edit" else again(session)
    answered(result, "B")
    assert not session.turns.live().exists(), "nothing is sent that nobody asked to send"
    assert [message.text for message in session.messages.queued().filter(held=True)] == ["h1", "h2"]
    sent = accept(session, "c")
    assert seen_by_model(sent.turn)[-3:] == ["> h1", "> h2", "> c"]
    assert check() == []


def test_what_is_held_goes_along_with_a_message_that_waited(session: Session) -> None:
    question = accept(session, "a")
    holder = hold(question.turn)  # type: ignore[arg-type]
    accept(session, "h")
    holder.answer("A", failed("auth", "No."))
    turn = again(session).turn
    assert turn is not None
    accept(session, "c")
    following = hold(turn).answer("A2")
    asked = Turn.objects.get(pk=following).messages.filter(role="user").order_by("seq")
    assert [message.text for message in asked] == ["h", "c"]
    assert check() == []


def test_what_is_held_goes_along_with_a_message_into_the_turn(session: Session) -> None:
    question = accept(session, "a")
    holder = hold(question.turn)  # type: ignore[arg-type]
    accept(session, "h")
    holder.answer("A", failed("auth", "No."))
    holder = hold(again(session).turn)  # type: ignore[arg-type]
    holder.begin()
    [call] = holder.step("calculator")
    holder.settle(call)
    assert holder.deliver() is None, "by itself it stays"
    accept(session, "c")
    assert holder.deliver() is not None
    holder.begin()
    holder.say("HC")
    holder.finish()
    assert shown(session) == ["a", "", "h", "c", "HC"]
    assert check() == []


def test_an_answer_is_tried_again_from_what_was_delivered_into_its_turn(session: Session) -> None:
    holder = make_running(session, "a")
    holder.begin()
    holder.say("A")
    holder.step()
    middle = accept(session, "b").message
    assert holder.deliver() is not None
    holder.begin()
    holder.say("B")
    holder.finish()
    assert shown(session) == ["a", "A", "b", "B"]
    result = again(session)
    assert result.message == middle
    assert seen_by_model(result.turn) == ["a", "A", "> b"]
    answered(result, "B2")
    assert shown(session) == ["a", "A", "b", "B2"]
    edited = edit(fresh(middle), "b2")
    assert seen_by_model(edited.turn) == ["a", "A", "> b2"]
    assert check() == []


def test_another_answer_steps_behind_what_is_delivered_before_its_first_word(session: Session) -> None:
    question = say(session, "a", "A")
    result = again(session, client_id="r")
    holder = hold(result.turn)  # type: ignore[arg-type]
    holder.begin()
    holder.step()
    middle = accept(session, "b").message
    assert holder.deliver() is not None
    holder.begin()
    holder.say("AB")
    holder.finish()
    assert shown(session) == ["a", "b", "AB"]
    assert again(session, client_id="r").message == question
    assert siblings(middle) == ["A", "b"], "the way back to the other answer"
    assert check() == []


def test_what_is_held_can_be_sent_after_an_edit(session: Session) -> None:
    question = accept(session, "a")
    holder = hold(question.turn)  # type: ignore[arg-type]
    accept(session, "h")
    holder.answer("A", failed("auth", "No."))
    answered(edit(fresh(question.message), "b"), "B")
    deliver_queued(user=session.user, session_id=session.id)
    assert shown(session) == ["b", "B", "h"]
    assert check() == []


# --- going between branches -------------------------------------------------------------------


def test_a_branch_is_shown_to_its_newest_end(session: Session) -> None:
    first = say(session, "a", "A")
    say(session, "b", "B")
    edited = answered(edit(first, "a2"), "A2")
    say(session, "c", "C")
    answered(again(session), "C2")
    assert shown(session) == ["a2", "A2", "c", "C2"]
    before = fresh(session)
    after = show(session, first)
    assert shown(session) == ["a", "A", "b", "B"]
    assert (after.rewrites, after.revision) == (before.rewrites + 1, before.revision + 1)
    assert after.updated_at == before.updated_at, "looking back is no news for the list of sessions"
    assert show(session, first).revision == after.revision, "nothing changed"
    show(session, edited)
    assert shown(session) == ["a2", "A2", "c", "C2"]
    say(session, "d", "D")
    show(session, first)
    turn = accept(session, "e").turn
    assert seen_by_model(turn) == ["a", "A", "b", "B", "> e"]
    assert check() == []


def test_a_shown_message_changes_nothing_in_the_middle_of_its_branch(session: Session) -> None:
    first = say(session, "a", "A")
    say(session, "b", "B")
    before = fresh(session).revision
    show(session, first)
    assert (shown(session), fresh(session).revision) == (["a", "A", "b", "B"], before)


def test_a_branch_of_another_session_is_not_found(session: Session, user: User) -> None:
    elsewhere = say(make_session(user), "a", "A")
    for foreign in (elsewhere.id, uuid.uuid4(), "nothing", None):
        with pytest.raises(NotFound):
            show_branch(user=user, session_id=session.id, message_id=foreign)
    with pytest.raises(NotFound):
        show_branch(user=make_user(), session_id=elsewhere.session_id, message_id=elsewhere.id)


def test_a_page_tells_of_branches_only_where_there_are_some(
    session: Session, django_assert_num_queries: Any
) -> None:
    say(session, "a", "A")
    session = fresh(session)
    with django_assert_num_queries(1):
        assert selectors.messages_page(session).branches == {}
    question = say(session, "b", "B")
    answered(edit(question, "b2"), "B2")
    answered(again(session), "B3")
    page = selectors.messages_page(fresh(session))
    told = {
        message.text: (branch.index, branch.count)
        for message in page.messages
        if (branch := page.branches.get(message.pk))
    }
    assert told == {"b2": (1, 2), "B3": (1, 2)}


def test_an_answer_that_is_being_written_is_no_branch_yet(session: Session) -> None:
    first = answer_of(say(session, "a", "A").turn)  # type: ignore[arg-type]
    again(session)
    assert selectors.branches_of([fresh(first)]) == {}


def test_a_turn_keeps_its_messages_when_they_are_hidden(session: Session) -> None:
    message = say(session, "a", "A")
    turn = message.turn
    answered(edit(message, "b"), "B")
    assert [row.text for row in turn.messages.order_by("seq")] == ["a", "A"]  # type: ignore[union-attr]
    assert selectors.message_of(session.user, message.id).shown is False


def test_messages_of_processes_that_know_no_branches_are_linked_before_the_first_edit(session: Session) -> None:
    """While an update is rolled out, those processes place messages without a parent and leave the head alone."""
    say(session, "a", "A")
    head = fresh(session).head
    second = say(session, "b", "B")
    session.messages.filter(seq__gt=2).update(parent=None)
    Session.objects.filter(pk=session.pk).update(head=head)
    say(session, "c", "C")
    assert shown(session) == ["a", "A", "b", "B", "c", "C"]
    assert check() != []
    answered(edit(second, "b2"), "B2")
    assert shown(session) == ["a", "A", "b2", "B2"]
    assert check() == []
    show(session, second)
    assert shown(session) == ["a", "A", "b", "B", "c", "C"]


def test_sessions_from_before_there_were_branches_are_linked_in_order(session: Session) -> None:
    empty = make_session()
    accept(session, "a")
    stop(session)
    say(session, "b", "B")
    hold(accept(session, "c").turn)  # type: ignore[arg-type]
    accept(session, "waits")
    linked = list(Message.objects.order_by("pk").values("pk", "parent"))
    head = fresh(session).head
    Message.objects.update(parent=None)
    Session.objects.update(head=None)
    importlib.import_module("copilot.migrations.0006_branches").link(apps, None)
    assert list(Message.objects.order_by("pk").values("pk", "parent")) == linked
    assert (fresh(session).head, fresh(empty).head) == (head, None)
    assert check() == []
