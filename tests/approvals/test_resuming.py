"""A turn that was paused ends as if it had not been: one message, everything counted, nothing twice."""

from __future__ import annotations

from typing import Any

import pytest

from approvals.models import Action, AuditEntry
from common.db import db
from copilot.models import Message, Session, Turn, UsageRecord
from copilot.models.message import answers_of
from copilot.objects import turn_object
from tests.approvals.asking import People, note, written
from tests.factories import accept, events_of, fresh, make_session
from tests.harness import Crew
from tests.turns.racing import terminal_events

pytestmark = pytest.mark.django_db(transaction=True)

#: Three segments: a pause in the first and in the second step.
THREE = (
    '/think hm\n/words 2\n/cost 5\n/tool demo_note {"text": "one"}\n/step\n'
    '/words 3\n/cost 7\n/tool demo_note {"text": "two"}\n/words 4\n/cost 11'
)


async def decide_all(crew: Crew, people: People, turn: Turn, first: Action, kind: str = "approve") -> Turn:
    """Decide two pauses of a turn, one after the other, and wait for its end."""
    await people.decide(first, kind)
    turn, second = await people.asked(turn, before=first)
    await people.decide(second, kind)
    return await crew.ended(turn)


# --- one turn -------------------------------------------------------------------------------


async def test_all_segments_are_one_message_with_one_end(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, first = await people.ask(THREE)
    turn = await decide_all(crew, people, turn, first)
    assert await db(terminal_events, turn) == ["finish"]
    [message] = await db(lambda: list(answers_of(turn.pk)))
    assert (message.state, message.text) == ("done", "w1 w2w1 w2 w3w1 w2 w3 w4")
    kinds = [part["type"] for part in message.parts]
    assert kinds.count("dynamic-tool") == 2
    assert kinds.count("reasoning") == 1
    calls = [part for part in message.parts if part["type"] == "dynamic-tool"]
    assert len({part["toolCallId"] for part in calls}) == 2, "no card twice"
    assert {part["state"] for part in calls} == {"output-available"}
    ids = {chunk["messageId"] for _, chunk in await db(events_of, turn) if chunk["type"] == "start"}
    assert ids == {str(message.pk)}


async def test_usage_and_cost_are_those_of_all_segments(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, first = await people.ask(THREE)
    paused_after = turn.running_ms
    turn = await decide_all(crew, people, turn, first)
    session = await db(fresh, turn.session)
    used = (await db(lambda: turn_object(turn)))["usage"]
    assert (used["output_tokens"], session.output_tokens) == (9, 9)
    assert session.cost_microdollars == 23
    assert await db(UsageRecord.objects.filter(turn=turn).count) == 3
    assert turn.running_ms >= paused_after
    assert used["first_chunk_ms"] == turn.first_chunk_ms is not None


async def test_the_model_gets_the_results_in_the_order_of_its_calls(crew: Crew, people: People) -> None:
    await crew.hire()
    text = (
        '/tool demo_note {"text": "one"}\n/tool calculator {"expression": "6 * 7"}\n'
        '/tool demo_note {"text": "two"}\n/results'
    )
    turn, action = await people.ask(text)
    await people.decide(action, "reject", "approve")
    await crew.ended(turn)
    results = crew.requests[-1].messages[-1]
    assert [part.name for part in results.parts] == ["demo_note", "calculator", "demo_note"]  # type: ignore[union-attr]
    assert len(crew.requests) == 2, "no step is asked for twice"


async def test_a_call_that_policy_denies_does_not_wait_with_the_others(
    crew: Crew, people: People, settings: Any
) -> None:
    settings.APPROVALS_DENY = ["demo_once"]
    await crew.hire()
    text = '/tool demo_once {"text": "a"}\n/tool demo_note {"text": "b"}\n/results'
    turn, action = await people.ask(text)
    assert [request["name"] for request in action.requests] == ["demo_note"]
    assert [call.state for call in await people.calls(turn)] == ["denied", "waiting"]
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert (written(turn.session_id), written(turn.session_id, "once.txt")) == (["b"], [])


async def test_each_pause_has_an_id_and_an_audit_of_its_own(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, first = await people.ask(THREE)
    turn = await decide_all(crew, people, turn, first)
    decided = await db(lambda: list(Action.objects.filter(turn=turn.pk).order_by("created_at")))
    assert [action.status for action in decided] == ["decided", "decided"]
    entries = await db(lambda: list(AuditEntry.objects.filter(turn=turn.pk).order_by("at")))
    assert [entry.action for entry in entries] == [action.pk for action in decided]
    assert written(turn.session_id) == ["one", "two"]


# --- nothing stays behind -------------------------------------------------------------------


async def test_a_provider_that_fails_after_the_decision_leaves_a_usable_conversation(
    crew: Crew, people: People
) -> None:
    await crew.hire()
    turn, action = await people.ask('/words 2\n/tool demo_note {"text": "one"}\n/fail quota')
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert (turn.status, turn.outcome, await db(terminal_events, turn)) == ("failed", "quota", ["error"])
    assert written(turn.session_id) == ["one"], "what ran before has run"
    assert (await crew.say("/words 1", turn.session)).status == "completed"


async def test_a_model_that_is_gone_when_the_turn_goes_on_fails_it_and_nothing_more(
    crew: Crew, people: People
) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    await db(Turn.objects.filter(pk=turn.pk).update, model="nowhere/gone")
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert (turn.status, turn.outcome, await db(terminal_events, turn)) == ("failed", "not_configured", ["error"])
    assert written(turn.session_id) == []


# --- titles and sessions --------------------------------------------------------------------


@pytest.mark.parametrize("segment", ["before", "after"])
async def test_the_first_turn_names_its_session_in_whichever_segment(
    crew: Crew, people: People, segment: str
) -> None:
    await crew.hire()
    call = '/tool demo_note {"text": "hello"}'
    text = (
        f"/title Weather\n/words 1\n{call}\n/words 1"
        if segment == "before"
        else f"{call}\n/title Weather\n/words 1"
    )
    turn, action = await people.ask(text)
    assert ((await db(fresh, turn.session)).title == "Weather") is (segment == "before")
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    session = await db(fresh, turn.session)
    assert (session.title, session.title_source) == ("Weather", "model")


async def test_the_title_that_a_person_gives_meanwhile_stays(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask('/tool demo_note {"text": "hello"}\n/title Weather\n/words 1')
    await db(Session.objects.filter(pk=turn.session_id).update, title="Mine", title_source="person")
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert (await db(fresh, turn.session)).title == "Mine"


async def test_a_temporary_session_stays_temporary(crew: Crew, people: People) -> None:
    await crew.hire()
    session = await db(lambda: make_session(temporary=True))
    turn, action = await people.ask('/tool demo_note {"text": "hello"}\n/title Weather\n/words 1', session)
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    session = await db(fresh, session)
    assert (turn.status, session.temporary, session.title) == ("completed", True, "")
    assert written(turn.session_id) == ["hello"]


# --- nobody is asked ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [("APPROVALS_ENABLED", False), ("APPROVALS_MODE", "bypass"), ("APPROVALS_ALLOW", ["demo_*"])],
)
async def test_where_nobody_is_to_be_asked_the_turn_does_not_pause(
    crew: Crew, people: People, settings: Any, setting: str, value: Any
) -> None:
    setattr(settings, setting, value)
    await crew.hire()
    turn = await crew.say(note("hello"))
    assert (turn.status, written(turn.session_id)) == ("completed", ["hello"])
    assert not await db(Action.objects.exists)


@pytest.mark.parametrize(
    "setting",
    [
        {"APPROVALS_MODE": "dont_ask"},
        {"APPROVALS_ENABLED": False, "APPROVALS_DENY": ["demo_note"]},
        {"APPROVALS_MODE": "bypass", "APPROVALS_DENY": ["demo_*"]},
        {"APPROVALS_ALLOW": ["*"], "APPROVALS_DENY": ["*_note"]},
    ],
)
async def test_what_is_refused_without_asking_never_runs(
    crew: Crew, people: People, settings: Any, setting: dict[str, Any]
) -> None:
    for name, value in setting.items():
        setattr(settings, name, value)
    await crew.hire()
    turn = await crew.say(note("hello"))
    [call] = await people.calls(turn)
    assert (turn.status, call.state, written(turn.session_id)) == ("completed", "denied", [])
    assert not await db(Action.objects.exists)


async def test_a_session_may_ask_about_everything(crew: Crew, people: People) -> None:
    await crew.hire()
    session = await db(lambda: make_session(approval_mode="ask_all"))
    turn, action = await people.ask('/tool calculator {"expression": "6 * 7"}\n/results', session)
    await people.decide(action, "edit", arguments={"expression": "6 * 8"})
    turn = await crew.ended(turn)
    assert "48" in (await db(lambda: turn_object(turn)))["text"]


# --- messages that interrupt ----------------------------------------------------------------


async def test_a_decision_counts_more_than_a_message_that_interrupted_before_it(
    crew: Crew, people: People
) -> None:
    """The person has read the message by then, and allows the call all the same."""
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    accepted = await db(accept, turn.session, "/words 3", delivery="interrupt")
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert (turn.status, written(turn.session_id)) == ("completed", ["hello"])
    message = await db(Message.objects.get, pk=accepted.message.pk)
    assert message.turn_id == turn.pk
