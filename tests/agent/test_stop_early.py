"""A stop that is accepted before something begins: it does not begin, also when no hint tells of the stop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import calls, loop
from copilot.diagnostics import invariants
from copilot.events import publish
from copilot.models import ToolCall, Turn
from copilot.tools.demo import DemoOnce, DemoWait
from copilot.turns import cancel
from tests.factories import answer_of, kinds_of, make_session, make_turn
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_news(monkeypatch: pytest.MonkeyPatch, crew: Crew, settings: Settings) -> None:
    """Nothing but the rows tells of a stop: hints are lost, and the next heartbeat comes too late."""
    settings.TURN_HEARTBEAT_SECONDS = 3600
    monkeypatch.setattr(publish, "stop_requested", lambda turn_id: None)


def stop_before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Have the turn's owner press stop just before this is called for the first time."""
    call = getattr(module, name)
    pressed: list[bool] = []

    def run(*args: Any, **kwargs: Any) -> Any:
        if not pressed:
            pressed.append(True)
            turn = Turn.objects.select_related("session__user").get()
            about: dict[str, Any] = {"user": turn.session.user, "session_id": turn.session_id, "turn_id": turn.pk}
            assert cancel.request_stop(**about, reason="stopped") is not None
        return call(*args, **kwargs)

    monkeypatch.setattr(module, name, run)


async def test_a_stop_between_the_claim_and_the_start_keeps_the_model_from_being_asked(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_before(monkeypatch, loop, "load")
    await crew.hire()
    turn = await crew.say("/words 1")
    assert (turn.status, turn.outcome) == ("cancelled", "stopped")
    assert crew.requests == []
    assert await db(answer_of, turn) is None
    assert await db(invariants.check) == []


async def test_a_stop_before_a_call_keeps_it_from_running(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = watched(monkeypatch, DemoOnce)
    stop_before(monkeypatch, calls, "begin_call")
    await crew.hire()
    turn = await crew.say('/tool demo_once {"text": "hello"}\n/words 1')
    assert (turn.status, turn.outcome) == ("cancelled", "stopped")
    assert ran == []
    assert await db(lambda: ToolCall.objects.get().state) == "cancelled"
    assert (await db(kinds_of, turn))[-1] == "abort"
    assert await db(invariants.check) == []


def watched(monkeypatch: pytest.MonkeyPatch, tool: Any) -> list[str]:
    """Note what becomes of the runs of a tool."""
    told: list[str] = []
    run = tool.run

    async def noted(self: Any, context: Any, **arguments: Any) -> Any:
        told.append("began")
        try:
            return await run(self, context, **arguments)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    monkeypatch.setattr(tool, "run", noted)
    return told


async def test_stopping_leaves_no_tool_running(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """All calls of a batch, which run side by side, are cancelled before the turn has ended."""
    settings.TURN_HEARTBEAT_SECONDS = 0.1
    told = watched(monkeypatch, DemoWait)
    await crew.hire()
    turn = await crew.send('/tool demo_wait {"seconds": 60}\n/tool demo_wait {"seconds": 60}\n/words 1')
    await crew.until(turn, "tool-output-available", 2)
    result = await cancel.cancel_turn(user=turn.session.user, turn_id=turn.id)
    assert (result.cancelled, result.confirmed) == (True, True)
    assert told == ["began", "began", "cancelled", "cancelled"]


async def test_a_stop_before_any_worker_came_keeps_the_turn_from_running(crew: Crew) -> None:
    turn = await db(make_turn, await db(make_session))
    stopped = await cancel.cancel_turn(user=(await crew.now(turn)).session.user, turn_id=turn.id)
    assert (stopped.cancelled, stopped.confirmed) == (True, True)
    here = await crew.hire()
    await here.run_one()
    assert (await crew.now(turn)).status == "cancelled"
    assert crew.requests == []
