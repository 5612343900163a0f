"""Appending behind running turns: in order, without a gap, whatever the database does meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.db import IntegrityError, InterfaceError, OperationalError

from common.db import db
from common.errors import Busy
from copilot.events import publish, schema, writer
from copilot.events.log import EventBatch, Row, StaleTurn, read_events
from copilot.events.schema import Chunk
from copilot.events.writer import Appender, LogWriter
from copilot.models import Session, TurnEvent
from tests.factories import Holder, give_up_worker, make_running

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 10.0


@pytest.fixture
async def log() -> AsyncIterator[LogWriter]:
    log = LogWriter()
    log.start()
    yield log
    await asyncio.to_thread(log.stop)
    assert not log._thread.is_alive()


@pytest.fixture
async def appender(log: LogWriter) -> Appender:
    return await new_appender(log)


async def new_appender(log: LogWriter) -> Appender:
    holder: Holder = await db(make_running)
    return Appender(log, holder.claim.turn_id, holder.claim.seq)


async def rows(appender: Appender) -> list[Row]:
    return await db(read_events, appender.turn_id)


async def stored(appender: Appender, count: int) -> list[Row]:
    """Wait until so many rows are stored."""
    async with asyncio.timeout(PATIENCE):
        while len(found := await rows(appender)) < count:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.002)
    return found


def text(delta: str, part: str = "t") -> Chunk:
    return schema.part_delta("text", part, delta)


def numbered(*chunks: Chunk) -> list[Row]:
    return list(enumerate(chunks, 1))


class Database:
    """Stands before the insertion of rows: may fail, or wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._insert = writer.insert_rows
        self.failures: list[Exception] = []
        self.calls = 0
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        monkeypatch.setattr(writer, "insert_rows", self.insert)

    def insert(self, found: Any) -> None:
        self.calls += 1
        self.entered.set()
        assert self.open.wait(PATIENCE)
        if self.failures:
            raise self.failures.pop(0)
        self._insert(found)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


async def entered(database: Database) -> None:
    """Wait until the writer is inserting."""
    assert await asyncio.to_thread(database.entered.wait, PATIENCE)
    database.entered.clear()


# --- what is stored -------------------------------------------------------------------------


async def test_neighbouring_deltas_of_a_part_become_one_row(appender: Appender, database: Database) -> None:
    database.open.clear()
    appender.append(schema.start_step())  # taken at once, and held up
    await entered(database)
    for chunk in (
        text("a"),
        text("b"),
        text("c", "u"),
        text("d", "u"),
        schema.part_end("text", "u"),
        text("e", "u"),
    ):
        appender.append(chunk)
    appender.append(schema.part_delta("reasoning", "u", "f"))
    appender.append(schema.tool_input_delta("c", "{"))
    appender.append(schema.tool_input_delta("c", "}"))
    appender.append(schema.tool_input_delta("d", "{}"))
    database.open.set()
    assert await stored(appender, 8) == numbered(
        schema.start_step(),
        text("ab"),
        text("cd", "u"),
        schema.part_end("text", "u"),
        text("e", "u"),
        schema.part_delta("reasoning", "u", "f"),
        schema.tool_input_delta("c", "{}"),
        schema.tool_input_delta("d", "{}"),
    )


async def test_many_deltas_cost_few_inserts(appender: Appender, database: Database) -> None:
    appender.append(schema.part_start("text", "t"))
    for n in range(2000):
        appender.append(text(f"{n} "))
        if n % 100 == 0:
            await asyncio.sleep(0.002)
    await appender.flush()
    found = await rows(appender)
    assert "".join(chunk["delta"] for _, chunk in found[1:]) == "".join(f"{n} " for n in range(2000))
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    assert database.calls < 20


async def test_the_first_delta_of_a_turn_is_stored_at_once(
    log: LogWriter, appender: Appender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "INTERVAL", 1.0)
    monkeypatch.setattr(writer, "SLOWEST", 1.0)
    monkeypatch.setattr(writer, "RETRY", 2.0)  # it tells a slow database from an absent one by this
    appender.append(text("a"))
    await stored(appender, 1)
    second = await new_appender(log)
    started = time.monotonic()
    appender.append(schema.start_step())
    await asyncio.sleep(0.05)
    assert len(await rows(appender)) == 1, "a later one waits for company"
    second.append(text("b"))
    await stored(second, 1)
    assert time.monotonic() - started < 0.6
    assert len(await rows(appender)) == 2, "and goes with whoever is in a hurry"


async def test_what_is_transient_is_not_stored(appender: Appender, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(publish, "publish_events", lambda turn_id, events: sent.append((turn_id, events)))
    chunk = schema.data("metering", {"tps": 1}, transient=True)
    appender.send_transient(chunk)
    await appender.flush()
    assert (sent, await rows(appender)) == ([(appender.turn_id, [(None, chunk)])], [])


async def test_stopping_stores_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "INTERVAL", 60.0)
    monkeypatch.setattr(writer, "SLOWEST", 60.0)
    log = LogWriter()
    log.start()
    appender = await new_appender(log)
    appender.append(text("a"))
    await stored(appender, 1)
    appender.append(schema.start_step())
    await asyncio.to_thread(log.stop)
    assert await rows(appender) == numbered(text("a"), schema.start_step())


async def test_hints_are_sent_after_the_commit_only(
    appender: Appender, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[int]] = []
    monkeypatch.setattr(
        publish, "publish_many", lambda turns, on_sent: sent.extend([seq for seq, _ in rows] for _, rows in turns)
    )
    database.failures = [OperationalError("gone")]
    database.open.clear()
    appender.append(text("a"))
    await entered(database)
    assert sent == []
    database.open.set()
    await stored(appender, 1)
    await appender.flush()
    assert sent == [[1]]


# --- collisions -----------------------------------------------------------------------------


async def test_of_many_only_the_one_that_lost_its_turn_is_stale(log: LogWriter, database: Database) -> None:
    appenders = [await new_appender(log) for _ in range(4)]
    told: list[int] = []
    for n, appender in enumerate(appenders):
        appender.on_stale = lambda n=n: told.append(n)
        appender.append(schema.start_step())
        await appender.flush()
    await db(give_up_worker, appenders[1].turn_id)
    before = await rows(appenders[1])
    database.open.clear()
    for appender in appenders:
        appender.append(text("late"))
    database.open.set()
    for appender in appenders[:1] + appenders[2:]:
        assert await stored(appender, 2) == numbered(schema.start_step(), text("late"))
    with pytest.raises(StaleTurn):
        await appenders[1].flush()
    await asyncio.sleep(0)
    assert (told, [appender.stale for appender in appenders]) == ([1], [False, True, False, False])
    appenders[1].append(text("later still"))
    await appenders[0].flush()
    assert await rows(appenders[1]) == before


@pytest.mark.parametrize("guarded", [pytest.param(True, id="guarded"), pytest.param(False, id="control")])
async def test_a_zombie_appends_nothing(log: LogWriter, appender: Appender, guarded: bool) -> None:
    """The control counts on from the log's end, as a log without dense numbers would."""
    appender.append(text("alive"))
    await appender.flush()
    await db(give_up_worker, appender.turn_id)
    before = await rows(appender)
    if not guarded:
        appender.seq = before[-1][0]
    appender.append(text("from the grave"))
    if guarded:
        with pytest.raises(StaleTurn):
            await appender.flush()
    else:
        await appender.flush()
    assert (await rows(appender) == before) is guarded


async def test_a_commit_that_collides_changes_nothing(appender: Appender) -> None:
    await db(give_up_worker, appender.turn_id)
    before = await rows(appender)
    told = asyncio.Event()
    appender.on_stale = told.set

    def write(batch: EventBatch) -> None:
        Session.objects.update(title="changed")
        batch.append(schema.start_step())

    appender.append(text("a"))
    with pytest.raises(StaleTurn):
        await appender.commit(write)
    await asyncio.wait_for(told.wait(), PATIENCE)
    assert await rows(appender) == before
    assert not await db(Session.objects.filter(title="changed").exists)


async def test_rows_that_no_database_can_hold_do_not_stop_the_others(log: LogWriter, appender: Appender) -> None:
    other = await new_appender(log)
    for broken in ({"type": "x", "value": object()}, {"type": "x", "value": "\ud800"}):
        bad = await new_appender(log)
        bad.append(broken)
        appender.append(text("a"))
        other.append(schema.start_step())
        await appender.flush()
        with pytest.raises((StaleTurn, TypeError, ValueError)):
            await bad.flush()
    await other.flush()
    assert len(await rows(other)) == 2
    assert log._thread.is_alive()


# --- a database that fails --------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OperationalError("gone"), OperationalError("database is locked"), InterfaceError("closed"), Busy()]
)
async def test_a_database_that_is_away_loses_nothing(
    log: LogWriter, appender: Appender, database: Database, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY", 0.01)
    other = await new_appender(log)
    database.failures = [error] * 6
    database.open.clear()
    for n in range(5):
        appender.append(text(f"{n} "))
        other.append(schema.tool_output_available("c", n, preliminary=True))
    await entered(database)
    for n in range(5, 10):
        appender.append(text(f"{n} "))
        other.append(schema.tool_output_available("c", n, preliminary=True))
    database.open.set()
    assert [chunk["output"] for _, chunk in await stored(other, 10)] == list(range(10))
    await appender.flush()
    assert "".join(chunk["delta"] for _, chunk in await rows(appender)) == "".join(f"{n} " for n in range(10))
    assert (appender.stale, other.stale) == (False, False)


async def test_a_commit_waits_for_the_database(appender: Appender) -> None:
    failures = [OperationalError("gone"), Busy(), InterfaceError("closed")]
    appender.append(text("a"))

    def write(batch: EventBatch) -> int:
        if failures:
            raise failures.pop()
        return batch.append(schema.finish_step())

    assert await appender.commit(write) == 2
    assert await rows(appender) == numbered(text("a"), schema.finish_step())


async def test_what_is_appended_while_a_commit_fails_keeps_its_place(appender: Appender) -> None:
    def write(batch: EventBatch) -> None:
        appender._loop.call_soon_threadsafe(appender.append, text("b"))
        raise ValueError("a bug")

    appender.append(text("a"))
    with pytest.raises(ValueError, match="a bug"):
        await appender.commit(write)
    await asyncio.sleep(0)
    appender.append(text("c"))
    await appender.flush()
    assert "".join(chunk["delta"] for _, chunk in await rows(appender)) == "abc"


# --- commits ----------------------------------------------------------------------------------


def chunks(*found: Chunk) -> Callable[[EventBatch], int]:
    return lambda batch: batch.append(*found)


async def test_a_commit_takes_the_deltas_before_it_along(appender: Appender, database: Database) -> None:
    appender.append(text("a"))
    await stored(appender, 1)
    appender.append(text("b"))
    assert await appender.commit(chunks(schema.finish_step())) == 3
    assert await rows(appender) == numbered(text("a"), text("b"), schema.finish_step())
    appender.append(text("c"))
    await appender.flush()
    assert (await rows(appender))[-1] == (4, text("c"))


async def test_a_commit_waits_for_what_is_being_stored(appender: Appender, database: Database) -> None:
    database.open.clear()
    appender.append(text("a"))
    await entered(database)
    commit = asyncio.create_task(appender.commit(chunks(schema.finish_step())))
    await asyncio.sleep(0.05)
    assert not commit.done()
    appender.append(text("b"))
    database.open.set()
    assert await commit in (2, 3)
    await appender.flush()
    found = await rows(appender)
    assert [seq for seq, _ in found] == [1, 2, 3]
    assert [chunk for _, chunk in found if chunk["type"] == "text-delta"] == [text("a"), text("b")]


async def test_parallel_commits_and_deltas_are_numbered_without_a_gap(appender: Appender) -> None:
    async def tool(n: int) -> None:
        for step in range(5):
            appender.append(schema.tool_output_available(f"c{n}", step, preliminary=True))
            await asyncio.sleep(0)
            await appender.commit(chunks(schema.tool_output_available(f"c{n}", step)))

    await asyncio.gather(*(tool(n) for n in range(6)))
    found = await rows(appender)
    assert [seq for seq, _ in found] == list(range(1, 61))
    for n in range(6):
        mine = [chunk for _, chunk in found if chunk["toolCallId"] == f"c{n}"]
        assert [(chunk["output"], chunk.get("preliminary", False)) for chunk in mine] == [
            (step, preliminary) for step in range(5) for preliminary in (True, False)
        ]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_commit_has_ended_one_way_or_the_other(appender: Appender, fails: bool) -> None:
    began, may_end = asyncio.Event(), threading.Event()

    def write(batch: EventBatch) -> None:
        appender._loop.call_soon_threadsafe(began.set)
        assert may_end.wait(PATIENCE)
        if fails:
            raise ValueError("a bug")
        batch.append(schema.finish_step())

    appender.append(text("a"))
    commit = asyncio.create_task(appender.commit(write))
    await began.wait()
    commit.cancel()
    await asyncio.sleep(0.05)
    assert not commit.done(), "the transaction is not abandoned in its middle"
    appender.append(text("b"))
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await commit
    await appender.flush()
    kinds = [chunk["type"] for _, chunk in await rows(appender)]
    assert (
        kinds in (["text-delta"], ["text-delta"] * 2)
        if fails
        else kinds == ["text-delta", "finish-step", "text-delta"]
    )
    assert "".join(chunk.get("delta", "") for _, chunk in await rows(appender)) == "ab"


async def test_a_commit_cancelled_before_it_began_writes_nothing(appender: Appender, database: Database) -> None:
    database.open.clear()
    appender.append(text("a"))
    await entered(database)
    ran = threading.Event()
    commit = asyncio.create_task(appender.commit(lambda batch: ran.set()))
    await asyncio.sleep(0.02)
    commit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await commit
    database.open.set()
    appender.append(text("b"))
    await appender.flush()
    assert not ran.is_set()
    assert "".join(chunk["delta"] for _, chunk in await rows(appender)) == "ab"


async def test_after_its_last_commit_nothing_follows(appender: Appender) -> None:
    began, may_end = asyncio.Event(), threading.Event()

    def write(batch: EventBatch) -> None:
        appender._loop.call_soon_threadsafe(began.set)
        assert may_end.wait(PATIENCE)
        batch.append(schema.finish("stop"))

    commit = asyncio.create_task(appender.commit(write, last=True))
    await began.wait()
    appender.append(text("late progress of a tool"))
    may_end.set()
    await commit
    appender.append(text("later still"))
    with pytest.raises(StaleTurn):
        await appender.flush()
    assert await rows(appender) == numbered(schema.finish("stop"))


async def test_a_seq_is_taken_once(appender: Appender) -> None:
    row = TurnEvent(turn_id=appender.turn_id, seq=1, chunk=text("a"))
    await db(lambda: TurnEvent.objects.bulk_create([row]))
    with pytest.raises(IntegrityError):
        await db(lambda: writer.insert_rows([(appender.turn_id, 1, text("b"))]))
    await db(lambda: writer.insert_rows([(uuid.uuid4(), 1, text("b"))]))
