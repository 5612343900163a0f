"""Appending behind running turns: one thread a process stores what all its turns have waiting.

It commits everything in one INSERT: the first delta of a turn at once, then every 30 ms, up to 150 ms when the
database or the event loop is slow. Adjacent deltas of one part become one row.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError

from common.db import KEEP_SECONDS, connection_wanted, db_steady, release_connections, transact
from common.errors import Busy
from common.metrics import log_write_lag_seconds
from copilot.events import publish, schema
from copilot.events.log import EventBatch, Row, StaleTurn, insert_rows
from copilot.events.schema import Chunk

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds between two writes: at rest, at most, and before the first delta of a turn.
INTERVAL = 0.03
SLOWEST = 0.15
URGENT = 0.004
#: Seconds between two writes for each turn that had something waiting: many streams are sent in larger pieces.
PER_TURN = 0.0015
#: Seconds to wait before trying again when the database does not answer.
RETRY = 0.25

#: The database does not answer or is too busy: the same rows may be stored later.
_AWAY = (DatabaseError, InterfaceError, Busy)
#: These rows can never be stored: a seq is taken, or a value is none that a database can hold.
_REFUSED = (IntegrityError, DataError, TypeError, ValueError)


class Appender:
    """A running turn's end of the log; made and used on the loop thread.

    The writer thread takes from it and settles what it took, always under the writer's lock.
    """

    def __init__(self, writer: LogWriter, turn_id: uuid.UUID, seq: int) -> None:
        self.turn_id = turn_id
        self.seq = seq
        self.stale = False
        #: Called on the loop when the turn turns out to be somebody else's.
        self.on_stale: Callable[[], None] | None = None
        self.fresh = True
        self._writer = writer
        self._waiting: list[Chunk] = []
        self._inflight: list[Row] = []
        #: When the first of what waits was made, and of what was taken (this host's clock).
        self._waits_since = 0.0
        self._taken_since = 0.0
        self._held = False
        self._landed: asyncio.Future[None] | None = None
        self._committing = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    def append(self, chunk: Chunk) -> None:
        """Have ``chunk`` stored soon, after everything appended before it. Does nothing once stale."""
        if self.stale:
            return
        with self._writer.lock:
            if not self._waiting:
                self._waits_since = time.time()
            _merge(self._waiting, chunk)
            if not self._held:
                self._writer.wants(self)

    def slack(self) -> float:
        """Seconds by which the log is written less often than at rest: nothing said sooner is seen sooner."""
        return max(0.0, self._writer.interval - INTERVAL)

    def send_transient(self, chunk: Chunk) -> None:
        """Send a chunk that is not stored to whoever listens right now."""
        if not self.stale:
            publish.publish_events(self.turn_id, [(None, chunk)])

    async def commit(
        self,
        write: Callable[[EventBatch], T],
        *,
        last: bool = False,
        landed: Callable[[T], None] = lambda _: None,
    ) -> T:
        """Run ``write`` in one transaction with the deltas that wait, and insert its chunks last.

        While the database does not answer it is tried again: the turn waits, it does not fail.

        Args:
            last: the turn is given up by this write. Whatever is appended from then on goes nowhere: it must not
                come after the end, nor take a seq from the next holder.
            landed: told of the result as soon as it is committed, in the thread that did it: also when the caller
                is cancelled meanwhile.

        ``write`` may run twice (contention), gets a fresh batch each time, and its result is returned. When the
        caller is cancelled meanwhile, the transaction has still ended one way or the other.

        Raises:
            StaleTurn: this worker no longer holds the turn; nothing was written.
        """
        async with self._committing:
            try:
                await self._hold()
                return await db_steady(self._commit_now, write, last, landed)
            except StaleTurn:
                self._mark_stale()
                raise
            finally:
                self._release()

    async def flush(self) -> None:
        """Wait until everything appended so far is stored (StaleTurn as for ``commit``)."""
        await self.commit(lambda batch: None)

    async def close(self) -> None:
        """Store nothing more; what was being stored has landed when this returns. No commit may be running."""
        with self._writer.lock:
            self.stale = True
            landed = self._landed = self._loop.create_future() if self._inflight else None
        if landed is not None:
            await landed

    async def _hold(self) -> None:
        """Keep the writer's hands off, and wait for what it has already taken."""
        with self._writer.lock:
            self._held = True
            landed = self._landed = self._loop.create_future() if self._inflight else None
        if landed is not None:
            await landed
        if self.stale:
            raise StaleTurn

    def _commit_now(self, write: Callable[[EventBatch], T], last: bool, landed: Callable[[T], None]) -> T:
        with self._writer.lock:
            waiting, self._waiting = self._waiting, []

        @transact
        def run() -> tuple[int, T]:
            batch = EventBatch(self.turn_id, self.seq)
            batch.append(*waiting)
            result = write(batch)
            batch.write()
            return batch.seq, result

        try:
            self.seq, result = run()
        except BaseException:
            with self._writer.lock:
                self._waiting = waiting + self._waiting
            raise
        if last:
            self.stale = True
        landed(result)
        return result

    def _release(self) -> None:
        with self._writer.lock:
            self._held = False
            if self._waiting and not self.stale:
                self._writer.wants(self)

    def _mark_stale(self) -> None:
        if not self.stale:
            self.stale = True
            if self.on_stale is not None:
                self._loop.call_soon_threadsafe(self.on_stale)

    # Called by the writer thread.

    @property
    def rows(self) -> list[Row]:
        """The rows taken and not settled yet."""
        return self._inflight

    @property
    def since(self) -> float:
        """When the first of them was made."""
        return self._taken_since

    def take(self) -> list[Row]:
        """Take what waits as numbered rows; nothing while held. Under the writer's lock."""
        if self._held or self.stale or self._inflight:
            return []
        self._inflight = [(self.seq + n, chunk) for n, chunk in enumerate(self._waiting, 1)]
        self._waiting = []
        self._taken_since = self._waits_since
        self.fresh = False
        return self._inflight

    def settle(self, outcome: str) -> None:
        """Say what became of the rows taken: stored, returned (to be tried again) or stale."""
        with self._writer.lock:
            rows, self._inflight = self._inflight, []
            if outcome == "stored":
                self.seq = rows[-1][0]
                if self._waiting and not self._held:
                    self._writer.wants(self)
            elif outcome == "returned":
                self._waiting = [chunk for _, chunk in rows] + self._waiting
                self._waits_since = self._taken_since
                if not self._held:
                    self._writer.wants(self)
            landed, self._landed = self._landed, None
        if outcome == "stale":
            self._mark_stale()
        if landed is not None:
            self._loop.call_soon_threadsafe(_resolve, landed)


class LogWriter:
    """The thread that stores what the turns of this process have waiting."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._wake = threading.Condition(self.lock)
        self._wanting: dict[Appender, None] = {}
        self._urgent = False
        self._stopping = False
        self._lag = 0.0
        #: Seconds between two writes, as things are.
        self.interval = INTERVAL
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Store what waits and end the thread; waits for it."""
        with self.lock:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout=5)

    def wants(self, appender: Appender) -> None:
        """Note that ``appender`` has something waiting. Under the lock."""
        if appender in self._wanting:
            return
        self._wanting[appender] = None
        if appender.fresh and not self._urgent:
            self._urgent = True
            self._wake.notify()
        elif len(self._wanting) == 1:
            self._wake.notify()

    def _run(self) -> None:
        last = 0.0
        while True:
            taken = self._next(last, self.interval)
            if taken is None:
                release_connections()
                return
            started = time.monotonic()
            stored = self._store(taken)
            last = time.monotonic()
            self.interval = self._interval(len(taken), last - started) if stored else RETRY

    def _interval(self, turns: int, took: float) -> float:
        """Seconds until the next write: longer the more turns there are, and the slower database and loop are."""
        return min(max(INTERVAL, turns * PER_TURN, 4 * took, 2 * self._lag), SLOWEST)

    def _next(self, last: float, interval: float) -> list[Appender] | None:
        """Wait until it is time to write and take what waits; None when stopped and nothing is left."""
        idle = False
        with self.lock:
            while not self._wanting:
                if self._stopping:
                    return None
                if idle:
                    release_connections()
                idle = not self._wake.wait(None if idle else KEEP_SECONDS)
            while not self._stopping:
                wait = last + (URGENT if self._urgent and interval < RETRY else interval) - time.monotonic()
                if wait <= 0:
                    break
                self._wake.wait(wait)
            wanting, self._wanting, self._urgent = list(self._wanting), {}, False
            return [appender for appender in wanting if appender.take()]

    def _store(self, taken: list[Appender]) -> bool:
        """Write everything in one transaction; return whether the database answered."""
        try:
            _insert(taken)
        except _REFUSED:
            return self._store_one_by_one(taken)
        except _AWAY as error:
            release_connections()
            return self._give_back(taken, error)
        if connection_wanted():
            release_connections()
        self._stored(taken)
        return True

    def _store_one_by_one(self, taken: list[Appender]) -> bool:
        """One of them was refused: those that are refused alone are stale, the others go on."""
        answered = True
        for appender in taken:
            try:
                _insert([appender])
            except _REFUSED as error:
                if not isinstance(error, IntegrityError):
                    logger.exception("events cannot be stored", extra={"action": "log_write_refused"})
                appender.settle("stale")
            except _AWAY as error:
                answered = self._give_back([appender], error)
            else:
                self._stored([appender])
        release_connections()
        return answered

    def _give_back(self, taken: list[Appender], error: Exception) -> bool:
        logger.warning("events wait for the database", extra={"action": "log_write_failed", "error": repr(error)})
        for appender in taken:
            appender.settle("returned")
        return False

    def _stored(self, taken: list[Appender]) -> None:
        turns = [(appender.turn_id, appender.rows, appender.since) for appender in taken]
        publish.publish_many(turns, on_sent=self._sent)
        now = time.time()
        for appender in taken:
            log_write_lag_seconds.observe(now - appender.since)
            appender.settle("stored")

    def _sent(self, lag: float) -> None:
        self._lag = lag


def _insert(appenders: list[Appender]) -> None:
    rows = [(appender.turn_id, seq, chunk) for appender in appenders for seq, chunk in appender.rows]
    transact(insert_rows)(rows)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _merge(waiting: list[Chunk], chunk: Chunk) -> None:
    """Add ``chunk`` to what waits, joined to a neighbouring delta of the same part."""
    joined = schema.MERGEABLE.get(chunk["type"])
    if joined and waiting:
        previous = waiting[-1]
        part = "toolCallId" if joined == "inputTextDelta" else "id"
        if previous["type"] == chunk["type"] and previous[part] == chunk[part]:
            waiting[-1] = {**previous, joined: previous[joined] + chunk[joined]}
            return
    waiting.append(chunk)
