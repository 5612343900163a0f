"""Model calls that fail, over real HTTP: what is tried again, what is kept, and what the turn says at its end."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import asking
from copilot.diagnostics import invariants
from copilot.models import Message, Turn
from tests.agent.real_models import OVERLOADED, breaks_off, calls, models, says
from tests.factories import answer_of, kinds_of, make_session
from tests.harness import Crew
from tests.providers.chat import call as call_delta
from tests.providers.chat import chunk
from tests.providers.server import Reply, failure, sse

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def _one(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "BACKOFF_SECONDS", 0.0)
    await crew.hire()


async def say(crew: Crew, text: str = "hello", session: Any = None) -> Turn:
    turn = await crew.say(text, session or await db(lambda: make_session(model="first/m")))
    assert await db(invariants.check) == []
    return turn


async def answer(turn: Turn) -> Message:
    message = await db(answer_of, turn)
    assert message is not None
    return message


# --- after text --------------------------------------------------------------------------------


@pytest.mark.parametrize("breaks", [1, 2, 3])
async def test_what_was_shown_is_taken_back_twice_at_most(crew: Crew, settings: Settings, breaks: int) -> None:
    script = [*(breaks_off(f"try {n}, ", "cut") for n in range(1, breaks + 1)), says("All ", "of it.")]
    async with models(settings, first=script) as servers:
        turn = await say(crew)
    message = await answer(turn)
    assert (await db(kinds_of, turn)).count("data-rollback") == min(breaks, 2)
    if breaks <= asking.LATE_TRIES_MAX:
        assert (turn.status, message.state, message.text) == ("completed", "done", "All of it.")
    else:
        assert (turn.outcome, message.state, message.text) == ("network", "partial", "try 3, cut")
        error = turn.public_error()
        assert error is not None
        assert error["retryable"]
        assert error["detail"]
    assert len(servers["first"].requests) == min(breaks + 1, 3)


async def test_a_stream_that_falls_silent_is_given_up(crew: Crew, settings: Settings) -> None:
    settings.TOOL_MAX_SECONDS = 0.1  # the watchdog is twice that
    async with models(settings, first=breaks_off("Well, ", end="open")) as servers:
        turn = await say(crew)
        await servers["first"].abandoned.wait()
    assert (turn.outcome, (await answer(turn)).text) == ("timeout", "Well, ")
    assert len(servers["first"].requests) == 1 + asking.LATE_TRIES_MAX


async def test_an_error_inside_the_stream_counts_as_one(crew: Crew, settings: Settings) -> None:
    said = [chunk({"content": "Hm "}), {"error": {"message": "Overloaded", "type": "overloaded_error"}}]
    script = [Reply([sse(*said)]), says("Fine.")]
    async with models(settings, first=script):
        turn = await say(crew)
    assert (turn.status, (await answer(turn)).text) == ("completed", "Fine.")


async def test_an_error_that_does_not_pass_keeps_what_was_said(crew: Crew, settings: Settings) -> None:
    said = [chunk({"content": "Half of "}), {"error": {"message": "No more credits", "code": 402}}]
    async with models(settings, first=Reply([sse(*said)])) as servers:
        turn = await say(crew)
    assert (turn.outcome, (await answer(turn)).text) == ("quota", "Half of ")
    assert len(servers["first"].requests) == 1


async def test_reasoning_and_a_call_that_was_being_written_are_kept_too(crew: Crew, settings: Settings) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "calculator", "arguments": '{"expr'}}
    said = [chunk({"reasoning_content": "Let me see."}), chunk({"tool_calls": [call]})]
    async with models(settings, first=Reply([sse(*said, done=False)], end="cut")):
        turn = await say(crew)
    parts = (await answer(turn)).parts
    assert [part["type"] for part in parts] == ["step-start", "reasoning", "dynamic-tool"]
    assert (parts[1]["text"], parts[2]["state"]) == ("Let me see.", "output-error")


# --- odd calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [99, 101, 400, 2000])
async def test_arguments_that_are_nested_too_deeply_are_the_models_to_mend(
    crew: Crew, settings: Settings, levels: int
) -> None:
    deep = '{"a":' * levels + "1" + "}" * levels
    async with models(settings, first=[calls("current_time", deep), says("I see.")]):
        turn = await say(crew)
    assert (turn.outcome, (await answer(turn)).text) == ("stop", "I see.")
    [call] = await db(lambda: list(turn.tool_calls.all()))
    assert ("not a valid JSON object" in call.error) == (levels > 100)


async def test_an_id_of_a_call_that_is_a_whole_signature_is_kept_in_short(crew: Crew, settings: Settings) -> None:
    """As some gateways send it; the column is no longer than that on PostgreSQL, which refuses a NUL too."""
    ident, name = "call_1" + "x" * 3000, "no_tool\x00" * 30
    made = chunk(call_delta("{}", index=0, id=ident, name=name))
    script = [Reply([sse(made, chunk({}, "tool_calls"))]), says("I see.")]
    async with models(settings, first=script) as servers:
        turn = await say(crew)
    assert (turn.outcome, (await answer(turn)).text) == ("stop", "I see.")
    [call] = await db(lambda: list(turn.tool_calls.all()))
    assert (len(call.provider_id) <= 256, len(call.name) <= 128, "\x00" in call.name) == (True, True, False)
    *_, asked, result = servers["first"].requests[-1].body["messages"]
    assert asked["tool_calls"][0]["id"] == result["tool_call_id"]


# --- nothing said ------------------------------------------------------------------------------

NOTHING = Reply([sse(chunk({}, "stop"))])
BLANK = Reply([sse(chunk({"content": " \n"}), chunk({}, "stop"))])


@pytest.mark.parametrize("silence", [NOTHING, BLANK], ids=["nothing", "blank"])
async def test_silence_is_an_error_in_any_turn_of_a_session(
    crew: Crew, settings: Settings, silence: Reply
) -> None:
    async with models(settings, first=[says("Hello."), silence, says("Back.")]):
        session = await db(lambda: make_session(model="first/m"))
        first, silent, third = [await say(crew, text, session) for text in ("one", "two", "three")]
    assert [turn.outcome for turn in (first, silent, third)] == ["stop", "no_response", "stop"]
    error = silent.public_error()
    assert error is not None
    assert "usage limit" in error["hint"]
    assert (await answer(third)).text == "Back."


async def test_silence_after_tools_is_asked_about_once_and_then_closed(crew: Crew, settings: Settings) -> None:
    async with models(settings, first=[calls("current_time"), NOTHING, NOTHING]) as servers:
        turn = await say(crew)
    assert turn.status == "completed"
    assert (await answer(turn)).text
    assert len(servers["first"].requests) == 3


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "code", "tries", "said"),
    [
        (failure(401, {"error": {"message": "Incorrect API key provided: sk-abcdef123456"}}), "auth", 1, "[key]"),
        (failure(429, {"error": {"message": "x", "code": "insufficient_quota"}}), "quota", 1, "x"),
        (failure(429, {"error": {"message": "slow down"}}), "rate_limit", 4, "slow down"),
        (failure(502, "<html><title>502 Bad Gateway</title></html>"), "overloaded", 4, "502 Bad Gateway"),
        (failure(529, {"error": {"type": "overloaded_error"}}), "overloaded", 4, "HTTP 529"),
        (Reply([b"<html><body>Log in</body></html>"], headers={"content-type": "text/html"}), "unknown", 1,
         "web page"),
        (failure(400, {"error": {"message": "bad field"}}), "unknown", 1, "bad field"),
        (failure(404, {"error": {"message": "no model m"}}), "model_not_found", 1, "no model m"),
    ],
    ids=["key", "quota", "rate", "html", "overloaded", "page", "bad-request", "no-model"],
)  # fmt: skip
async def test_the_turn_says_what_went_wrong_and_what_to_do(
    crew: Crew, settings: Settings, reply: Reply, code: str, tries: int, said: str
) -> None:
    async with models(settings, first=reply) as servers:
        turn = await say(crew)
    error = turn.public_error()
    assert error is not None
    assert (error["code"], error["retryable"]) == (code, tries > 1)
    assert said in error["detail"]
    assert not {"<", "abcdef"} & set(error["detail"].split())
    assert error.get("hint") or code == "unknown"
    assert len(servers["first"].requests) == tries


async def test_a_long_wait_is_named_instead_of_waited_for(crew: Crew, settings: Settings) -> None:
    busy = failure(429, {"error": {"message": "Slow down."}}, retry_after="200")
    async with models(settings, first=busy) as servers:
        turn = await say(crew)
    error = turn.public_error()
    assert error is not None
    assert error["detail"] == "Slow down. The provider asks to wait 4 minutes."
    assert error["hint"] == "Try again in 4 minutes, or choose another model."
    assert (error["retryable"], len(servers["first"].requests)) == (True, 1)


async def test_a_short_wait_is_kept(crew: Crew, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []
    monkeypatch.setattr(asking, "backoff", lambda tries, seconds: waits.append(seconds) or 0.0)
    busy = failure(503, {"error": {"message": "Slow down."}}, retry_after="20")
    async with models(settings, first=[busy, OVERLOADED, says("Hi.")]):
        turn = await say(crew)
    assert (turn.status, waits) == ("completed", [20.0, None])
