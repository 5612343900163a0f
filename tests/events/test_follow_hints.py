"""Following beside the transcript: hints and what happens without them, beats, and leaving."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import Any

import pytest
from channels.layers import get_channel_layer

from common.db import db
from copilot.events import follow as following
from copilot.events import listen, publish, schema
from copilot.events.follow import Beat, Event, follow
from tests.events.followers import Watch, break_layer, collect, log_of, start, write
from tests.factories import Holder, make_running
from tests.harness import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hints", "hurried", "named_loop")]


async def test_hints_make_it_fast(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a layer that works nobody waits for silence."""
    monkeypatch.setattr(following, "SILENCE_RUNNING", 60.0)
    monkeypatch.setattr(following, "SILENCE_WAITING", 60.0)
    follower = start(holder)
    await write(holder, 10)
    await db(holder.finish)
    assert await follower == await log_of(holder)


async def test_without_hints_silence_is_what_it_waits_for(
    holder: Holder, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the one before: it is the hints that make it fast."""
    break_layer(monkeypatch, "silent")
    monkeypatch.setattr(following, "SILENCE_RUNNING", 60.0)
    monkeypatch.setattr(following, "SILENCE_WAITING", 60.0)
    async with aclosing(follow(holder.claim.turn_id)) as items:
        following_task = asyncio.ensure_future(anext(items))
        await watch.until(lambda seen: seen.idle > 0)  # it has joined, and read all there was
        await write(holder, 1)
        await asyncio.sleep(0.2)  # on purpose: this much silence, in which it must not notice
        assert not following_task.done()
        following_task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following_task


async def test_silence_has_beats(holder: Holder) -> None:
    async with asyncio.timeout(PATIENCE), aclosing(follow(holder.claim.turn_id)) as items:
        assert [type(await anext(items)) for _ in range(3)] == [Beat] * 3


async def test_a_stream_without_silence_has_beats_too(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENCE_RUNNING", 60.0)
    writing = asyncio.create_task(write(holder, 100_000))  # until the beat came
    async with asyncio.timeout(PATIENCE), aclosing(follow(holder.claim.turn_id)) as items:
        async for item in items:
            if isinstance(item, Beat):
                break
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing


async def test_transient_chunks_pass_without_a_number(holder: Holder) -> None:
    chunk = schema.data("metering", {"tps": 5}, transient=True)
    async with asyncio.timeout(PATIENCE), aclosing(follow(holder.claim.turn_id)) as items:
        async for item in items:
            if isinstance(item, Beat):
                publish.publish_events(holder.claim.turn_id, [(None, chunk)])
            else:
                assert item == Event(None, chunk)
                break
    assert await log_of(holder) == []


async def test_hints_of_another_turn_are_not_heard(holder: Holder) -> None:
    other: Holder = await db(make_running)
    follower = start(holder)
    await write(other, 5)
    await db(other.finish)
    await db(holder.finish)
    assert await follower == await log_of(holder)
    assert len(await follower) == 1


async def test_leaving_early_leaves_the_group(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    layer: Any = get_channel_layer()
    joined: list[tuple[str, str]] = []
    has_joined = asyncio.Event()
    add, discard = layer.group_add, layer.group_discard

    async def group_add(group: str, channel: str) -> None:
        await add(group, channel)
        joined.append((group, channel))
        has_joined.set()

    async def group_discard(group: str, channel: str) -> None:
        await discard(group, channel)
        joined.remove((group, channel))

    monkeypatch.setattr(layer, "group_add", group_add)
    monkeypatch.setattr(layer, "group_discard", group_discard)
    async with aclosing(follow(holder.claim.turn_id)) as items:
        await anext(items)
        assert [group for group, _ in joined] == [publish.turn_group(holder.claim.turn_id)]
    assert joined == []
    has_joined.clear()
    cancelled = start(holder)
    await asyncio.wait_for(has_joined.wait(), PATIENCE)
    assert len(joined) == 1
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert joined == []


async def test_a_layer_that_fails_does_not_matter(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        async def new_channel(self) -> str:
            raise ConnectionError("no Redis")

        async def group_send(self, group: str, message: dict[str, Any]) -> None:
            raise ConnectionError("no Redis")

    monkeypatch.setattr(publish, "get_channel_layer", Broken)
    monkeypatch.setattr(listen, "get_channel_layer", Broken)
    follower = start(holder)
    await write(holder, 5)
    await db(holder.finish)
    assert await follower == await log_of(holder)


async def test_it_is_known_whether_hints_pass(hints: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = True

    class Layer:
        async def group_send(self, group: str, message: dict[str, Any]) -> None:
            if fails:
                raise ConnectionError("no Redis")

    async def knock() -> bool:
        publish.knock()
        await asyncio.sleep(0)
        assert publish._sender is not None
        await publish._sender
        return publish.passing()

    monkeypatch.setattr(publish, "get_channel_layer", Layer)
    publish.set_loop(asyncio.get_running_loop())
    assert not await knock()
    fails = False
    assert await knock()


@pytest.mark.parametrize("where", ["new_channel", "group_add"])
async def test_a_layer_that_swallows_a_cancellation_keeps_no_follower(
    holder: Holder, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """As redis-py does on Python 3.11 when it is cancelled just as its connection is there."""
    await db(holder.answer)
    layer: Any = get_channel_layer()
    real = getattr(layer, where)
    left = asyncio.Event()

    async def swallows(*args: Any) -> Any:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        left.set()
        return await real(*args)

    monkeypatch.setattr(layer, where, swallows)
    assert await asyncio.wait_for(collect(holder.claim.turn_id), PATIENCE) == await log_of(holder)
    assert left.is_set()
