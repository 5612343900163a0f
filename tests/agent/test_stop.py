"""Stopping a running turn: what it had is kept, everything that began has its end, and nothing follows."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import asking
from copilot.diagnostics import invariants
from copilot.events import publish
from copilot.models import Message, ToolCall, Turn
from copilot.turns import cancel
from copilot.turns.cancel import CancelResult, cancel_turn, request_stop
from tests.factories import accept, answer_of, events_of, fresh, kinds_of
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def one(crew: Crew) -> None:
    await crew.hire()


async def stop(crew: Crew, turn: Turn) -> tuple[CancelResult, Turn]:
    """Stop a turn as its owner; return the answer and the turn, after making sure that no rule is broken."""
    started = time.monotonic()
    result = await cancel_turn(user=turn.session.user, turn_id=turn.id)
    assert time.monotonic() - started < 4, "its worker did it"
    ended = await crew.ended(turn)
    assert await db(invariants.check) == []
    assert (await db(kinds_of, turn))[-1] == "abort"
    return result, ended


async def quiet(turn: Turn) -> None:
    """Make sure that nothing more is stored."""
    before = await db(events_of, turn)
    await asyncio.sleep(0.3)  # on purpose: there is no event to wait for, this is time for one that must not come
    assert await db(events_of, turn) == before


async def answer(turn: Turn) -> Message | None:
    return await db(answer_of, turn)


async def test_in_the_middle_of_a_text(crew: Crew) -> None:
    turn = await crew.send("/words 1000 20")
    await crew.until(turn, "text-delta", 3)
    result, ended = await stop(crew, turn)
    assert result == CancelResult(cancelled=True, confirmed=True, turn=turn.id)
    assert (ended.status, ended.outcome) == ("cancelled", "stopped")
    message = await answer(turn)
    assert message is not None
    assert message.state == "partial"
    assert message.text.startswith("w1 w2")
    streamed = [chunk["delta"] for _, chunk in await db(events_of, turn) if chunk["type"] == "text-delta"]
    assert message.text == "".join(streamed)
    await quiet(turn)


async def test_in_the_middle_of_thinking(crew: Crew) -> None:
    turn = await crew.send("/think hmm\n/sleep 30")
    await crew.until(turn, "reasoning-delta")
    await stop(crew, turn)
    message = await answer(turn)
    assert message is not None
    assert [part["type"] for part in message.parts] == ["step-start", "reasoning"]


async def test_in_silence(crew: Crew) -> None:
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    result, ended = await stop(crew, turn)
    assert (result.confirmed, ended.status) == (True, "cancelled")
    assert await answer(turn) is None
    assert (await crew.say("/words 1", ended.session)).status == "completed"


async def test_in_the_middle_of_tools(crew: Crew) -> None:
    turn = await crew.send('/tool demo_wait {"seconds": 60}\n/tool current_time\n/words 1')
    await crew.until(turn, "tool-output-available", 2)
    await stop(crew, turn)
    calls = await db(lambda: dict(ToolCall.objects.values_list("name", "state")))
    assert calls == {"demo_wait": "cancelled", "current_time": "done"}
    message = await answer(turn)
    assert message is not None
    shown = {part["toolName"]: part for part in message.parts if part["type"] == "dynamic-tool"}
    assert shown["demo_wait"]["state"] == "output-error"
    assert shown["demo_wait"]["output"].startswith("waited 0.5"), "what it printed is kept"
    assert shown["current_time"]["state"] == "output-available"
    await quiet(turn)


async def test_between_two_tries(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "BACKOFF_SECONDS", 60.0)
    monkeypatch.setattr(asking, "BACKOFF_MAX", 60.0)
    turn = await crew.send("/fail overloaded")
    await crew.until(turn, "data-status")
    _, ended = await stop(crew, turn)
    assert (ended.status, len(crew.requests)) == ("cancelled", 1)


async def test_a_stop_that_no_hint_tells_is_heard_by_the_heartbeat(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "stop_requested", lambda turn_id: None)
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    result, ended = await stop(crew, turn)
    assert (result.confirmed, ended.outcome) == (True, "stopped")


@pytest.mark.parametrize("passing", [pytest.param(False, id="looked for"), pytest.param(True, id="control")])
async def test_while_hints_do_not_pass_a_stop_does_not_wait_for_the_heartbeat(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, settings: Settings, passing: bool
) -> None:
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    settings.TURN_LEASE_SECONDS = settings.TURN_HEARTBEAT_SECONDS = 300.0
    monkeypatch.setattr(publish, "stop_requested", lambda turn_id: None)
    monkeypatch.setattr(publish, "passing", lambda: passing)
    monkeypatch.setattr(cancel, "CONFIRM_SECONDS", 2.0)
    await asyncio.sleep(0.2)  # on purpose: the last of the quick heartbeats is over, the long one has begun
    result = await cancel_turn(user=turn.session.user, turn_id=turn.id)
    assert (result.cancelled, result.confirmed) == (True, not passing)


async def test_an_operators_stop_says_so(crew: Crew) -> None:
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    about: dict[str, Any] = {"user": turn.session.user, "session_id": turn.session_id, "turn_id": turn.id}
    await db(lambda: request_stop(**about, reason="operator"))
    ended = await crew.ended(turn)
    assert (ended.status, ended.outcome) == ("cancelled", "operator")


async def test_what_waited_is_held_and_comes_first_next_time(crew: Crew) -> None:
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    waiting = (await db(lambda: accept(turn.session, "/words 1"))).message
    await stop(crew, turn)
    assert (await db(fresh, waiting)).held
    last = await crew.say("/words 2", turn.session)
    message = await answer(last)
    assert message is not None
    assert message.text == "w1\nw1 w2", "both messages are answered, in order"


async def test_stopping_twice_is_one_stop(crew: Crew) -> None:
    turn = await crew.send("/words 1000 20")
    await crew.until(turn, "text-delta", 2)
    results = await asyncio.gather(*[cancel_turn(user=turn.session.user, turn_id=turn.id) for _ in range(4)])
    assert {result.cancelled for result in results} == {True}
    assert (await db(kinds_of, turn)).count("abort") == 1


async def test_only_the_turn_that_was_meant_stops(crew: Crew) -> None:
    first = await crew.say("/words 1")
    second = await crew.send("/words 10 30", first.session)
    await crew.until(second, "text-delta")
    result = await cancel_turn(user=first.session.user, turn_id=first.id)
    assert result == CancelResult(cancelled=False, confirmed=True, turn=first.id)
    assert (await crew.ended(second)).status == "completed"
