"""Messages between processes are hints: doubled, lost, unknown or late, the rows say what is to be done."""

from __future__ import annotations

import asyncio
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.db import connections

from common.db import db
from copilot import worker as working
from copilot.diagnostics import invariants
from copilot.events import publish
from copilot.events.follow import Event, follow
from copilot.models import Turn
from copilot.turns.cancel import cancel_turn
from tests.factories import answer_of, events_of, kinds_of
from tests.harness import PATIENCE, Crew

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_turn_that_workers_are_told_of_many_times_runs_once(crew: Crew) -> None:
    for _ in range(2):
        await crew.hire()
    turn = await crew.send("/words 5 20")
    await asyncio.gather(*[here.run_one() for here in crew.workers for _ in range(3)])
    assert (await crew.ended(turn)).fence == 2, "claimed once, ended once"
    assert len(crew.requests) == 1
    await asyncio.gather(*[here.run_one() for here in crew.workers])
    assert len(crew.requests) == 1, "neither does a late one begin it anew"


async def test_a_turn_ends_though_every_hint_fails(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    layer: Any = get_channel_layer()

    async def refuse(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no layer")

    monkeypatch.setattr(layer, "group_send", refuse)
    await crew.hire()
    turn = await crew.say('/words 10 10\n/tool demo_wait {"seconds": 0.1}\n/words 2')
    assert turn.status == "completed"
    assert await db(invariants.check) == []


async def test_a_stop_reaches_the_worker_that_runs_the_turn_whichever_it_is(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working.Worker, "_renew", lambda self: None)  # only the hint tells
    first, second = await crew.hire(), await crew.hire()
    mine = await crew.send("/words 1000 20")
    await crew.until(mine, "text-delta", 2)
    crew.workers.reverse()
    other = await crew.send("/sleep 60")
    await crew.until(other, "start-step")
    assert (list(first.live), list(second.live)) == ([mine.id], [other.id])
    for turn in (other, mine):
        result = await cancel_turn(user=turn.session.user, turn_id=turn.id)
        assert (result.cancelled, result.confirmed) == (True, True)
        await crew.ended(turn)
    assert (first.live, second.live) == ({}, {})


async def test_a_follower_that_leaves_does_not_stop_the_turn(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send("/words 30 20")
    async with asyncio.timeout(PATIENCE), aclosing(follow(turn.id)) as items:
        async for item in items:
            if isinstance(item, Event) and item.chunk["type"] == "text-delta":
                break
    assert (await crew.ended(turn)).status == "completed"
    answer = await db(answer_of, turn)
    assert answer is not None
    assert answer.text.endswith("w30")


async def test_what_nobody_knows_is_passed_over(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    """Processes of another version run beside this one while it is being replaced. Nobody misses a hint for it."""
    caplog.set_level(logging.DEBUG, "copilot.events.listen")
    layer: Any = get_channel_layer()
    await crew.hire()
    turn = await crew.send("/words 1000 20")
    await crew.until(turn, "text-delta")
    following = asyncio.create_task(crew.ended_log(turn))
    await crew.until(turn, "text-delta", 2)
    for group in (publish.WORKERS, publish.turn_group(turn.id)):
        for new in ({"type": "something.new"}, {"type": "another.one", "turn": "x", "events": [["?"]]}):
            await layer.group_send(group, new)
    await crew.until(turn, "text-delta", 3)
    assert (await cancel_turn(user=turn.session.user, turn_id=turn.id)).confirmed
    await following
    assert [record for record in caplog.records if record.name == "copilot.events.listen"] == []


async def test_the_end_is_told_when_it_is_stored_and_not_before(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees the end and reads the turn must not find it running: a page would go and follow it again."""
    told: list[str] = []
    send = publish.publish_events
    elsewhere = ThreadPoolExecutor(1)  # others do not see what this transaction has not committed yet

    def look(turn_id: uuid.UUID, events: Any, since: float) -> None:
        if any(chunk["type"] in ("finish", "error", "abort") for _, chunk in events):
            told.append(elsewhere.submit(status_of, turn_id).result())
        send(turn_id, events, since)

    monkeypatch.setattr(publish, "publish_events", look)
    await crew.hire()
    turn = await crew.say("/words 1")
    assert told == ["completed"]
    failed = await crew.say("/fail auth", turn.session)
    assert told == ["completed", "failed"]
    assert [(await db(kinds_of, each))[-1] for each in (turn, failed)] == ["finish", "error"]
    elsewhere.shutdown()


def status_of(turn_id: uuid.UUID) -> str:
    try:
        return Turn.objects.get(pk=turn_id).status
    finally:
        connections.close_all()


async def test_a_follower_finds_the_turn_ended_with_its_last_event(crew: Crew) -> None:
    await crew.hire()
    for words, status in (("/words 3 5", "completed"), ("/fail auth", "failed")):
        turn = await crew.send(words)
        async with asyncio.timeout(PATIENCE), aclosing(follow(turn.id)) as items:
            events = [item async for item in items if isinstance(item, Event)]
        assert (await crew.now(turn)).status == status
        assert [(event.seq, event.chunk) for event in events] == await db(events_of, turn)
