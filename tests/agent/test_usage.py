"""What model calls used and cost: as providers tell, else estimated and marked, also where one was cut off."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import asking
from copilot.diagnostics import invariants
from copilot.models import Turn, UsageRecord
from copilot.objects import turn_object
from copilot.turns.cancel import cancel_turn
from tests.agent.real_models import OVERLOADED, breaks_off, calls, models, says
from tests.approvals.asking import People
from tests.diagnostics.conftest import manage
from tests.factories import accept, answer_of, backdate, events_of, fresh, make_session
from tests.harness import PATIENCE, Crew
from tests.providers.chat import chunk
from tests.providers.server import Reply, failure, sse

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def _one(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "BACKOFF_SECONDS", 0.0)
    await crew.hire()


async def say(crew: Crew, text: str = "hello", model: str = "first/m") -> Turn:
    turn = await crew.say(text, await db(lambda: make_session(model=model)))
    assert await db(invariants.check) == []
    return turn


async def text_of(turn: Turn) -> str:
    message = await db(answer_of, turn)
    return message.text if message else ""


async def usage_of(turn: Turn) -> dict[str, Any]:
    usage: dict[str, Any] = (await db(turn_object, await db(fresh, turn)))["usage"]
    return usage


async def records_of(turn: Turn) -> list[UsageRecord]:
    return await db(lambda: list(UsageRecord.objects.filter(turn=turn).order_by("fence", "step")))


FULL = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "total_tokens": 140,
    "prompt_tokens_details": {"cached_tokens": 60},
    "completion_tokens_details": {"reasoning_tokens": 30},
}


async def test_what_the_provider_says_is_kept_and_told(crew: Crew, settings: Settings) -> None:
    async with models(settings, first=says("Hi.", usage=FULL)):
        turn = await say(crew)
    told = {
        "input_tokens": 100,
        "output_tokens": 40,
        "reasoning_tokens": 30,
        "cache_read_tokens": 60,
        "cache_write_tokens": 0,
    }
    usage = await usage_of(turn)
    assert usage == usage | told | {"cost_source": "unknown"}
    assert not usage.keys() & {"cost_microdollars", "estimated"}
    chunks = [chunk["data"] for _, chunk in await db(events_of, turn) if chunk["type"] == "data-usage"]
    assert chunks == [{**told, "model": "first/m"}]


async def test_the_providers_own_cost_counts(crew: Crew, settings: Settings) -> None:
    async with models(settings, first=says("Hi.", usage=FULL | {"cost": 0.0042})):
        usage = await usage_of(await say(crew))
    assert (usage["cost_microdollars"], usage["cost_source"]) == (4200, "provider")


@pytest.mark.parametrize("told", [None, {"prompt_tokens": 0, "completion_tokens": 0}], ids=["nothing", "noughts"])
@pytest.mark.parametrize(("model", "source"), [("openai/gpt-4o", "estimate"), ("first/m", "unknown")])
async def test_of_a_provider_that_counts_nothing_it_is_estimated(
    crew: Crew, settings: Settings, model: str, source: str, told: dict[str, int] | None
) -> None:
    async with models(settings, first=says("x" * 399, usage=told)) as servers:
        settings.OPENAI_BASE_URL = f"{servers['first'].url}/v1"
        turn = await say(crew, "y" * 4000, model)
    usage = await usage_of(turn)
    assert (usage["output_tokens"], usage["estimated"], usage["cost_source"]) == (100, True, source)
    assert usage["input_tokens"] > 1000
    assert bool(usage.get("cost_microdollars")) == (source == "estimate")
    assert (await db(turn_object, await db(fresh, turn)))["context"]["estimated"] is True


async def test_of_a_stopped_answer_it_is_estimated(crew: Crew, settings: Settings) -> None:
    async with models(settings, first=breaks_off("x" * 400, end="open")) as servers:
        settings.OPENAI_BASE_URL = f"{servers['first'].url}/v1"
        turn = await crew.send("hello", await db(lambda: make_session(model="openai/gpt-4o")))
        await crew.until(turn, "text-delta")
        await cancel_turn(user=turn.session.user, turn_id=turn.id)
        turn = await crew.ended(turn)
    assert turn.status == "cancelled"
    usage = await usage_of(turn)
    assert (usage["output_tokens"], usage["cost_source"], usage["estimated"]) == (100, "estimate", True)
    assert usage["cost_microdollars"] > 0
    assert await db(invariants.check) == []


async def test_a_stopped_demo_costs_nothing_all_the_same(crew: Crew) -> None:
    turn = await crew.send("/words 3\n/sleep 30")
    await crew.until(turn, "text-delta")
    await cancel_turn(user=turn.session.user, turn_id=turn.id)
    usage = await usage_of(await crew.ended(turn))
    assert (usage["cost_microdollars"], usage["cost_source"]) == (0, "estimate")
    assert usage["output_tokens"] > 0


async def test_of_an_answer_that_was_interrupted_it_is_estimated(crew: Crew) -> None:
    turn = await crew.send("/words 3\n/sleep 30")
    await crew.until(turn, "text-delta")
    await db(lambda: accept(turn.session, "/words 1", delivery="interrupt"))
    turn = await crew.ended(turn)
    assert [(record.step, record.estimated) for record in await records_of(turn)] == [(1, True), (2, False)]
    assert await db(invariants.check) == []


async def test_every_try_that_said_something_counts(crew: Crew, settings: Settings) -> None:
    replies = [OVERLOADED, breaks_off("x" * 40), breaks_off("x" * 80), breaks_off("x" * 400)]
    async with models(settings, first=replies) as servers:
        turn = await say(crew)
    assert (turn.outcome, len(servers["first"].requests)) == ("network", 4)
    usage = await usage_of(turn)
    assert (usage["output_tokens"], usage["estimated"]) == (10 + 20 + 100, True)
    assert await text_of(turn) == "x" * 400


async def test_a_call_that_was_refused_used_nothing(crew: Crew, settings: Settings) -> None:
    async with models(settings, first=failure(401, {"error": {"message": "no"}})):
        turn = await say(crew)
    assert await records_of(turn) == []
    assert (await usage_of(turn))["cost_source"] == "unknown"


async def test_what_was_counted_before_the_break_is_kept_and_the_rest_estimated(
    crew: Crew, settings: Settings
) -> None:
    """Some say at the beginning what they read; of what they wrote they tell at the end."""
    counted = chunk({"content": "x" * 400}, usage={"prompt_tokens": 77, "completion_tokens": 1})
    async with models(settings, first=Reply([sse(counted, done=False)], end="cut")):
        turn = await say(crew)
    (record,) = await records_of(turn)
    assert (record.input_tokens, record.output_tokens) == (3 * 77, 3 * 100)
    assert record.estimated


async def test_several_calls_are_as_certain_as_the_worst_of_them(crew: Crew, settings: Settings) -> None:
    script = [calls("current_time", usage=FULL | {"cost": 0.001}), says("Late.", usage=None)]
    async with models(settings, first=script):
        turn = await say(crew)
    assert [record.cost_source for record in await records_of(turn)] == ["provider", "unknown"]
    usage = await usage_of(turn)
    assert (usage["cost_microdollars"], usage["cost_source"]) == (1000, "unknown")


async def test_tries_of_one_step_add_up_whatever_is_known_of_them(crew: Crew, settings: Settings) -> None:
    """The session counts what is known: its records have to add up to the same."""
    script = [breaks_off("Well"), says("Late.", usage=FULL | {"cost": 0.001})]
    async with models(settings, first=script):
        turn = await say(crew)
    (record,) = await records_of(turn)
    assert (record.cost_microdollars, record.cost_source, record.estimated) == (1000, "unknown", True)


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        ({}, ""),
        ({"model": "m"}, ""),
        ({"model": "m-2026-01-01"}, "m-2026-01-01"),
        ({"model": "m", "provider": "Azure"}, "Azure/m"),
    ],
    ids=["nothing", "same", "dated", "routed"],
)
async def test_who_really_answered_is_kept(
    crew: Crew, settings: Settings, named: dict[str, str], kept: str
) -> None:
    async with models(settings, first=says("Hi.", **named)):
        turn = await say(crew)
    (record,) = await records_of(turn)
    assert (record.model, record.answered_by) == ("first/m", kept)


async def test_the_history_of_a_turn_tells_who_answered_and_what_is_estimated(
    crew: Crew, settings: Settings
) -> None:
    async with models(settings, first=says("x" * 40, usage=None, model="m-2026")):
        turn = await say(crew)
    printed = await db(manage, "explain_turn", str(turn.pk))
    assert "first/m, answered by m-2026: about " in printed


async def test_an_alias_costs_what_the_model_behind_it_costs(crew: Crew, settings: Settings) -> None:
    async with models(settings, first=says("Hi.", model="gpt-4o-2024-08-06")) as servers:
        settings.OPENAI_BASE_URL = f"{servers['first'].url}/v1"
        turn = await say(crew, model="openai/our-alias")
    assert (await usage_of(turn))["cost_source"] == "table"


# --- the limit ---------------------------------------------------------------------------------

DEAR = "/cost 1500\n/words 1\n/step\n/cost 1500\n/words 2\n/step\n/words 3"


@pytest.mark.parametrize(
    ("limit", "outcome", "text"),
    [
        (0, "stop", "w1w1 w2w1 w2 w3"),
        (3000, "stop", "w1w1 w2w1 w2 w3"),
        (2999, "usage_limit", "w1w1 w2"),
        (1499, "usage_limit", "w1"),
    ],
)
async def test_a_turn_that_has_cost_too_much_ends_between_two_steps(
    crew: Crew, settings: Settings, limit: int, outcome: str, text: str
) -> None:
    settings.TURN_MAX_COST_MICRODOLLARS = limit
    turn = await say(crew, DEAR, "demo/demo")
    assert (turn.outcome, await text_of(turn)) == (outcome, text)
    message = await db(answer_of, turn)
    assert message is not None
    assert message.state == ("partial" if outcome == "usage_limit" else "done")


async def test_what_it_cost_before_a_crash_counts(crew: Crew, settings: Settings) -> None:
    turn = await crew.send("/cost 1500\n/words 1\n/step\n/sleep 30")
    await crew.until(turn, "start-step", times=2)
    await crew.lose(crew.workers[0])
    settings.TURN_MAX_COST_MICRODOLLARS = 1499
    await crew.hire()
    await crew.recover(turn)
    assert (await crew.ended(turn)).outcome == "usage_limit"
    assert await db(invariants.check) == []


async def test_what_was_said_for_too_much_is_not_taken_back_to_say_it_again(
    crew: Crew, settings: Settings
) -> None:
    settings.TURN_MAX_COST_MICRODOLLARS = 2000
    dear = chunk({"content": "Half an "}, usage={"prompt_tokens": 7, "completion_tokens": 9, "cost": 0.003})
    async with models(settings, first=Reply([sse(dear, done=False)], end="cut")) as servers:
        turn = await say(crew)
    assert (turn.outcome, await text_of(turn)) == ("usage_limit", "Half an ")
    assert len(servers["first"].requests) == 1


# --- times -------------------------------------------------------------------------------------


async def test_running_time_adds_up_over_a_pause_and_a_lost_worker(crew: Crew) -> None:
    turn, action = await People(crew).ask("/ask Which one? | a | b\n/words 1\n/step\n/sleep 0.2\n/words 2")
    waiting = await usage_of(turn)
    assert waiting["duration_ms"] == turn.running_ms, "waiting for a person is not running"
    await db(lambda: Turn.objects.update(running_ms=5_000))
    await People(crew).answer(action, "a")
    await crew.until(turn, "start-step", times=3)
    await db(lambda: backdate(turn, claimed_at=timedelta(seconds=100)))
    await crew.lose(crew.workers[0])
    await crew.hire()
    await crew.recover(turn)
    turn = await crew.ended(turn)
    assert turn.status == "completed"
    assert 105_000 <= (await usage_of(turn))["duration_ms"] < 105_000 + PATIENCE * 1000


async def test_the_first_chunk_is_the_first_one_that_stood(crew: Crew) -> None:
    """Another worker goes on: the person has been reading for long."""
    turn = await crew.send("/words 1\n/step\n/sleep 0.2\n/words 2")
    await crew.until(turn, "start-step", times=2)
    first = (await crew.now(turn)).first_chunk_ms
    assert first is not None
    await crew.lose(crew.workers[0])
    await crew.hire()
    await crew.recover(turn)
    turn = await crew.ended(turn)
    assert (turn.status, turn.first_chunk_ms) == ("completed", first)
