"""Every directive of the demo model, through a real worker: what it does to the turn, its log and its message."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import asking
from copilot.diagnostics import invariants
from copilot.models import Message, ToolCall, Turn, UsageRecord
from copilot.providers.base import ToolResultPart
from tests.factories import answer_of, events_of, fresh, kinds_of, make_session
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting."""
    monkeypatch.setattr(asking, "BACKOFF_SECONDS", 0.0)


@pytest.fixture(autouse=True)
async def one(crew: Crew) -> None:
    await crew.hire()


async def answer(turn: Turn) -> Message:
    """Return the turn's answer, after making sure that no rule is broken."""
    assert await db(invariants.check) == []
    found = await db(answer_of, turn)
    assert found is not None
    return found


async def calls_of(turn: Turn) -> list[ToolCall]:
    return await db(lambda: list(ToolCall.objects.filter(turn=turn).order_by("step", "position")))


async def kinds(turn: Turn) -> list[str]:
    return await db(kinds_of, turn)


async def test_any_text_gets_an_answer(crew: Crew) -> None:
    turn = await crew.say("hello")
    assert (turn.status, turn.outcome, turn.attempt, turn.steps) == ("completed", "stop", 1, 1)
    assert "demo model" in (await answer(turn)).text
    assert turn.first_chunk_ms is not None


async def test_words(crew: Crew) -> None:
    turn = await crew.say("/words 5")
    assert (await answer(turn)).text == "w1 w2 w3 w4 w5"
    names = await kinds(turn)
    assert names[:3] == ["start", "start-step", "text-start"]
    assert names[-4:] == ["text-end", "data-usage", "finish-step", "finish"]


async def test_many_words_are_few_rows(crew: Crew) -> None:
    turn = await crew.say("/words 5000")
    assert (await answer(turn)).text == " ".join(f"w{n}" for n in range(1, 5001))
    assert len(await kinds(turn)) < 100


async def test_thinking_comes_before_the_text_and_is_apart_from_it(crew: Crew) -> None:
    turn = await crew.say("/think let me see\n/words 1")
    parts = (await answer(turn)).parts
    assert [(part["type"], part.get("text")) for part in parts] == [
        ("step-start", None),
        ("reasoning", "let me see"),
        ("text", "w1"),
    ]


async def test_thinking_alone_is_not_an_answer(crew: Crew) -> None:
    turn = await crew.say("/think let me see")
    assert (turn.status, turn.steps) == ("completed", 2)
    assert (await answer(turn)).text == "Done."


async def test_a_tool_and_its_result(crew: Crew) -> None:
    turn = await crew.say('/tool calculator {"expression": "6 * 7"}\n/results')
    assert turn.steps == 2
    assert (await answer(turn)).text == 'calculator: {"result": 42}'
    (call,) = await calls_of(turn)
    assert (call.name, call.arguments, call.state, call.output) == (
        "calculator",
        {"expression": "6 * 7"},
        "done",
        {"result": 42},
    )
    names = await kinds(turn)
    in_order = [
        "tool-input-start",
        "tool-input-delta",
        "tool-input-available",
        "tool-output-available",
        "finish-step",
    ]
    assert [name for name in names if name in in_order][:5] == in_order


async def test_tools_alone_end_with_a_text(crew: Crew) -> None:
    turn = await crew.say("/tool current_time")
    assert (await answer(turn)).text == "Done."


async def test_tools_of_one_batch_run_side_by_side(crew: Crew) -> None:
    lines = ['/tool demo_wait {"seconds": 0.4}'] * 5
    started = time.monotonic()
    turn = await crew.say("\n".join(lines))
    took = time.monotonic() - started
    assert [call.state for call in await calls_of(turn)] == ["done"] * 5
    assert 0.4 < took < 1.6, "as long as the longest, not as all together"
    starts = [call.started_at for call in await calls_of(turn)]
    ends = [call.finished_at for call in await calls_of(turn)]
    assert max(filter(None, starts)) < min(filter(None, ends))
    await answer(turn)


async def test_two_batches_are_two_steps(crew: Crew) -> None:
    text = '/tool calculator {"expression": "1"}\n/words 1\n/tool calculator {"expression": "2"}\n/results'
    turn = await crew.say(text)
    assert [(call.step, call.output) for call in await calls_of(turn)] == [(1, {"result": 1}), (2, {"result": 2})]
    assert (await answer(turn)).text == 'w1calculator: {"result": 2}'


async def test_a_tool_shows_how_far_it_is(crew: Crew) -> None:
    turn = await crew.say('/tool demo_wait {"seconds": 0.2}')
    outputs = [chunk for _, chunk in await db(events_of, turn) if chunk["type"] == "tool-output-available"]
    assert [(chunk.get("preliminary", False), chunk["output"]) for chunk in outputs] == [
        (True, "waited 0.2 of 0.2 s"),
        (False, {"waited_seconds": 0.2}),
    ]


async def test_a_tool_that_is_not_there(crew: Crew) -> None:
    turn = await crew.say("/tool conjure {}\n/results")
    (call,) = await calls_of(turn)
    assert (call.name, call.state) == ("conjure", "error")
    assert turn.status == "completed"
    assert "There is no tool named 'conjure'" in (await answer(turn)).text


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("demo_boom", "Boom"),
        ("calculator", "'expression' is a required property"),
        ('calculator {"expression": 5}', "5 is not of type 'string'"),
        ('calculator {"expression": "1", "more": 1}', "Additional properties"),
        ("calculator {not json", "not a valid JSON object"),
        ("calculator [1]", "not a valid JSON object"),
        ('calculator {"expression": "1/0"}', "has no value"),
        ('calculator {"expression": "1\\u0000 + \\ud800"}', "has no value|not an arithmetic"),
        ('demo_wait {"seconds": NaN}', ""),
        ('demo_wait {"seconds": 1e999}', ""),
        ("calculator " + '{"a":' * 5000, "not a valid JSON object"),
    ],
)
async def test_a_call_that_fails_fails_alone(crew: Crew, line: str, error: str) -> None:
    turn = await crew.say(f"/tool {line}\n/tool current_time\n/results")
    failed, fine = await calls_of(turn)
    assert (failed.state, fine.state) == ("error", "done")
    assert turn.status == "completed"
    assert any(piece in failed.error for piece in error.split("|"))
    message = await answer(turn)
    assert "output-error" in {part.get("state") for part in message.parts}
    results = [part for part in crew.requests[-1].messages[-1].parts if isinstance(part, ToolResultPart)]
    assert [result.is_error for result in results] == [True, False]


async def test_a_tool_that_asks_does_not_run_where_nobody_is_asked(crew: Crew, settings: Settings) -> None:
    settings.APPROVALS_MODE = "dont_ask"
    session = await db(make_session)
    turn = await crew.say('/tool demo_note {"text": "hello"}\n/results', session)
    (call,) = await calls_of(turn)
    assert (call.state, call.output) == ("denied", None)
    assert "tool-output-denied" in await kinds(turn)
    message = await answer(turn)
    assert "approval" in message.text
    (part,) = [part for part in message.parts if part["type"] == "dynamic-tool"]
    assert (part["state"], part["approval"]["reason"]) == ("output-denied", call.error)
    assert not (settings.DATA_DIR / "workspaces" / str(session.id)).exists()


async def test_with_approvals_off_it_runs(crew: Crew, settings: Settings) -> None:
    settings.APPROVALS_ENABLED = False
    session = await db(make_session)
    turn = await crew.say('/tool demo_note {"text": "hello\\nthere"}', session)
    (call,) = await calls_of(turn)
    assert call.output == {"file": "notes.txt", "lines": 1}
    assert (settings.DATA_DIR / "workspaces" / str(session.id) / "notes.txt").read_text() == "hello there\n"


async def test_tools_that_a_session_does_not_offer(crew: Crew) -> None:
    session = await db(lambda: make_session(tools=["current_*"]))
    turn = await crew.say('/tool calculator {"expression": "1"}\n/tool current_time', session)
    assert [call.state for call in await calls_of(turn)] == ["error", "done"]
    assert [tool.name for tool in crew.requests[0].tools] == ["current_time"]


async def test_sleeping_is_silence(crew: Crew) -> None:
    started = time.monotonic()
    turn = await crew.say("/sleep 0.3\n/words 1")
    assert time.monotonic() - started > 0.3
    assert (await answer(turn)).text == "w1"


async def test_a_step_is_a_model_call(crew: Crew) -> None:
    turn = await crew.say("/words 1\n/step\n/words 2\n/step\n/words 1")
    assert turn.steps == 3
    assert [request.step for request in crew.requests] == [1, 2, 3]
    message = await answer(turn)
    assert [part["type"] for part in message.parts] == ["step-start", "text"] * 3
    assert message.text == "w1w1 w2w1"


async def test_no_results_to_echo(crew: Crew) -> None:
    assert (await answer(await crew.say("/results"))).text == "There are no results."


FINAL = ["quota", "auth", "model_not_found", "content_filter", "context_overflow", "not_configured", "unknown"]
TRANSIENT = ["rate_limit", "network", "timeout", "overloaded"]


@pytest.mark.parametrize("code", FINAL)
async def test_errors_that_do_not_pass_are_not_tried_again(crew: Crew, code: str) -> None:
    turn = await crew.say(f"/fail {code} 1\n/words 1")
    assert (turn.status, turn.outcome) == ("failed", code)
    assert len(crew.requests) == 1
    error = turn.public_error()
    assert error is not None
    assert (error["code"], error["retryable"]) == (code, False)
    assert ((await answer(turn)).state, (await kinds(turn))[-2:]) == ("failed", ["data-error", "error"])


@pytest.mark.parametrize("code", TRANSIENT)
async def test_errors_that_may_pass_are_tried_again(crew: Crew, code: str) -> None:
    turn = await crew.say(f"/fail {code} 3\n/words 2")
    assert (turn.status, turn.attempt) == ("completed", 1)
    assert [request.tries for request in crew.requests] == [0, 1, 2, 3]
    assert (await answer(turn)).text == "w1 w2"
    statuses = [chunk["data"] for _, chunk in await db(events_of, turn) if chunk["type"] == "data-status"]
    assert statuses == [{"state": "retrying", "attempt": n, "reason": code} for n in (2, 3, 4)]


async def test_an_error_that_does_not_pass_in_the_end(crew: Crew) -> None:
    turn = await crew.say("/fail overloaded")
    assert (turn.status, turn.outcome, len(crew.requests)) == ("failed", "overloaded", asking.TRIES_MAX)
    error = turn.public_error()
    assert error is not None
    assert error["retryable"]


async def test_after_some_text_what_was_shown_is_taken_back(crew: Crew) -> None:
    turn = await crew.say("/faillate network 2\n/words 3")
    assert turn.status == "completed"
    assert (await answer(turn)).text == "w1 w2 w3"
    assert (await kinds(turn)).count("data-rollback") == 2


async def test_after_some_text_it_is_tried_twice_more_at_most(crew: Crew) -> None:
    turn = await crew.say("/faillate network\n/words 3")
    assert (turn.status, turn.outcome, len(crew.requests)) == ("failed", "network", 1 + asking.LATE_TRIES_MAX)
    message = await answer(turn)
    assert (message.state, message.text) == ("partial", "This text comes before the failure.")


async def test_a_late_failure_of_a_later_step_keeps_the_earlier_ones(crew: Crew) -> None:
    turn = await crew.say("/words 1\n/step\n/faillate timeout 1\n/words 2")
    assert (await answer(turn)).text == "w1w1 w2"
    rollback = next(chunk for _, chunk in await db(events_of, turn) if chunk["type"] == "data-rollback")
    assert rollback["data"]["to_seq"] > 0


async def test_a_late_failure_that_is_final_keeps_the_text(crew: Crew) -> None:
    turn = await crew.say("/words 2\n/faillate auth")
    message = await answer(turn)
    assert (turn.outcome, message.state) == ("auth", "partial")
    assert message.text == "w1 w2\nThis text comes before the failure."


async def test_an_unknown_class_of_error(crew: Crew) -> None:
    turn = await crew.say("/fail nonsense")
    assert turn.outcome == "unknown"


async def test_saying_nothing_is_an_error(crew: Crew) -> None:
    turn = await crew.say("/empty")
    assert (turn.status, turn.outcome) == ("failed", "no_response")
    assert (await answer(turn)).state == "failed"


async def test_saying_nothing_after_tools_is_asked_for_once_and_then_closed(crew: Crew) -> None:
    turn = await crew.say("/tool current_time\n/empty")
    assert turn.status == "completed"
    assert (await answer(turn)).text
    assert len(crew.requests) == 3


async def test_what_it_cost(crew: Crew) -> None:
    turn = await crew.say("/cost 1500\n/words 7")
    record = await db(lambda: UsageRecord.objects.get(turn=turn))
    assert (record.cost_microdollars, record.cost_source, record.output_tokens) == (1500, "provider", 7)
    session = await db(fresh, turn.session)
    assert (session.cost_microdollars, session.output_tokens) == (1500, 7)


async def test_failed_tries_and_all_steps_are_counted(crew: Crew) -> None:
    turn = await crew.say("/words 3\n/step\n/words 4")
    records = await db(lambda: list(UsageRecord.objects.filter(turn=turn).values_list("step", "output_tokens")))
    assert records == [(1, 3), (2, 4)]


async def test_the_model_may_suggest_a_title(crew: Crew) -> None:
    turn = await crew.say("/title A better name\n/words 1")
    session = await db(fresh, turn.session)
    assert (session.title, session.title_source) == ("A better name", "model")
    assert "data-title" in await kinds(turn)


async def test_a_title_that_a_person_chose_stays(crew: Crew) -> None:
    session = await db(lambda: make_session(title="Mine"))
    turn = await crew.say("/title A better name\n/words 1", session)
    assert (await db(fresh, session)).title == "Mine"
    assert "data-title" not in await kinds(turn)


async def test_a_turn_that_ends_without_an_answer_does_not_speak_in_the_next(crew: Crew) -> None:
    """The words of a failed turn are history, not instructions."""
    session = await db(make_session)
    failed = await crew.say("/fail auth", session)
    assert failed.status == "failed"
    turn = await crew.say("/words 2", session)
    assert (turn.status, (await answer(turn)).text) == ("completed", "w1 w2")


async def test_each_user_message_is_in_the_history_once(crew: Crew) -> None:
    session = await db(make_session)
    await crew.say("first question", session)
    await crew.say('/tool calculator {"expression": "1"}', session)
    crew.requests.clear()
    await crew.say("third question", session)
    (request,) = crew.requests
    asked = [message.parts[0].text for message in request.messages if message.role == "user"]  # type: ignore[union-attr]
    assert asked == ["first question", '/tool calculator {"expression": "1"}', "third question"]
    assert [message.role for message in request.messages] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]


async def test_the_system_prompt_is_the_same_for_everybody(crew: Crew) -> None:
    await crew.say("hello", timezone="Europe/Berlin")
    await crew.say("and now?")
    assert len({request.system for request in crew.requests}) == 1
    assert json.dumps(json_of(crew.requests[0].tools)) == json.dumps(json_of(crew.requests[1].tools))


def json_of(tools: Any) -> Any:
    return [(tool.name, tool.description, tool.parameters) for tool in tools]
