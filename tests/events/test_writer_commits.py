"""Commits of rows and their events, and a database that is away: nothing is lost, or comes out of order."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.db import InterfaceError, OperationalError

from common.errors import Busy
from copilot.events import schema, writer
from copilot.events.log import EventBatch, StaleTurn
from copilot.events.writer import Appender, LogWriter
from tests.events.writing import PATIENCE, Database, chunks, entered, new_appender, numbered, rows, stored, text

pytestmark = pytest.mark.django_db(transaction=True)


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
    await asyncio.sleep(0.05)  # on purpose: time for an end that must not come yet
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
