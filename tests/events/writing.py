"""Writers of the event log, and the database that they write to.

Fixtures, imported by the conftest of this folder: ``log``, ``appender`` and ``database``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from common.db import db
from copilot.events import schema, writer
from copilot.events.log import EventBatch, Row, read_events
from copilot.events.schema import Chunk
from copilot.events.writer import Appender, LogWriter
from tests.factories import Holder, make_running

PATIENCE = 10.0


@pytest.fixture
async def log() -> AsyncIterator[LogWriter]:
    """A writer that runs, and ends with the test."""
    log = LogWriter()
    log.start()
    yield log
    await asyncio.to_thread(log.stop)
    assert not log._thread.is_alive()


@pytest.fixture
async def appender(log: LogWriter) -> Appender:
    """What appends behind a turn that runs."""
    return await new_appender(log)


async def new_appender(log: LogWriter) -> Appender:
    """Return what appends behind one more turn."""
    holder: Holder = await db(make_running)
    return Appender(log, holder.claim.turn_id, holder.claim.seq)


async def rows(appender: Appender) -> list[Row]:
    """Read what is stored."""
    return await db(read_events, appender.turn_id)


async def stored(appender: Appender, count: int) -> list[Row]:
    """Wait until so many rows are stored."""
    async with asyncio.timeout(PATIENCE):
        while len(found := await rows(appender)) < count:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.002)
    return found


def text(delta: str, part: str = "t") -> Chunk:
    """Return a delta."""
    return schema.part_delta("text", part, delta)


def numbered(*found: Chunk) -> list[Row]:
    """Return the rows of a whole log."""
    return list(enumerate(found, 1))


def chunks(*found: Chunk) -> Callable[[EventBatch], int]:
    """Return a commit's write that appends these."""
    return lambda batch: batch.append(*found)


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
        """Insert rows, once ``open``, or raise the next of the ``failures``."""
        self.calls += 1
        self.entered.set()
        assert self.open.wait(PATIENCE)
        if self.failures:
            raise self.failures.pop(0)
        self._insert(found)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    """What stands before this test's insertions."""
    return Database(monkeypatch)


async def entered(database: Database) -> None:
    """Wait until the writer is inserting."""
    assert await asyncio.to_thread(database.entered.wait, PATIENCE)
    database.entered.clear()
