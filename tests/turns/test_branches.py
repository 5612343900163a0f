"""Edited messages and other answers: what they replace, what they keep, and what they refuse."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from common.errors import Conflict, Invalid, NotFound, TooLarge
from copilot import selectors
from copilot.diagnostics.invariants import check
from copilot.models import Session, Turn, User
from copilot.turns.branches import edit_message, regenerate
from copilot.turns.finish import failed
from tests.factories import accept, answer_of, fresh, hold, journal_of, make_running, make_session, make_user
from tests.turns.conversation import again, answered, edit, say, seen_by_model, show, shown, siblings, stop

pytestmark = pytest.mark.django_db


@pytest.fixture
def session(user: User) -> Session:
    return make_session(user)


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
    assert repeated.branched is True
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
