"""Appending behind running turns: in order, without a gap, whatever the database does meanwhile."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError

from common.db import db
from copilot.events import publish, schema, writer
from copilot.events.log import EventBatch, StaleTurn
from copilot.events.writer import Appender, LogWriter
from copilot.models import Session, TurnEvent
from tests.events.writing import PATIENCE, Database, entered, new_appender, numbered, rows, stored, text
from tests.factories import give_up_worker

pytestmark = pytest.mark.django_db(transaction=True)


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
            await asyncio.sleep(0.002)  # on purpose: as a model sends them, not all at once
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
    await asyncio.sleep(0.05)  # on purpose: time for a write that must not come yet
    assert len(await rows(appender)) == 1, "a later one waits for company"
    second.append(text("b"))
    await stored(second, 1)
    assert time.monotonic() - started < 0.6
    assert len(await rows(appender)) == 2, "and goes with whoever is in a hurry"


async def test_what_is_transient_is_not_stored(appender: Appender, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(
        publish, "publish_events", lambda turn_id, events, since=0.0: sent.append((turn_id, events))
    )
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
        publish,
        "publish_many",
        lambda turns, on_sent: sent.extend([seq for seq, _ in rows] for _, rows, _ in turns),
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


async def test_a_seq_is_taken_once(appender: Appender) -> None:
    row = TurnEvent(turn_id=appender.turn_id, seq=1, chunk=text("a"))
    await db(lambda: TurnEvent.objects.bulk_create([row]))
    with pytest.raises(IntegrityError):
        await db(lambda: writer.insert_rows([(appender.turn_id, 1, text("b"))]))
    await db(lambda: writer.insert_rows([(uuid.uuid4(), 1, text("b"))]))
