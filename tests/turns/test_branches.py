"""Edited messages, other answers, and the way back: branches are kept, and one is shown."""

from __future__ import annotations

import importlib
import uuid
from typing import Any

import pytest
from django.apps import apps

from common.errors import Conflict, Invalid, NotFound, TooLarge
from copilot import selectors
from copilot.agent.loop import load
from copilot.diagnostics.invariants import check
from copilot.models import Message, Session, Turn, User
from copilot.turns.branches import edit_message, regenerate, show_branch
from copilot.turns.cancel import request_stop
from copilot.turns.finish import failed
from copilot.turns.submit import Accepted, deliver_queued
from tests.factories import accept, answer_of, fresh, hold, journal_of, make_running, make_session, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def session(user: User) -> Session:
    return make_session(user)


def say(session: Session, text: str, answer: str) -> Message:
    """Send a message and have it answered; return the message."""
    accepted = accept(session, text)
    return answered(accepted, answer)


def answered(accepted: Accepted, answer: str) -> Message:
    """Have the turn of an accepted message answered; return the message."""
    assert accepted.turn is not None
    hold(accepted.turn).answer(answer)
    return fresh(accepted.message)


def edit(message: Message, text: str, **over: Any) -> Accepted:
    return edit_message(user=message.session.user, message_id=message.id, text=text, **over)


def again(session: Session, **over: Any) -> Accepted:
    return regenerate(user=session.user, session_id=session.id, **over)


def show(session: Session, message: Message | None) -> Session:
    assert message is not None
    return show_branch(user=session.user, session_id=session.id, message_id=message.id)


def stop(session: Session) -> None:
    request_stop(user=session.user, session_id=session.id, turn_id=None, reason="stopped")


def shown(session: Session) -> list[str]:
    """Return the texts that a person sees."""
    return [message.text for message in selectors.messages_page(fresh(session)).messages]


def seen_by_model(turn: Turn | None) -> list[str]:
    """Return the texts that the model is sent for a turn, and mark where its question begins with a ``>``."""
    assert turn is not None
    state = load(turn.pk)
    marks = ["> " if place >= state.asked_from else "" for place, _ in enumerate(state.messages)]
    return [mark + message.parts[0].text for mark, message in zip(marks, state.messages, strict=True)]  # type: ignore[union-attr]


def siblings(message: Message) -> list[str]:
    [branch] = selectors.branches_of([fresh(message)]).values()
    assert branch.siblings[branch.index] == message.pk
    return [Message.objects.get(pk=pk).text for pk in branch.siblings]


# --- editing ----------------------------------------------------------------------------------


def test_an_edit_replaces_the_message_and_all_after_it_and_keeps_them(session: Session) -> None:
    say(session, "a", "A")
    second = say(session, "b", "B")
    say(session, "c", "C")
    before = fresh(session)
    result = edit(second, "b2")
    assert not result.queued
    assert result.turn is not None
    assert shown(session) == ["a", "A", "b2"]
    assert seen_by_model(result.turn) == ["a", "A", "> b2"]
    answered(result, "B2")
    assert shown(session) == ["a", "A", "b2", "B2"]
    assert siblings(result.message) == siblings(second) == ["b", "b2"]
    assert fresh(second).turn.messages.count() == 2, "what was hidden is all there"  # type: ignore[union-attr]
    after = fresh(session)
    assert (after.rewrites, after.revision > before.revision) == (1, True)
    assert check() == []


def test_the_first_message_can_be_edited(session: Session) -> None:
    first = say(session, "a", "A")
    result = edit(first, "a2")
    assert shown(session) == ["a2"]
    assert seen_by_model(result.turn) == ["> a2"]
    answered(result, "A2")
    assert (fresh(session).title, fresh(session).next_seq) == ("a", 5)
    assert check() == []


def test_an_edit_asks_for_what_the_message_asked_for(session: Session, settings: Any) -> None:
    asked = {
        "effort": "low",
        "timezone": "Europe/Berlin",
        "model": "openai/x",
        "context": {"url": "https://x.org/"},
    }
    accepted = accept(session, "a", **asked)
    message = answered(accepted, "A")
    result = edit(message, "b")
    assert result.message.options == asked
    assert result.turn is not None
    assert (result.turn.model, result.turn.effort) == ("openai/x", "low")
    assert result.turn.settings["time_zone"] == "Europe/Berlin"
    answered(result, "B")
    settings.COPILOT_MODELS = ["demo/demo"]
    later = edit(result.message, "c")
    assert later.turn is not None
    assert (later.turn.model, later.turn.effort) == ("demo/demo", "low"), "that model is not offered any more"


def test_an_edit_is_accepted_once(session: Session) -> None:
    message = say(session, "a", "A")
    result = edit(message, "b", client_id="e")
    repeated = edit(message, "b", client_id="e")
    assert (result.repeated, repeated.repeated) == (False, True)
    assert (repeated.message, repeated.turn) == (result.message, result.turn)
    answered(result, "B")
    assert edit(message, "b", client_id="e").repeated, "also when it has ended, and the edited one is hidden"
    assert session.turns.count() == 2
    other = say(session, "z", "Z")
    for act in (
        lambda: edit(message, "c", client_id="e"),
        lambda: edit(other, "b", client_id="e"),
        lambda: accept(session, "b", client_id="e"),
        lambda: again(session, client_id="e"),
    ):
        with pytest.raises(Conflict) as refused:
            act()
        assert refused.value.error_code == "client_id_reused"
    assert check() == []


def test_what_cannot_be_edited(session: Session) -> None:
    message = say(session, "a", "A")
    answer = answer_of(fresh(message).turn)  # type: ignore[arg-type]
    assert answer is not None
    with pytest.raises(Invalid, match="Only what a person wrote"):
        edit(answer, "b")
    with pytest.raises(Invalid, match="empty"):
        edit(message, "  ")
    with pytest.raises(Invalid, match="client_id"):
        edit(message, "b", client_id="")
    with pytest.raises(TooLarge):
        edit(message, "x" * 64_001)
    for foreign in (uuid.uuid4(), "nothing", None):
        with pytest.raises(NotFound):
            edit_message(user=session.user, message_id=foreign, text="b")
    with pytest.raises(NotFound):
        edit_message(user=make_user(), message_id=message.id, text="b")
    answered(edit(message, "b"), "B")
    with pytest.raises(Conflict, match="Show its branch first") as refused:
        edit(message, "c")
    assert refused.value.error_code == "stale"
    assert shown(session) == ["b", "B"]


def test_nothing_is_rewritten_while_a_turn_is_live(session: Session) -> None:
    message = say(session, "a", "A")
    holder = hold(accept(session, "b").turn)  # type: ignore[arg-type]
    waiting = accept(session, "c").message
    acts = [
        lambda: edit(message, "x"),
        lambda: edit(waiting, "x"),
        lambda: again(session),
        lambda: show(session, message),
    ]
    for act in acts:
        with pytest.raises(Conflict) as refused:
            act()
        assert refused.value.error_code == "session_busy"
    with pytest.raises(NotFound):
        edit(session.messages.get(state="open"), "x")
    holder.answer("B", failed("auth", "No."))
    for act in (lambda: edit(waiting, "x"), lambda: show(session, waiting)):
        with pytest.raises(Conflict, match="still waits") as refused:
            act()
        assert refused.value.error_code == "stale"


def test_an_edit_keeps_the_messages_that_were_sent_before_it_and_answered_with_it(session: Session) -> None:
    say(session, "a", "A")
    holder = make_running(session, "b")
    rows = [accept(session, text).message for text in ("c", "d", "e")]
    following = holder.answer("B")
    hold(Turn.objects.get(pk=following)).answer("CDE")
    assert shown(session) == ["a", "A", "b", "B", "c", "d", "e", "CDE"]
    result = edit(fresh(rows[1]), "d2")
    assert shown(session) == ["a", "A", "b", "B", "c", "d2"]
    assert seen_by_model(result.turn) == ["a", "A", "b", "B", "> c", "> d2"]
    answered(result, "CD2")
    later = again(session)
    assert seen_by_model(later.turn) == ["a", "A", "b", "B", "> c", "> d2"]
    answered(later, "CD3")
    first = edit(fresh(rows[0]), "c2")
    assert seen_by_model(first.turn) == ["a", "A", "b", "B", "> c2"]
    assert check() == []


def test_a_question_that_was_stopped_unanswered_stays_before_an_edit_of_the_next(session: Session) -> None:
    accept(session, "a")
    stop(session)
    second = say(session, "b", "B")
    result = edit(second, "b2")
    assert seen_by_model(result.turn) == ["a", "> b2"]
    assert check() == []


def test_stop_edit_and_send_again_works_in_the_middle_of_a_tool(session: Session) -> None:
    holder = make_running(session, "a")
    holder.begin()
    [call] = holder.step("calculator")
    holder.begin_call(call)
    stop(session)
    holder.finish()
    result = edit(fresh(session).messages.get(role="user"), "b")
    assert seen_by_model(result.turn) == ["> b"]
    answered(result, "B")
    assert shown(session) == ["b", "B"]
    assert check() == []


# --- answering again --------------------------------------------------------------------------


def test_another_answer_replaces_the_last_one_and_keeps_it(session: Session) -> None:
    say(session, "a", "A")
    question = say(session, "b", "B")
    result = again(session, model="demo/demo")
    assert result.message == question
    assert result.turn is not None
    assert result.turn.model == "demo/demo"
    assert shown(session) == ["a", "A", "b"]
    assert seen_by_model(result.turn) == ["a", "A", "> b"]
    answered(result, "B2")
    third = again(session)
    answered(third, "B3")
    assert shown(session) == ["a", "A", "b", "B3"]
    assert siblings(answer_of(result.turn)) == ["B", "B2", "B3"]  # type: ignore[arg-type]
    assert fresh(question).turn == question.turn, "it stays with the turn that answered it first"
    assert journal_of(result.turn)[0] == "submitted"
    assert check() == []


def test_what_was_said_after_another_answer_follows_it(session: Session) -> None:
    say(session, "a", "A")
    answered(again(session), "A2")
    say(session, "b", "B")
    assert shown(session) == ["a", "A2", "b", "B"]
    assert check() == []


def test_another_answer_is_asked_for_once(session: Session) -> None:
    say(session, "a", "A")
    result = again(session, client_id="r")
    repeated = again(session, client_id="r")
    assert (repeated.repeated, repeated.turn, repeated.message) == (True, result.turn, result.message)
    stop(session)
    assert again(session, client_id="r").turn == result.turn, "also when it said nothing"
    for act in (
        lambda: again(session, client_id="r", model="demo/demo"),
        lambda: accept(session, "x", client_id="r"),
        lambda: edit(result.message, "x", client_id="r"),
    ):
        with pytest.raises(Conflict) as refused:
            act()
        assert refused.value.error_code == "client_id_reused"
    assert session.turns.count() == 2
    assert check() == []


def test_a_question_that_nobody_answered_can_be_answered(session: Session) -> None:
    accept(session, "a")
    stop(session)
    assert shown(session) == ["a"]
    result = again(session)
    assert seen_by_model(result.turn) == ["> a"]
    answered(result, "A")
    assert shown(session) == ["a", "A"]
    assert selectors.branches_of(list(session.messages.all())) == {}, "there was no other answer"
    assert check() == []


def test_another_answer_that_was_stopped_before_its_first_word_leaves_the_way_back(session: Session) -> None:
    first = answer_of(say(session, "a", "A").turn)  # type: ignore[arg-type]
    result = again(session)
    stop(session)
    assert shown(session) == ["a", ""]
    empty = answer_of(result.turn)  # type: ignore[arg-type]
    assert empty is not None
    assert (empty.state, empty.parts) == ("partial", [])
    assert siblings(empty) == ["A", ""]
    show(session, first)
    assert shown(session) == ["a", "A"]
    assert check() == []


def test_a_failed_answer_can_be_tried_again(session: Session) -> None:
    accepted = accept(session, "a")
    hold(accepted.turn).finish(failed("auth", "No."))  # type: ignore[arg-type]
    result = again(session)
    assert seen_by_model(result.turn) == ["> a"]
    answered(result, "A")
    assert shown(session) == ["a", "A"]
    assert check() == []


def test_nothing_can_be_answered_where_nothing_was_asked(session: Session) -> None:
    with pytest.raises(Conflict, match="Send a message first") as refused:
        again(session)
    assert refused.value.error_code == "stale"
    with pytest.raises(Invalid, match="no model"):
        again(session, model="nobody/knows")
    with pytest.raises(NotFound):
        regenerate(user=make_user(), session_id=session.id)
    assert not Turn.objects.exists()


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
    assert [message.text for message in Turn.objects.get(pk=following).messages.filter(role="user")] == ["h", "c"]
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
    importlib.import_module("copilot.migrations.0002_branches").link(apps, None)
    assert list(Message.objects.order_by("pk").values("pk", "parent")) == linked
    assert (fresh(session).head, fresh(empty).head) == (head, None)
    assert check() == []
