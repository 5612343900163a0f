"""Work that outlasts a database that is away, and does not wait for what will never come."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable

import psycopg
import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from common import db as database
from common.db import db_steady
from common.errors import Busy


def caused(cause: Exception) -> OperationalError:
    """Return what Django makes of a driver's error."""
    error = OperationalError(*cause.args)
    error.__cause__ = cause
    return error


def sqlite(code: int) -> OperationalError:
    cause = sqlite3.OperationalError("as the code says")
    cause.sqlite_errorcode = code
    return caused(cause)


def postgres(code: str) -> OperationalError:
    cause = psycopg.OperationalError("as the code says")
    cause.sqlstate = code
    return caused(cause)


PASSING = {
    "busy": sqlite(sqlite3.SQLITE_BUSY),
    "locked within": sqlite(sqlite3.SQLITE_LOCKED_SHAREDCACHE),
    "disk full": sqlite(sqlite3.SQLITE_FULL),
    "disk fails": sqlite(sqlite3.SQLITE_IOERR_WRITE),
    "no file": sqlite(sqlite3.SQLITE_CANTOPEN),
    "no connection": caused(psycopg.OperationalError("connection refused")),
    "connection lost": postgres("08006"),
    "disk full there": postgres("53100"),
    "too many connections": postgres("53300"),
    "lock timeout": postgres("55P03"),
    "shutdown": postgres("57P01"),
    "starting": postgres("57P03"),
    "closed": InterfaceError("connection already closed"),
    "contention": Busy(),
    "unknown": OperationalError("gone"),
}
FOR_GOOD = {
    "no such table": sqlite(sqlite3.SQLITE_ERROR),
    "read only": sqlite(sqlite3.SQLITE_READONLY_DBMOVED),
    "not permitted": sqlite(sqlite3.SQLITE_PERM),
    "no such user": postgres("28000"),
    "no such database": postgres("3D000"),
}


@pytest.mark.parametrize("name", PASSING)
async def test_what_may_pass_is_waited_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_STEADY_FIRST", 0.001)
    problems = [PASSING[name]] * 3
    assert await db_steady(failing(problems)) == "done"
    assert problems == []


@pytest.mark.parametrize("name", FOR_GOOD)
async def test_what_never_passes_is_raised_at_once(name: str) -> None:
    problems: list[Exception] = [FOR_GOOD[name]] * 3
    async with asyncio.timeout(5):
        with pytest.raises(OperationalError):
            await db_steady(failing(problems))
    assert len(problems) == 2


def failing(problems: list[Exception]) -> Callable[[], str]:
    def work() -> str:
        if problems:
            raise problems.pop()
        return "done"

    return work


@pytest.mark.django_db(transaction=True)
async def test_a_table_that_is_not_there_is_not_waited_for() -> None:
    async with asyncio.timeout(5):
        with pytest.raises(DatabaseError):
            await db_steady(read_nowhere)


def read_nowhere() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM nowhere")
