"""The model that takes over: when it does, when it does not, and that the turn then stays with it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import asking, prompt
from copilot.agent.fallback import without_reasoning
from copilot.diagnostics import invariants
from copilot.models import Turn, UsageRecord
from copilot.providers.base import ModelMessage, ReasoningPart, TextPart
from copilot.turns.cancel import cancel_turn
from tests.agent.real_models import OVERLOADED, breaks_off, calls, models, says, thinks_and_calls
from tests.approvals.asking import People
from tests.factories import answer_of, events_of, make_running, make_session
from tests.harness import Crew
from tests.providers.server import Reply, Request, failure

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def _one(crew: Crew, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(asking, "BACKOFF_SECONDS", 0.0)
    settings.COPILOT_FALLBACK_MODEL = "second/m"
    await crew.hire()


async def say(crew: Crew, text: str = "hello", model: str = "first/m") -> Turn:
    turn = await crew.say(text, await db(lambda: make_session(model=model)))
    assert await db(invariants.check) == []
    return turn


async def text_of(turn: Turn) -> str:
    message = await db(answer_of, turn)
    return message.text if message else ""


async def retries_of(turn: Turn) -> list[dict[str, Any]]:
    return [chunk["data"] for _, chunk in await db(events_of, turn) if chunk["type"] == "data-status"]


async def test_another_model_answers_after_the_last_retry(crew: Crew, settings: Settings) -> None:
    async with models(settings, first=OVERLOADED, second=says("Here ", "I am.")) as servers:
        turn = await say(crew)
    assert (turn.status, turn.outcome, turn.model) == ("completed", "stop", "second/m")
    assert await text_of(turn) == "Here I am."
    assert [len(server.requests) for server in servers.values()] == [asking.TRIES_MAX, 1]
    retries = [{"state": "retrying", "attempt": n, "reason": "overloaded"} for n in (2, 3, 4)]
    last = {"state": "retrying", "attempt": 5, "reason": "overloaded", "model": "second/m"}
    assert await retries_of(turn) == [*retries, last]
    assert await db(lambda: UsageRecord.objects.get(turn=turn).model) == "second/m"
    assert (await crew.now(turn)).session.model == "first/m", "the next turn asks the session's model again"


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "auth"), (402, "quota"), (404, "model_not_found"), (413, "context_overflow"), (400, "unknown")],
)
async def test_what_does_not_pass_is_told_and_not_worked_around(
    crew: Crew, settings: Settings, status: int, code: str
) -> None:
    async with models(settings, first=failure(status, {"error": {"message": "x"}}), second=says("no")) as servers:
        turn = await say(crew)
    assert (turn.outcome, turn.model) == (code, "first/m")
    assert [len(server.requests) for server in servers.values()] == [1, 0]


async def test_what_was_said_is_not_taken_back_a_third_time(crew: Crew, settings: Settings) -> None:
    async with models(settings, first=breaks_off("Half an "), second=says("no")) as servers:
        turn = await say(crew)
    assert (turn.outcome, turn.model) == ("network", "first/m")
    assert await text_of(turn) == "Half an "
    assert [len(server.requests) for server in servers.values()] == [1 + asking.LATE_TRIES_MAX, 0]


async def test_a_provider_that_wants_a_long_rest_is_not_waited_for(crew: Crew, settings: Settings) -> None:
    busy = failure(429, {"error": {"message": "slow down"}}, retry_after="120")
    async with models(settings, first=busy, second=says("Here.")) as servers:
        turn = await say(crew)
    assert (turn.status, turn.model) == ("completed", "second/m")
    assert len(servers["first"].requests) == 1


async def test_when_both_fail_the_error_is_that_of_the_second(crew: Crew, settings: Settings) -> None:
    busy = failure(429, {"error": {"message": "slow down"}})
    async with models(settings, first=OVERLOADED, second=busy) as servers:
        turn = await say(crew)
    assert (turn.outcome, turn.model) == ("rate_limit", "first/m")
    assert [len(server.requests) for server in servers.values()] == [asking.TRIES_MAX, asking.TRIES_MAX]


@pytest.mark.parametrize("fallback", ["", "first/m", "nobody/m", "anthropic/m", "demo/other"])
async def test_without_another_model_that_can_answer_the_error_stays(
    crew: Crew, settings: Settings, fallback: str
) -> None:
    settings.COPILOT_FALLBACK_MODEL = fallback
    settings.ANTHROPIC_API_KEY = ""
    async with models(settings, first=OVERLOADED) as servers:
        turn = await say(crew)
    assert (turn.outcome, turn.model) == ("overloaded", "first/m")
    assert len(servers["first"].requests) == asking.TRIES_MAX


async def test_the_turn_stays_with_it_in_later_steps(crew: Crew, settings: Settings) -> None:
    script = [calls("current_time"), says("It is late.")]
    async with models(settings, first=OVERLOADED, second=script) as servers:
        turn = await say(crew)
    assert (await text_of(turn), turn.model, turn.steps) == ("It is late.", "second/m", 2)
    assert [len(server.requests) for server in servers.values()] == [asking.TRIES_MAX, 2]


async def test_the_turn_stays_with_it_after_a_crash(crew: Crew, settings: Settings) -> None:
    never = asyncio.Event()
    script = [calls("current_time"), Reply(wait=never), says("It is late.")]
    async with models(settings, first=OVERLOADED, second=script) as servers:
        turn = await crew.send("hello", await db(lambda: make_session(model="first/m")))
        await crew.until(turn, "start-step", times=asking.TRIES_MAX + 2)
        assert (await crew.now(turn)).model == "second/m"
        await crew.lose(crew.workers[0])
        await crew.hire()
        await crew.recover(turn)
        turn = await crew.ended(turn)
        never.set()
    assert (turn.status, turn.model) == ("completed", "second/m")
    assert len(servers["first"].requests) == asking.TRIES_MAX
    assert await db(invariants.check) == []


async def test_the_turn_stays_with_it_after_a_pause(crew: Crew, settings: Settings) -> None:
    script = [calls("ask_user", '{"question": "Which one?"}'), says("That one, then.")]
    async with models(settings, first=OVERLOADED, second=script) as servers:
        turn, action = await People(crew).ask("hello", await db(lambda: make_session(model="first/m")))
        assert turn.model == "second/m"
        await People(crew).answer(action, "the left one")
        turn = await crew.ended(turn)
    assert (turn.status, turn.model, await text_of(turn)) == ("completed", "second/m", "That one, then.")
    assert len(servers["first"].requests) == asking.TRIES_MAX
    assert await db(invariants.check) == []


async def test_it_is_the_model_of_what_it_said_until_it_was_stopped(crew: Crew, settings: Settings) -> None:
    async with models(settings, first=OVERLOADED, second=breaks_off("Well", end="open")):
        turn = await crew.send("hello", await db(lambda: make_session(model="first/m")))
        await crew.until(turn, "text-delta")
        await cancel_turn(user=turn.session.user, turn_id=turn.id)
        turn = await crew.ended(turn)
    assert (turn.status, turn.model, await text_of(turn)) == ("cancelled", "second/m", "Well")


async def test_it_does_not_get_what_the_first_one_signed(crew: Crew, settings: Settings) -> None:
    never = asyncio.Event()
    first = [thinks_and_calls("current_time"), *[OVERLOADED] * asking.TRIES_MAX]
    second = [thinks_and_calls("current_time"), Reply(wait=never), *[OVERLOADED] * asking.TRIES_MAX]
    apis = {"first": "anthropic", "second": "anthropic"}
    async with models(settings, apis=apis, first=first, second=second) as servers:
        turn = await crew.send("hello", await db(lambda: make_session(model="first/m")))
        await crew.until(turn, "start-step", times=asking.TRIES_MAX + 3)
        await crew.true(lambda: len(servers["second"].requests) == 2)
        await crew.lose(crew.workers[0])
        await crew.hire()
        await crew.recover(turn)
        turn = await crew.ended(turn)
        never.set()
    assert turn.outcome == "overloaded"
    kinds = [_kinds(request.body) for request in servers["second"].requests[:3]]
    assert kinds[0] == ["tool_use", "tool_result"], "what the first one signed stays with it"
    assert kinds[1] == ["tool_use", "tool_result", "thinking", "tool_use", "tool_result"], "its own goes back"
    assert kinds[2] == kinds[1], "also from rows"
    assert _kinds(servers["first"].requests[1].body) == ["thinking", "tool_use", "tool_result"], "the control"


def _kinds(body: dict[str, Any]) -> list[str]:
    return [part["type"] for message in body["messages"][1:] for part in message["content"]]


async def test_it_makes_room_for_itself(crew: Crew, settings: Settings) -> None:
    """Its window may be smaller: the summary is asked of it, not of the one that does not answer."""
    settings.COPILOT_FALLBACK_MODEL = "second/other"
    too_long = failure(413, {"error": {"message": "The prompt is too long."}})
    second = [too_long, says("They talked."), calls("current_time"), says("It is late.")]
    async with models(settings, first=OVERLOADED, second=second) as servers:
        session = await db(lambda: make_session(model="first/m"))
        await crew.dismiss()
        for _ in range(4):
            await db(lambda: make_running(session, "question " * 500).answer("answer " * 500))
        await crew.hire()
        turn = await crew.say("hello", session)
    assert (turn.status, turn.model, await text_of(turn)) == ("completed", "second/other", "It is late.")
    assert len(servers["first"].requests) == asking.TRIES_MAX
    assert [request.body["model"] for request in servers["second"].requests] == ["other"] * 4
    assert set(await db(lambda: list(UsageRecord.objects.values_list("model", flat=True)))) == {"second/other"}
    assert await db(invariants.check) == []


async def test_tools_of_the_demo_model_stay_with_it(crew: Crew, settings: Settings) -> None:
    async with models(settings, second=says("Here.")) as servers:
        turn = await say(crew, "/fail network", "demo/demo")
    assert turn.model == "second/m"
    offered = {tool["function"]["name"] for tool in servers["second"].requests[0].body["tools"]}
    assert "calculator" in offered
    assert "demo_note" not in offered
    assert "demo_note" in {tool.name for tool in crew.requests[0].tools}, "the control"


def test_a_message_of_signed_reasoning_alone_is_left_out() -> None:
    signed = ReasoningPart("Hm.", {"signature": "x"})
    said = TextPart("Hello")
    messages = [
        ModelMessage("user", (said,)),
        ModelMessage("assistant", (signed,)),
        ModelMessage("assistant", (signed, said)),
    ]
    assert without_reasoning(messages) == [messages[0], ModelMessage("assistant", (said,))]


async def test_the_model_that_took_over_summarises_too(crew: Crew, settings: Settings) -> None:
    """Room is made for it, in its own window, and what that used is said to be its."""
    refused = failure(413, {"error": {"message": "Request exceeds the maximum size"}})
    asked: list[str] = []

    def second(request: Request) -> Reply:
        first = str(request.body["messages"][0]["content"])
        asked.append("summary" if prompt.SUMMARISER in first else "step")
        if asked[-1] == "summary":
            return says("They counted.")
        return refused if asked.count("step") == 1 else says("Here I am.")

    async with models(settings, first=OVERLOADED, second=second) as servers:
        session = await db(lambda: make_session(model="first/m"))
        await crew.say("/words 500", session, model="demo/demo")
        turn = await crew.say("hello", session)
    assert (turn.status, turn.model, await text_of(turn)) == ("completed", "second/m", "Here I am.")
    assert asked == ["step", "summary", "step"]
    assert len(servers["first"].requests) == asking.TRIES_MAX
    assert "They counted." in str(servers["second"].requests[-1].body["messages"])
    assert await db(lambda: {each.model for each in UsageRecord.objects.filter(turn=turn)}) == {"second/m"}
    assert await db(invariants.check) == []
