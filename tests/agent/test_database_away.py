"""A database that fails while turns run: what passes costs time, what does not fails the turn."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from common import db as database
from common.db import db
from copilot.agent import asking, loop
from copilot.diagnostics import invariants
from copilot.models import UsageRecord
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def one(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_STEADY_FIRST", 0.01)
    await crew.hire()


def failing_once(call: Callable[..., Any], error: Exception, *, after: bool) -> Callable[..., Any]:
    """Have the first call fail, before or after what it does."""
    failures = [error]

    def run(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs) if after or not failures else None
        if failures:
            raise failures.pop()
        return result

    return run


@pytest.mark.parametrize("after", [False, True], ids=["before", "after the commit"])
async def test_usage_counts_once_when_its_commit_is_in_doubt(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    gone = OperationalError("server closed the connection unexpectedly")
    monkeypatch.setattr(asking, "record_usage", failing_once(asking.record_usage, gone, after=after))
    turn = await crew.say("/words 3")
    assert turn.status == "completed"
    assert await db(lambda: list(UsageRecord.objects.values_list("step", "output_tokens"))) == [(1, 3)]
    assert (await crew.now(turn)).session.output_tokens == 3
    assert await db(invariants.check) == []


async def test_what_the_database_refuses_for_good_fails_the_turn(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    cause = sqlite3.OperationalError("no such table: copilot_turn")
    cause.sqlite_errorcode = sqlite3.SQLITE_ERROR
    error = OperationalError(*cause.args)
    error.__cause__ = cause
    with monkeypatch.context() as patch:
        patch.setattr(loop, "load", failing_once(loop.load, error, after=False))
        turn = await crew.say("/words 3")
    assert (turn.status, turn.outcome) == ("failed", "unknown")
    assert (await crew.say("/words 3", turn.session)).status == "completed"
