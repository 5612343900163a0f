"""A turn that asks a person holds nothing, and goes on exactly as it was decided."""

from __future__ import annotations

import pytest

from approvals.models import AuditEntry
from common.db import db
from copilot.models import Turn
from copilot.models.message import answers_of
from tests.approvals.asking import People, note, written
from tests.factories import events_of
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


async def test_an_approved_call_runs_once_as_it_was_shown(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    assert (turn.status, turn.worker, written(turn.session_id)) == ("requires_action", None, [])
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert turn.status == "completed"
    assert written(turn.session_id) == ["hello"]
    (call,) = await people.calls(turn)
    assert call.state == "done"


async def test_a_refused_call_never_runs_and_the_model_is_told_why(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    await people.decide(action, "reject", reason="Not today.")
    turn = await crew.ended(turn)
    assert (turn.status, written(turn.session_id)) == ("completed", [])
    assert "Not today." in str(crew.requests[-1].messages[-1])
    denied = [chunk for _, chunk in await db(events_of, turn) if chunk["type"] == "tool-output-denied"]
    assert [chunk["reason"] for chunk in denied] == ["Not today."]


async def test_an_edited_call_runs_with_what_the_person_wrote(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    await people.decide(action, "edit", arguments={"text": "goodbye"})
    turn = await crew.ended(turn)
    assert written(turn.session_id) == ["goodbye"]
    entry = await db(AuditEntry.objects.get, action=action.pk)
    assert (entry.decision, entry.shown, entry.final) == ("edit", {"text": "hello"}, {"text": "goodbye"})
    assert entry.shown_sha256 != entry.final_sha256


async def test_a_response_is_the_result_and_the_tool_does_not_run(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    await people.decide(action, "respond", text="It is noted elsewhere.")
    turn = await crew.ended(turn)
    assert written(turn.session_id) == []
    (call,) = await people.calls(turn)
    assert (call.state, call.output) == ("done", "It is noted elsewhere.")


async def test_the_same_tool_twice_in_a_batch_is_told_apart_by_the_call(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("one", "two"))
    assert len(action.requests) == 2
    await people.decide(action, "reject", "approve")
    turn = await crew.ended(turn)
    assert written(turn.session_id) == ["two"]


async def test_calls_that_need_nobody_run_once_before_the_pause(crew: Crew, people: People) -> None:
    await crew.hire()
    text = '/tool demo_once {"text": "a"}\n/tool demo_note {"text": "b"}\n/tool demo_once {"text": "c"}\n/results'
    turn, action = await people.ask(text)
    assert sorted(written(turn.session_id, "once.txt")) == ["a", "c"]
    assert [request["name"] for request in action.requests] == ["demo_note"]
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert sorted(written(turn.session_id, "once.txt")) == ["a", "c"]
    assert written(turn.session_id) == ["b"]


async def test_a_turn_may_pause_again_and_ends_with_one_message(crew: Crew, people: People) -> None:
    await crew.hire()
    text = '/words 2\n/tool demo_note {"text": "one"}\n/step\n/tool demo_note {"text": "two"}\n/words 3'
    turn, first = await people.ask(text)
    await people.decide(first, "approve")
    turn, second = await people.asked(turn, before=first)
    assert second.pk != first.pk
    await people.decide(second, "approve")
    turn = await crew.ended(turn)
    assert written(turn.session_id) == ["one", "two"]
    kinds = [chunk["type"] for _, chunk in await db(events_of, turn)]
    assert kinds.count("start") == kinds.count("finish") == 1
    assert kinds.count("data-approval") == kinds.count("data-approval-decided") == 2
    messages = await db(lambda: list(answers_of(turn.id)))
    assert [message.text for message in messages] == ["w1 w2w1 w2 w3"]


async def test_an_answer_is_the_result_of_the_question(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask("/ask Which one? | this | that\n/results")
    assert (action.kind, action.question, action.options) == ("ask_user_question", "Which one?", ["this", "that"])
    await people.answer(action, "neither")
    turn = await crew.ended(turn)
    assert turn.status == "completed"
    (call,) = await people.calls(turn)
    assert (call.state, call.output) == ("done", "neither")
    assert await db(Turn.objects.filter(pk=turn.pk, action_id=None).exists)
