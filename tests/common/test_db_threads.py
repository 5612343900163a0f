"""Threads for database work keep their connection only as long as it is good and nobody else wants one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError, connection

from common import db as database
from common.db import _Threads

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Threads]:
    """One thread that does not give its connection back for being idle."""
    monkeypatch.setattr(database, "KEEP_SECONDS", 60)
    threads = _Threads("test", 1)
    yield threads
    run(threads, lambda: connection.close())  # its own, not this one


def run(threads: _Threads, fn: Callable[[], Any]) -> Any:
    """Run ``fn`` in one of the threads and return what it returns."""

    async def ask() -> Any:
        async with asyncio.timeout(10):
            return await threads.call(fn)

    return asyncio.run(ask())


def use() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def connected() -> bool:
    return connection.connection is not None


def test_a_connection_is_kept_for_the_next_call(one_thread: _Threads) -> None:
    run(one_thread, use)
    assert run(one_thread, connected)


def test_a_connection_that_met_an_error_is_not_kept_even_if_the_call_took_it_well(one_thread: _Threads) -> None:
    def careless() -> str:
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
        return "fine"

    assert run(one_thread, careless) == "fine"
    assert not run(one_thread, connected)


def test_a_failure_is_the_callers_and_the_thread_goes_on(one_thread: _Threads) -> None:
    def fail() -> None:
        use()
        raise LookupError("mine")

    with pytest.raises(LookupError):
        run(one_thread, fail)
    run(one_thread, use)


def test_trouble_with_the_connection_does_not_lose_the_result(
    one_thread: _Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trouble() -> bool:
        raise RuntimeError("the pool is closed")

    monkeypatch.setattr(database, "connection_wanted", trouble)
    assert run(one_thread, lambda: 42) == 42


def test_a_connection_goes_back_when_somebody_waits_for_one(
    one_thread: _Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr(database, "connection_wanted", lambda: True)
    monkeypatch.setattr(database, "release_connections", lambda: given_back.append(True))
    run(one_thread, use)
    assert given_back


def test_a_caller_that_is_cancelled_learns_of_it_when_the_call_has_ended(one_thread: _Threads) -> None:
    may_end = threading.Event()
    ended: list[str] = []

    def work() -> None:
        may_end.wait(10)
        ended.append("call")

    async def cancel_in_the_middle() -> None:
        async def ask() -> None:
            try:
                await one_thread.call(work)
            except asyncio.CancelledError:
                ended.append("caller")
                raise

        task = asyncio.create_task(ask())
        await asyncio.sleep(0)
        task.cancel()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        may_end.set()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(cancel_in_the_middle())
    assert ended == ["call", "caller"]


def test_a_loop_that_ended_meanwhile_does_not_end_the_thread(one_thread: _Threads) -> None:
    may_end = threading.Event()

    async def leave() -> None:
        one_thread.call(lambda: may_end.wait(10))

    asyncio.run(leave())
    may_end.set()
    assert run(one_thread, lambda: 42) == 42
