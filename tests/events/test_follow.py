"""Following a turn: every follower's transcript is the log, whatever becomes of the hints.

The suite runs with a channel layer that works, one that drops everything, and one that loses, doubles and
reorders.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import pytest
from channels.layers import get_channel_layer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.db import db
from copilot import sweep as sweeping
from copilot.events import follow as following
from copilot.events import glance, listen, publish, schema
from copilot.events.follow import Beat, Event, follow, read_page
from copilot.events.log import Row
from copilot.models import Turn
from copilot.turns.finish import failed
from copilot.turns.sessions import delete_session
from tests.factories import Holder, backdate, events_of, give_up_worker, hold, make_running, make_turn
from tests.harness import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hints", "hurried")]

LAYERS = ["working", "silent", "chaotic"]
every_layer = pytest.mark.parametrize("layer", LAYERS, indirect=True)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the rows more often than in life."""
    monkeypatch.setattr(following, "SILENCE_RUNNING", 0.05)
    monkeypatch.setattr(following, "SILENCE_WAITING", 0.1)
    monkeypatch.setattr(glance, "GATHER_SECONDS", 0.005)
    monkeypatch.setattr(listen, "RETRY_SECONDS", 0.01)


class Faulty:
    """A layer that drops, doubles and reorders what is sent to groups; everything else is the real one's."""

    def __init__(self, layer: Any, how: str, seed: int) -> None:
        self._layer = layer
        self._how = how
        self._random = random.Random(seed)
        self._late: list[tuple[str, dict[str, Any]]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self._how == "silent":
            return
        self._late += [(group, message)] * self._random.choice([0, 1, 1, 2])
        self._random.shuffle(self._late)
        while self._late and self._random.random() < 0.7:
            await self._layer.group_send(*self._late.pop())


def break_layer(monkeypatch: pytest.MonkeyPatch, how: str, seed: int = 0) -> None:
    if how != "working":
        faulty = Faulty(get_channel_layer(), how, seed)
        monkeypatch.setattr(publish, "get_channel_layer", lambda: faulty)


@pytest.fixture
def layer(request: pytest.FixtureRequest, hints: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kind of layer that hints go through in this test."""
    break_layer(monkeypatch, request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
async def _named_loop() -> None:
    publish.set_loop(asyncio.get_running_loop())


@pytest.fixture
async def holder() -> Holder:
    made: Holder = await db(make_running)
    return made


async def collect(turn_id: uuid.UUID, after: int = 0) -> list[Row]:
    """Follow a turn to its end."""
    async with asyncio.timeout(PATIENCE), aclosing(follow(turn_id, after)) as items:
        events = [item async for item in items if isinstance(item, Event)]
    return [(event.seq, event.chunk) for event in events if event.seq is not None]


def start(holder: Holder, after: int = 0) -> asyncio.Task[list[Row]]:
    return asyncio.create_task(collect(holder.claim.turn_id, after))


async def log_of(holder: Holder, after: int = 0) -> list[Row]:
    return [row for row in await db(lambda: events_of(holder.turn)) if row[0] > after]


async def write(holder: Holder, count: int) -> None:
    """Stream a text of so many deltas, some of them together."""
    await db(holder.begin)
    await db(holder.open_text)
    for n in range(count):
        await db(holder.stream, *[schema.part_delta("text", "t1.1", f"{n}.{m} ") for m in range(1 + n % 3)])


# --- the transcript is the log --------------------------------------------------------------


@every_layer
async def test_from_before_the_first_event_to_the_end(layer: str, holder: Holder) -> None:
    followers = [start(holder) for _ in range(5)]
    await asyncio.sleep(0)
    await write(holder, 30)
    await db(holder.finish)
    expected = await log_of(holder)
    for follower in followers:
        assert await follower == expected


@every_layer
async def test_joining_at_any_moment(layer: str, holder: Holder) -> None:
    followers = []
    for n in range(20):
        await db(holder.stream, schema.tool_output_available("c", n, preliminary=True))
        followers.append(start(holder, after=n // 2))
    await db(holder.finish)
    for n, follower in enumerate(followers):
        assert await follower == await log_of(holder, after=n // 2)


@every_layer
async def test_joining_after_the_end_at_every_cursor(layer: str, holder: Holder) -> None:
    await write(holder, 10)
    await db(holder.finish)
    expected = await log_of(holder)
    for after in range(len(expected) + 1):
        assert await collect(holder.claim.turn_id, after) == expected[after:]


@every_layer
async def test_while_the_turn_waits_and_is_then_ended(layer: str) -> None:
    turn = await db(make_turn)
    follower = asyncio.create_task(collect(turn.id))
    await asyncio.sleep(0.15)
    assert not follower.done()
    holder: Holder = await db(hold, turn)
    await db(holder.answer)
    assert await follower == await log_of(holder)


@every_layer
async def test_over_a_recovery(layer: str, holder: Holder) -> None:
    follower = start(holder)
    await write(holder, 5)
    await db(give_up_worker, holder.claim.turn_id)
    again: Holder = await db(lambda: hold(holder.turn))
    await db(again.answer)
    rows = await follower
    assert rows == await log_of(holder)
    assert "data-rollback" in [chunk["type"] for _, chunk in rows]


@every_layer
async def test_failures_end_a_follower_too(layer: str, holder: Holder) -> None:
    follower = start(holder)
    await db(holder.finish, failed("auth", "No."))
    assert [chunk["type"] for _, chunk in await follower] == ["data-error", "error"]


@every_layer
async def test_more_events_than_a_page(layer: str, holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAGE", 7)
    monkeypatch.setattr(following.read_page, "__defaults__", (7,))
    follower = start(holder)
    await write(holder, 30)
    await db(holder.finish)
    assert await follower == await collect(holder.claim.turn_id) == await log_of(holder)


@every_layer
async def test_more_hints_than_the_buffer_holds(
    layer: str, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "BUFFER", 4)
    rows: list[Row] = []
    async with asyncio.timeout(PATIENCE), aclosing(follow(holder.claim.turn_id)) as items:
        async for item in items:
            if isinstance(item, Beat) and not rows:
                # The follower is held up here while all of this happens.
                await write(holder, 20)
                await db(holder.finish)
                await asyncio.sleep(0.05)
            elif isinstance(item, Event) and item.seq is not None:
                rows.append((item.seq, item.chunk))
    assert rows == await log_of(holder)


@every_layer
async def test_an_unknown_cursor_beyond_the_end_ends(layer: str, holder: Holder) -> None:
    follower = start(holder, after=1000)
    await write(holder, 3)
    await db(holder.finish)
    assert await follower == []
    assert await collect(holder.claim.turn_id, 1000) == []


@every_layer
async def test_a_deleted_turn_ends(layer: str, holder: Holder) -> None:
    follower = start(holder)
    await write(holder, 3)
    session = await db(lambda: holder.session)
    user = await db(lambda: session.user)
    await db(lambda: delete_session(user=user, session_id=session.id))
    await follower
    assert await collect(holder.claim.turn_id) == []
    assert await collect(uuid.uuid4()) == []


@every_layer
async def test_a_pruned_log_is_replaced_by_what_was_stored(layer: str, holder: Holder, settings: Any) -> None:
    await write(holder, 3)
    await db(holder.finish)
    settings.EVENT_RETENTION_SECONDS = 60
    await db(lambda: backdate(holder.turn, finished_at=timedelta(seconds=61)))
    await db(sweeping.sweep)
    last = (await db(lambda: holder.turn)).last_seq
    for after in (0, 1, last - 2):
        reset, end = await collect(holder.claim.turn_id, after)
        assert (reset[0], reset[1]["type"], end) == (last - 1, "data-reset", (last, schema.finish("stop")))
        (_, text) = reset[1]["data"]["parts"]
        assert text["text"] == "0.0 1.0 1.1 2.0 2.1 2.2 "
    assert await collect(holder.claim.turn_id, last - 1) == [(last, schema.finish("stop"))]
    assert await collect(holder.claim.turn_id, last) == []


Write = Callable[[Holder], Any]
WRITES: dict[str, Write] = {
    "one": lambda holder: holder.stream(schema.start_step()),
    "several": lambda holder: holder.stream(*[schema.status("retrying", attempt=n) for n in range(4)]),
    "many": lambda holder: holder.stream(*[schema.status("retrying", attempt=n) for n in range(300)]),
}


@settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    how=st.sampled_from(LAYERS),
    seed=st.integers(0, 1000),
    script=st.lists(st.sampled_from([*WRITES, "join", "pause"]), max_size=12),
    cursor=st.integers(0, 20),
)
def test_whatever_happens_each_follower_reads_the_log(how: str, seed: int, script: list[str], cursor: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        break_layer(patch, how, seed)
        asyncio.run(scenario(script, cursor))


async def scenario(script: list[str], cursor: int) -> None:
    publish.set_loop(asyncio.get_running_loop())
    holder: Holder = await db(make_running)
    followers = [(0, start(holder))]
    for act in script:
        if act == "join":
            followers.append((cursor, start(holder, cursor)))
        elif act == "pause":
            await asyncio.sleep(0.02)
        else:
            await db(WRITES[act], holder)
    await db(holder.finish)
    for after, follower in followers:
        assert await follower == await log_of(holder, after)


# --- beside the transcript ----------------------------------------------------------------------


async def test_hints_make_it_fast(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a layer that works nobody waits for silence."""
    monkeypatch.setattr(following, "SILENCE_RUNNING", 60.0)
    monkeypatch.setattr(following, "SILENCE_WAITING", 60.0)
    follower = start(holder)
    await write(holder, 10)
    await db(holder.finish)
    assert await follower == await log_of(holder)


async def test_without_hints_silence_is_what_it_waits_for(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the one before: it is the hints that make it fast."""
    break_layer(monkeypatch, "silent")
    monkeypatch.setattr(following, "SILENCE_RUNNING", 60.0)
    monkeypatch.setattr(following, "SILENCE_WAITING", 60.0)
    async with aclosing(follow(holder.claim.turn_id)) as items:
        following_task = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0.3)  # it has joined, and read all there was
        await write(holder, 1)
        await asyncio.sleep(0.2)
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
    add, discard = layer.group_add, layer.group_discard

    async def group_add(group: str, channel: str) -> None:
        await add(group, channel)
        joined.append((group, channel))

    async def group_discard(group: str, channel: str) -> None:
        await discard(group, channel)
        joined.remove((group, channel))

    monkeypatch.setattr(layer, "group_add", group_add)
    monkeypatch.setattr(layer, "group_discard", group_discard)
    async with aclosing(follow(holder.claim.turn_id)) as items:
        await anext(items)
        assert [group for group, _ in joined] == [publish.turn_group(holder.claim.turn_id)]
    assert joined == []
    cancelled = start(holder)
    await asyncio.sleep(0.1)
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
            await asyncio.sleep(PATIENCE)
        left.set()
        return await real(*args)

    monkeypatch.setattr(layer, where, swallows)
    assert await asyncio.wait_for(collect(holder.claim.turn_id), 5) == await log_of(holder)
    assert left.is_set()


async def test_a_page_says_where_the_turn_is(holder: Holder) -> None:
    turn_id = holder.claim.turn_id
    assert await db(read_page, turn_id, 0) == following.Page([], terminal=False, live=True)
    await db(holder.answer)
    rows = await log_of(holder)
    assert await db(read_page, turn_id, 0, 3) == following.Page(rows[:3], terminal=False, live=False)
    assert await db(read_page, turn_id, 3) == following.Page(rows[3:], terminal=True, live=False)
    assert await db(read_page, turn_id, 999) == following.Page([], terminal=True, live=False)
    assert await db(read_page, uuid.uuid4(), 0) == following.Page([], terminal=True, live=False)
    assert (await db(lambda: Turn.objects.get(pk=turn_id))).last_seq == len(rows)
