"""Database work: transactions that retry contention once, and calls from the event loop.

Two rules are kept here so that nobody else has to remember them.

*Transactions.* ``@transact`` runs a function in one transaction. SQLite has a single writer whose waiters poll
with sleeps, so writers of one process queue on a lock first. A deadlock or a lock timeout is tried once more,
then it is ``Busy``.

*Event loop.* ``await db(fn, ...)`` runs ``fn`` in a thread of our own executors (``thread_sensitive`` would put
all of a process's calls on one thread). A cancellation is raised only once the call has ended, so its outcome is
always known to the database and never half-known to the caller.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, ParamSpec, TypeVar

from django.conf import settings
from django.db import (
    DatabaseError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from common.errors import Busy

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_CONTENTION = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock timeout
_sqlite_writer = threading.RLock()


def is_contention(error: DatabaseError) -> bool:
    """Tell whether ``error`` means "somebody else held it", so that trying again can help."""
    state = getattr(error.__cause__, "sqlstate", None)
    return state in _CONTENTION or "database is locked" in str(error)


@contextmanager
def _transaction() -> Iterator[None]:
    if connection.vendor == "sqlite":
        with _sqlite_writer, transaction.atomic():
            yield
    else:
        with transaction.atomic():
            yield


def _is_replanned(error: DatabaseError) -> bool:
    """Whether a prepared statement met a changed column. The rollback forgot it: see ``common.statements``."""
    return getattr(error.__cause__, "sqlstate", None) == "0A000"


def transact(fn: Callable[P, T]) -> Callable[P, T]:
    """Run the decorated function in one transaction of its own.

    Inside another transaction it joins that one. Contention at the outermost level is retried once.

    Raises:
        Busy: the second try met contention too; nothing was stored.
    """

    @functools.wraps(fn)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if connection.in_atomic_block:
            with transaction.atomic():
                return fn(*args, **kwargs)
        try:
            with _transaction():
                return fn(*args, **kwargs)
        except (OperationalError, NotSupportedError) as error:
            if not is_contention(error) and not _is_replanned(error):
                raise
        try:
            with _transaction():
                return fn(*args, **kwargs)
        except OperationalError as error:
            if is_contention(error):
                raise Busy from error
            raise

    return run


def seconds_ago(seconds: float) -> CombinedExpression:
    """Return an expression for the moment ``seconds`` before now on the database's clock.

    Leases are written and compared with that one clock, so hosts need not agree on the time.
    """
    return Now() - timedelta(seconds=seconds)


#: Now, on the database's clock.
db_now = Now
_CLOCK = {"sqlite": "SELECT STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW')", "postgresql": "SELECT STATEMENT_TIMESTAMP()"}


def read_clock() -> datetime:
    """Return the time on the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(_CLOCK[connection.vendor])
        (now,) = cursor.fetchone()
    return now if isinstance(now, datetime) else datetime.fromisoformat(now).replace(tzinfo=UTC)


#: Seconds for which an idle thread of ours keeps its connection: the next call rarely takes longer to come.
KEEP_SECONDS = 0.1


class _Outcome(asyncio.Future[Any]):
    """What a call will have come to. Who awaits it and is cancelled learns of that when the call has ended."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Refuse: the call goes on, and the task that awaits it is cancelled afterwards."""
        return False

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Take the result or the error. On the loop."""
        if error is None:
            self.set_result(result)
        else:
            self.set_exception(error)


class _Threads:
    """Threads for database work that keep their connection from one call to the next.

    Taking one from the pool costs as much as the query it is taken for. It goes back when a call failed, when
    somebody waits for one, and when there was nothing to do for a moment.
    """

    def __init__(self, name: str, size: int) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], _Outcome]] = queue.SimpleQueue()
        for number in range(size):
            threading.Thread(target=self._run, name=f"{name}_{number}", daemon=True).start()

    def call(self, fn: Callable[[], Any]) -> _Outcome:
        """Run ``fn`` in one of the threads. On a loop."""
        outcome = _Outcome(loop=asyncio.get_running_loop())
        self._calls.put((fn, outcome))
        return outcome

    def _run(self) -> None:
        while True:
            try:
                fn, outcome = self._calls.get(timeout=KEEP_SECONDS)
            except queue.Empty:
                with suppress(Exception):
                    release_connections()
                fn, outcome = self._calls.get()
            result, error = None, None
            try:
                result = fn()
            except BaseException as raised:  # noqa: BLE001 - it is the caller's
                error = raised
            _settle_connection()
            with suppress(RuntimeError):  # the loop has ended, and with it who asked
                outcome.get_loop().call_soon_threadsafe(outcome.settle, result, error)
            del fn, outcome, result, error  # nothing is kept alive by a thread that waits


def _settle_connection() -> None:
    """Keep the connection for the next call, unless it may be broken or somebody waits for one."""
    try:
        # Also a call that returns may have met an error: the health check only sees connections from the pool.
        if connection.errors_occurred or connection_wanted():
            release_connections()
    except Exception:
        logger.exception("connection not settled", extra={"action": "connection_unsettled"})


def connection_wanted() -> bool:
    """Whether another thread of this process waits for a connection of the pool."""
    pool = getattr(connection, "pool", None)
    return pool is not None and pool.get_stats().get("requests_waiting", 0) > 0


class _Executors:
    """Our threads, made on first use.

    ``follow`` is apart and small: hundreds of followers must never hold the connections that requests need.
    ``claim`` is one thread, so that a process does not race itself for the next turn.
    """

    def __init__(self) -> None:
        pool = settings.DATABASE_POOL if hasattr(settings, "DATABASE_POOL") else 8
        self._sizes = {"work": max(1, pool // 2), "follow": max(1, pool // 4), "claim": 1}
        self._made: dict[str, _Threads] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> _Threads:
        with self._lock:
            if name not in self._made:
                self._made[name] = _Threads(f"db-{name}", self._sizes[name])
            return self._made[name]


@functools.cache
def _executors() -> _Executors:
    return _Executors()


def release_connections() -> None:
    """Give this thread's connections back: to the pool where there is one, else close only broken ones."""
    for wrapper in connections.all(initialized_only=True):
        if wrapper.in_atomic_block:
            continue
        if wrapper.vendor == "postgresql" or wrapper.errors_occurred:
            wrapper.close()


async def db(
    fn: Callable[..., T], *args: Any, pool: Literal["work", "follow", "claim"] = "work", **kwargs: Any
) -> T:
    """Run ``fn(*args, **kwargs)`` in a database thread and return what it returns.

    A cancellation that arrives meanwhile is raised after the call has ended, never in its middle.
    """
    call = _executors().get(pool).call(functools.partial(fn, *args, **kwargs))
    try:
        return await call  # type: ignore[no-any-return] # what ``fn`` returned
    except asyncio.CancelledError:
        call.exception()  # seen: the caller is being cancelled and cannot take it
        raise


#: Seconds between two tries while the database does not answer: at first, and at most.
_STEADY_FIRST, _STEADY_MOST = 0.1, 2.0


#: What SQLite calls a statement that it refuses for good: there is no such table, the file may not be written.
_SQLITE_REFUSALS = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH}
#: Classes of PostgreSQL's codes that pass: connection, contention, resources, locks, shutdown, files.
_POSTGRES_PASSING = ("08", "40", "53", "55", "57", "58")


def is_passing(error: Exception) -> bool:
    """Tell whether ``error`` may pass by itself, as when the database restarts, is busy, or its disk is full.

    What it refuses for good is a bug or a wrong setting, which waiting would only hide. Anything unknown, as a
    connection that cannot be made, passes.
    """
    cause = error.__cause__
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF not in _SQLITE_REFUSALS
    state = getattr(cause, "sqlstate", None)
    return state is None or state.startswith(_POSTGRES_PASSING)


async def db_steady(fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Like ``db``, but while the database does not answer or is too busy, try again for as long as it takes.

    For work that must not fail because the database restarts: its caller holds a lease, and learns from the rows
    whether it still does. ``fn`` may run again after a commit whose outcome nobody knows: it has to see to it that
    this does no harm.
    """
    wait = _STEADY_FIRST
    while True:
        try:
            return await db(fn, *args, **kwargs)
        except (OperationalError, InterfaceError, Busy) as error:
            if not is_passing(error):
                raise
            logger.warning("database does not answer", extra={"action": "database_retry", "error": repr(error)})
        await asyncio.sleep(wait)
        wait = min(wait * 2, _STEADY_MOST)
