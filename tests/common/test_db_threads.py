"""Threads for database work keep their connection only as long as it is good and nobody else wants one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

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
    threads.submit(lambda: connection.close()).result(10)  # its own, not this one


def use() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def connected() -> bool:
    return connection.connection is not None


def test_a_connection_is_kept_for_the_next_call(one_thread: _Threads) -> None:
    one_thread.submit(use).result(10)
    assert one_thread.submit(connected).result(10)


def test_a_connection_that_met_an_error_is_not_kept_even_if_the_call_took_it_well(one_thread: _Threads) -> None:
    def careless() -> str:
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
        return "fine"

    assert one_thread.submit(careless).result(10) == "fine"
    assert not one_thread.submit(connected).result(10)


def test_a_failure_is_the_callers_and_the_thread_goes_on(one_thread: _Threads) -> None:
    def fail() -> None:
        use()
        raise LookupError("mine")

    with pytest.raises(LookupError):
        one_thread.submit(fail).result(10)
    one_thread.submit(use).result(10)


def test_trouble_with_the_connection_does_not_lose_the_result(
    one_thread: _Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trouble() -> bool:
        raise RuntimeError("the pool is closed")

    monkeypatch.setattr(database, "connection_wanted", trouble)
    assert one_thread.submit(lambda: 42).result(10) == 42


def test_a_connection_goes_back_when_somebody_waits_for_one(
    one_thread: _Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr(database, "connection_wanted", lambda: True)
    monkeypatch.setattr(database, "release_connections", lambda: given_back.append(True))
    one_thread.submit(use).result(10)
    assert given_back
