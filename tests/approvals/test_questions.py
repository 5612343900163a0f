"""The agent asks a question: a person answers, refuses to, or nobody does and the turn goes on by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from approvals.models import Action, AuditEntry
from common.db import db
from copilot import sweep as sweeping
from copilot.turns.answered import BEST_JUDGEMENT
from tests.approvals.asking import People, note, written
from tests.approvals.waiting import overdue
from tests.harness import Crew
from tests.turns.racing import terminal_events

pytestmark = pytest.mark.django_db(transaction=True)


def question(**arguments: Any) -> str:
    """Return a message that makes the model ask, then say what came back."""
    return f"/tool ask_user {json.dumps({'question': 'Which one?', **arguments})}\n/results"


async def test_the_answer_may_be_none_of_the_options(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(question(options=["this", "that"]))
    assert (action.question, action.options, action.scopes) == ("Which one?", ["this", "that"], ["once"])
    decided = await people.answer(action, "  the third\n")
    assert decided.answer == "the third"
    turn = await crew.ended(turn)
    assert "the third" in str(crew.requests[-1].messages[-1])
    entry = await db(AuditEntry.objects.get, action=action.pk)
    assert (entry.decision, entry.text) == ("answer", "the third")


async def test_a_question_that_is_rejected_tells_the_model_so(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(question())
    await people.decide(action, "reject", reason="Find out yourself.")
    turn = await crew.ended(turn)
    [call] = await people.calls(turn)
    assert (turn.status, call.state, call.error) == ("completed", "denied", "Find out yourself.")


async def test_a_question_with_a_time_limit_goes_on_by_best_judgement(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(question(timeout_seconds=3600))
    await db(overdue, action)
    await db(sweeping.sweep)
    turn = await crew.ended(turn)
    assert (turn.status, await db(terminal_events, turn)) == ("completed", ["finish"])
    assert BEST_JUDGEMENT in str(crew.requests[-1].messages[-1])


async def test_a_question_without_a_time_limit_ends_the_turn(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(question())
    await db(overdue, action)
    await db(sweeping.sweep)
    turn = await crew.ended(turn)
    assert (turn.status, turn.outcome) == ("cancelled", "approval_expired")
    assert len(crew.requests) == 1, "the model was not asked again"


@pytest.mark.parametrize(
    "setting", [{"APPROVALS_MODE": "dont_ask"}, {"APPROVALS_ENABLED": False}, {"APPROVALS_DENY": []}]
)
async def test_where_nobody_is_asked_the_model_hears_at_once_to_use_its_judgement(
    crew: Crew, people: People, settings: Any, setting: dict[str, Any]
) -> None:
    for name, value in setting.items():
        setattr(settings, name, value)
    await crew.hire()
    if "APPROVALS_DENY" in setting:  # the control: here somebody is
        await people.ask(question())
        return
    turn = await crew.say(question())
    [call] = await people.calls(turn)
    assert (turn.status, call.state, call.output) == ("completed", "done", BEST_JUDGEMENT)
    assert not await db(Action.objects.exists)


async def test_where_nobody_can_answer_nobody_is_asked(crew: Crew, people: People) -> None:
    await crew.hire()
    turn = await crew.say(question(), origin="background")
    [call] = await people.calls(turn)
    assert (call.state, call.output) == ("done", BEST_JUDGEMENT)


async def test_a_question_is_asked_also_where_every_tool_may_run(
    crew: Crew, people: People, settings: Any
) -> None:
    settings.APPROVALS_MODE = "bypass"
    await crew.hire()
    turn, action = await people.ask(question())
    await people.answer(action, "this")
    assert (await crew.ended(turn)).status == "completed"


async def test_a_question_that_the_operator_denies_is_not_asked(crew: Crew, people: People, settings: Any) -> None:
    settings.APPROVALS_DENY = ["ask_user"]
    await crew.hire()
    turn = await crew.say(question())
    [call] = await people.calls(turn)
    assert call.state == "denied"


async def test_several_questions_are_asked_one_after_the_other(crew: Crew, people: People) -> None:
    await crew.hire()
    text = "/ask First?\n/ask Second?\n" + note("hello")
    turn, calls = await people.ask(text)
    assert (calls.kind, calls.question) == ("tool_approval", ""), "calls first, all in one"
    await people.decide(calls, "approve")
    turn, first = await people.asked(turn, before=calls)
    await people.answer(first, "one")
    turn, second = await people.asked(turn, before=first)
    assert [first.question, second.question] == ["First?", "Second?"]
    await people.answer(second, "two")
    turn = await crew.ended(turn)
    assert written(turn.session_id) == ["hello"]
    assert [call.output for call in await people.calls(turn)][:2] == ["one", "two"]


@pytest.mark.parametrize(
    "arguments", [{"question": ""}, {"question": 1}, {"options": "this"}, {"timeout_seconds": 0}, {"more": 1}]
)
async def test_a_question_that_is_none_is_an_error_for_the_model(
    crew: Crew, people: People, arguments: dict[str, Any]
) -> None:
    await crew.hire()
    turn = await crew.say(question(**arguments))
    [call] = await people.calls(turn)
    assert (turn.status, call.state) == ("completed", "error")
    assert not await db(Action.objects.exists)
