"""How long a turn may run, how many steps it may take, how long a tool may hold it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import asking
from copilot.diagnostics import invariants
from copilot.models import ToolCall, Turn
from tests.factories import answer_of, backdate, events_of
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


async def text_of(turn: Turn) -> str:
    assert await db(invariants.check) == []
    answer = await db(answer_of, turn)
    return answer.text if answer else ""


async def test_the_last_step_is_asked_without_tools(crew: Crew, settings: Settings) -> None:
    settings.TURN_MAX_STEPS = 2
    await crew.hire()
    turn = await crew.say("/tool current_time\n/words 2\n/step\n/words 9")
    assert (turn.status, turn.outcome, turn.steps) == ("completed", "stop", 2)
    assert await text_of(turn) == "w1 w2"
    assert [bool(request.tools) for request in crew.requests] == [True, False]


async def test_at_the_last_step_a_text_beside_calls_is_the_answer(crew: Crew, settings: Settings) -> None:
    settings.TURN_MAX_STEPS = 1
    await crew.hire()
    turn = await crew.say("/words 2\n/tool current_time")
    assert (turn.status, turn.outcome) == ("completed", "stop")
    assert await text_of(turn) == "w1 w2"
    assert not await db(ToolCall.objects.exists)


async def test_without_a_text_at_the_last_step_it_fails_and_keeps_the_rest(crew: Crew, settings: Settings) -> None:
    settings.TURN_MAX_STEPS = 2
    await crew.hire()
    turn = await crew.say("/words 1\n/tool current_time\n/think x\n/tool current_time\n/words 1")
    assert (turn.status, turn.outcome) == ("failed", "max_steps")
    assert await text_of(turn) == "w1"


async def test_a_turn_over_its_time_ends_with_what_it_has(crew: Crew, settings: Settings) -> None:
    settings.TURN_MAX_SECONDS = 0.4
    await crew.hire()
    turn = await crew.say("/words 2\n/sleep 30")
    assert (turn.status, turn.outcome) == ("failed", "timeout")
    assert await text_of(turn) == "w1 w2"


async def test_a_tool_is_cut_off_with_the_turn(crew: Crew, settings: Settings) -> None:
    settings.TURN_MAX_SECONDS = 0.4
    await crew.hire()
    turn = await crew.say('/tool demo_wait {"seconds": 30}')
    assert turn.outcome == "timeout"
    assert (await db(ToolCall.objects.get)).state == "cancelled"
    await text_of(turn)


async def test_earlier_stretches_count(crew: Crew, settings: Settings) -> None:
    settings.TURN_MAX_SECONDS = 100
    turn = await crew.send("/sleep 30")
    await db(lambda: Turn.objects.update(running_ms=99_800))
    await crew.hire()
    crew.tell(turn.id)
    assert (await crew.ended(turn)).outcome == "timeout"


async def test_pauses_do_not_count(crew: Crew, settings: Settings) -> None:
    settings.TURN_MAX_SECONDS = 100
    turn = await crew.send("/words 1")
    await db(lambda: backdate(turn, created_at=timedelta(days=1), queued_at=timedelta(days=1)))
    await crew.hire()
    crew.tell(turn.id)
    assert (await crew.ended(turn)).status == "completed"


async def test_a_tool_over_its_time_fails_alone(crew: Crew, settings: Settings) -> None:
    settings.TOOL_MAX_SECONDS = 0.2
    await crew.hire()
    turn = await crew.say('/tool demo_wait {"seconds": 30}\n/tool current_time\n/words 1')
    calls = await db(lambda: list(ToolCall.objects.order_by("position")))
    assert [call.state for call in calls] == ["error", "done"]
    assert "longer than 0.2 seconds" in calls[0].error
    assert turn.status == "completed"


async def test_a_silent_model_is_given_up(crew: Crew, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "BACKOFF_SECONDS", 0.0)
    settings.TOOL_MAX_SECONDS = 0.05  # the watchdog is twice that
    await crew.hire()
    turn = await crew.say("/sleep 30")
    assert (turn.outcome, len(crew.requests)) == ("timeout", asking.TRIES_MAX)
    kinds = [chunk["type"] for _, chunk in await db(events_of, turn)]
    assert kinds.count("data-rollback") == asking.TRIES_MAX - 1
