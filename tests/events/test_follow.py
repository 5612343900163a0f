"""Following a turn: every follower's transcript is the log, whatever becomes of the hints.

The suite runs with a channel layer that works, one that drops everything, and one that loses, doubles and
reorders.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.db import db
from copilot import sweep as sweeping
from copilot.events import follow as following
from copilot.events import publish, schema
from copilot.events.follow import Beat, Event, follow, read_page
from copilot.events.log import Row
from copilot.models import Turn
from copilot.turns.finish import failed
from copilot.turns.sessions import delete_session
from tests.events.followers import LAYERS, Watch, break_layer, collect, every_layer, log_of, rows_of, start, write
from tests.factories import Holder, backdate, give_up_worker, hold, make_running, make_turn
from tests.harness import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hints", "hurried", "named_loop")]


@every_layer
async def test_from_before_the_first_event_to_the_end(layer: str, holder: Holder, watch: Watch) -> None:
    followers = [start(holder) for _ in range(5)]
    await watch.until(lambda seen: seen.joined == 5)
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
    async with aclosing(follow(turn.id)) as items:
        assert [type(await anext(items)) for _ in range(2)] == [Beat] * 2, "it goes on waiting"
        holder: Holder = await db(hold, turn)
        await db(holder.answer)
        assert await rows_of(items) == await log_of(holder)


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
    heard = asyncio.Event()
    put = following._Inbox._put

    def put_last(inbox: following._Inbox, events: list[Any]) -> None:
        put(inbox, events)
        if schema.is_terminal(events[-1][1]):
            heard.set()

    monkeypatch.setattr(following._Inbox, "_put", put_last)
    rows: list[Row] = []
    async with asyncio.timeout(PATIENCE), aclosing(follow(holder.claim.turn_id)) as items:
        async for item in items:
            if isinstance(item, Beat) and not rows:
                # The follower is held up here while all of this happens.
                await write(holder, 20)
                await db(holder.finish)
                if layer == "working":  # the others may never bring the last one
                    await asyncio.wait_for(heard.wait(), PATIENCE)
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


async def test_what_is_left_in_a_channel_of_anothers_name_is_not_the_turns(holder: Holder) -> None:
    inbox = following._Inbox(holder.claim.turn_id)
    for turn in (uuid.uuid4(), holder.claim.turn_id):
        inbox._hear({"type": "turn.events", "turn": str(turn), "events": [(1, schema.finish(str(turn)))]})
    assert inbox.take() == ([(1, schema.finish(str(holder.claim.turn_id)))], False)


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
            await asyncio.sleep(0.02)  # on purpose: a moment in which followers may get somewhere, or not
        else:
            await db(WRITES[act], holder)
    await db(holder.finish)
    for after, follower in followers:
        assert await follower == await log_of(holder, after)


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


async def test_the_log_is_read_once_at_the_start(
    holder: Holder, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads = following.read_page, []

    def counting(*args: Any, **kwargs: Any) -> Any:
        reads.append(args)
        return read(*args, **kwargs)

    monkeypatch.setattr(following, "read_page", counting)
    follower = start(holder)
    await watch.until(lambda seen: seen.idle > 0)
    assert len(reads) == 1
    await db(holder.finish)
    await follower


async def test_a_layer_that_hangs_does_not_keep_a_follower_from_reading(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(following, "listen", hang)
    monkeypatch.setattr(following, "JOIN_SECONDS", 0.01)
    await write(holder, 3)
    await db(holder.finish)
    assert await collect(holder.claim.turn_id) == await log_of(holder)
