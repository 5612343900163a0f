"""An interrupt cuts short what it was meant for, once, whenever it is heard of."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import between, calls
from copilot.diagnostics import invariants
from copilot.events import publish
from copilot.events.log import EventBatch
from copilot.models import ToolCall, Turn
from copilot.turns.followups import Delivery, deliver_followups
from copilot.turns.progress import settle_call
from copilot.turns.submit import Accepted, withdraw_queued
from tests.factories import accept
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


async def interrupt(turn: Turn, text: str) -> Accepted:
    return await db(lambda: accept(turn.session, text, delivery="interrupt"))


async def withdraw(turn: Turn, accepted: Accepted) -> None:
    ids = {"session_id": turn.session_id, "message_id": accepted.message.id}
    await db(lambda: withdraw_queued(user=turn.session.user, **ids))


async def test_word_of_it_during_its_own_delivery_does_not_cut_the_answer_to_it(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await crew.hire()
    on_loop = asyncio.get_running_loop().call_soon_threadsafe

    def told_meanwhile(batch: EventBatch, **arguments: Any) -> Delivery | None:
        found = deliver_followups(batch, **arguments)
        for message in found.messages if found else ():
            told = {"turn": str(arguments["turn_id"]), "message": str(message.id)}
            on_loop(here._hear, {"type": "turn.interrupted", **told})
        time.sleep(0.05)  # on purpose: the commit is under way while the word arrives
        return found

    monkeypatch.setattr(between, "deliver_followups", told_meanwhile)
    turn = await crew.send('/tool demo_wait {"seconds": 0.5}\n/words 2')
    await crew.until(turn, "tool-input-available")
    await interrupt(turn, "/words 3 20")
    await crew.ended(turn)
    assert len(crew.requests) == 2
    assert crew.requests[-1].messages[-1].role == "user"


async def test_what_was_committed_while_it_was_cut_is_never_taken_back(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await crew.hire()
    inside = asyncio.Event()
    on_loop = asyncio.get_running_loop().call_soon_threadsafe

    def slow(batch: EventBatch, **arguments: Any) -> int:
        sealed = settle_call(batch, **arguments)
        on_loop(inside.set)
        time.sleep(0.3)  # on purpose: the step is cut while this is being committed
        return sealed

    monkeypatch.setattr(calls, "settle_call", slow)
    turn = await crew.send('/tool demo_wait {"seconds": 0.05}\n/fail overloaded 1\n/words 2')
    async with asyncio.timeout(10):
        await inside.wait()
    here.live[turn.id].cut_step(uuid.uuid4())  # one that was withdrawn meanwhile
    await crew.ended(turn)
    assert await db(invariants.check) == []


async def test_no_step_is_cut_for_what_could_not_be_read_after_it(crew: Crew, settings: Settings) -> None:
    settings.TURN_MAX_STEPS = 2
    await crew.hire()
    turn = await crew.send("/words 30 20")
    await crew.until(turn, "text-delta")
    await interrupt(turn, "/words 3")
    await crew.ended(turn)
    assert all(request.messages[-1].role == "user" for request in crew.requests)


async def test_calls_of_a_lost_worker_are_of_unknown_outcome_also_when_interrupted(crew: Crew) -> None:
    here = await crew.hire()
    script = [f'/tool demo_once {{"text": "slow {name}"}}' for name in "abc"]
    turn = await crew.send("\n".join([*script, "/words 2"]))
    await crew.true(lambda: ToolCall.objects.filter(turn=turn, state="running").count() == 3)
    await crew.lose(here)
    await interrupt(turn, "/words 3")
    await crew.hire()
    await crew.recover(turn)
    await crew.ended(turn)
    assert {call.state for call in await db(lambda: list(turn.tool_calls.all()))} == {"unknown"}


async def test_withdrawing_the_newer_one_keeps_the_older(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await crew.hire()
    monkeypatch.setattr(publish, "interrupted", lambda *_: None)
    monkeypatch.setattr(here, "_heed", lambda _: None)
    turn = await crew.send('/tool demo_wait {"seconds": 1}\n/words 2')
    await crew.until(turn, "tool-input-available")
    older, newer = await interrupt(turn, "/words 3"), await interrupt(turn, "/words 4")
    await withdraw(turn, newer)
    assert (await crew.now(turn)).interrupt_id == older.message.id
    await withdraw(turn, older)
    assert (await crew.now(turn)).interrupt_id is None
    await crew.ended(turn)


async def test_one_behind_a_message_for_the_next_turn_is_said_to_wait_for_it(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send("/words 60 20")
    await crew.until(turn, "text-delta")
    await db(lambda: accept(turn.session, "/words 3", delivery="next"))
    behind = await db(lambda: accept(turn.session, "/words 4", delivery="asap"))
    assert behind.delivery == "next"
    assert (await interrupt(turn, "/words 5")).delivery == "interrupt"
