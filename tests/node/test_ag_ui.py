"""The official client of AG-UI: it refuses what breaks the protocol, and its messages are what people see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.node

Run = Callable[[str], Any]


@pytest.fixture
def play(run_script: Callable[..., Any]) -> Run:
    """Return a function that plays a scenario."""
    return lambda scenario: run_script("ag-ui.mjs", SCENARIO=scenario)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_everything_that_a_turn_has_arrives(play: Run) -> None:
    first, second = play("everything")
    assert (first["outcome"], second["outcome"]) == ("success", "success")
    asked, *answer = first["messages"]
    assert answer == [
        {"role": "reasoning", "content": "let me see"},
        {**said("w1 w2 w3"), "calls": [["calculator", {"expression": "6 * 7"}]]},
        {"role": "tool", "content": answer[2]["content"]},
        said("w1 w2"),
    ]
    assert "42" in answer[2]["content"]
    assert second["messages"] == [asked, *answer, user("/words 1"), said("w1")]
    assert first["usage"][0]["outputTokens"] == 5
    assert {"STEP_STARTED", "STEP_FINISHED", "REASONING_START", "TOOL_CALL_RESULT"} <= set(first["events"])


def test_a_batch_is_decided_call_by_call(play: Run) -> None:
    asked, decided = play("approvals")
    assert asked["outcome"] == "interrupt"
    assert [interrupt["reason"] for interrupt in asked["interrupts"]] == ["tool_call", "tool_call"]
    assert [interrupt["metadata"]["arguments"] for interrupt in asked["interrupts"]] == [
        {"text": "one"},
        {"text": "two"},
    ]
    assert all(interrupt["responseSchema"]["required"] == ["approved"] for interrupt in asked["interrupts"])
    [_, calls] = asked["messages"]
    assert calls["calls"] == [["demo_note", {"text": "one"}], ["demo_note", {"text": "two"}]]
    assert (decided["outcome"], decided["interrupts"]) == ("success", [])
    *results, closing = decided["messages"][2:]
    assert [result["role"] for result in results] == ["tool", "tool"]
    assert [result["metadata"] for result in results if "metadata" in result] == [{"outcome": "denied"}]
    assert closing == said("w1 w2")


def test_a_call_that_was_edited_is_seen_as_it_ran(play: Run) -> None:
    _, decided = play("editing")
    assert decided["messages"][1]["calls"] == [["demo_note", {"text": "better"}]]
    assert decided["messages"][3] == said("w1 w2")


def test_a_question_is_answered(play: Run) -> None:
    asked, answered = play("question")
    [interrupt] = asked["interrupts"]
    assert (interrupt["reason"], interrupt["message"]) == ("input_required", "Red or blue?")
    assert interrupt["metadata"]["options"] == ["red", "blue"]
    assert answered["outcome"] == "success"
    assert "blue" in answered["messages"][-1]["content"]


def test_a_message_instead_of_an_answer_goes_along(play: Run) -> None:
    _, run = play("instead")
    assert run["outcome"] == "success"
    assert [message["role"] for message in run["messages"]].count("user") == 2
    assert run["messages"][-1] == said("w1 w2 w3")


def test_what_was_taken_back_is_gone(play: Run) -> None:
    run = play("rollback")
    assert run["outcome"] == "success"
    assert "MESSAGES_SNAPSHOT" in run["events"]
    shown = [message for message in run["messages"] if message.get("content")]
    assert shown[:2] == [user("/words 1"), said("w1")]
    assert shown[-1] == said("w1 w2")
    assert not any("before the failure" in message["content"] for message in shown)


def test_a_failure_has_its_code_and_the_thread_goes_on(play: Run) -> None:
    failed, second = play("failure")
    assert failed["error"]["code"] == "quota"
    assert failed["events"][-1] == "RUN_ERROR"
    assert second["messages"][-1] == said("w1")


def test_a_stopped_run_is_cancelled(play: Run) -> None:
    run = play("stop")
    assert run["outcome"] == "cancelled"


def test_who_left_and_runs_again_has_the_whole_answer_once(play: Run) -> None:
    partial, again = play("again")
    assert partial["outcome"] is None
    words = " ".join(f"w{n}" for n in range(1, 41))
    assert again["messages"][1:] == [{"role": "reasoning", "content": "so"}, said(words)]
    assert again["outcome"] == "success"


def test_a_thread_that_waits_takes_no_other_message(play: Run) -> None:
    assert play("busy") == {"status": 409, "code": "session_busy"}
