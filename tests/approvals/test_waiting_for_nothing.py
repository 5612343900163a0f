"""Turns whose question is gone: the sweep finds them, however many others wait, and reads only some at a time."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals.models import Action
from common.db import db
from copilot import sweep
from copilot.models import Turn
from tests.approvals.asking import People, note, written
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)

RULE = next(rule for rule in sweep.RULES if rule.name == "waiting_for_nothing")


@pytest.fixture(autouse=True)
def _from_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first pass of a test begin with the oldest."""
    monkeypatch.setattr(sweep, "_asked_after", sweep.OLDEST)


async def test_a_turn_that_waits_for_nothing_ends_and_the_session_goes_on(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask("/words 2\n" + note("hello"))
    other, _ = await people.ask(note("hello"))
    await db(Action.objects.filter(pk=action.pk).delete)
    assert await db(RULE.act) == 1
    turn = await crew.ended(turn)
    assert (turn.status, turn.outcome) == ("failed", "unknown")
    assert "nothing of it ran" in (turn.error or {})["detail"]
    assert written(turn.session_id) == []
    assert (await crew.say("/words 3", turn.session)).status == "completed"
    assert (await crew.now(other)).status == "requires_action"
    assert await db(RULE.act) == 0


async def test_each_pass_looks_at_some_of_them_and_all_are_looked_at(
    crew: Crew, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "WAITS_AT_ONCE", 2)
    await crew.hire()
    asked = [await people.ask(note("hello")) for _ in range(5)]
    lost, action = max(asked, key=lambda pair: pair[1].pk)
    await db(Action.objects.filter(pk=action.pk).delete)
    assert [await db(RULE.act) for _ in range(4)] == [0, 0, 1, 0]
    assert (await crew.now(lost)).status == "failed"
    waiting = await db(Turn.objects.filter(status=Turn.Status.REQUIRES_ACTION).count)
    assert waiting == 4


async def test_a_pass_asks_the_same_of_the_database_however_many_wait(crew: Crew, people: People) -> None:
    await crew.hire()
    await people.ask(note("hello"))
    one = await db(_queries_of_a_pass)
    for _ in range(4):
        await people.ask(note("hello"))
    assert await db(_queries_of_a_pass) == one


def _queries_of_a_pass() -> list[str]:
    """Return the statements of a pass without their values."""
    with CaptureQueriesContext(connection) as seen:
        assert sweep.sweep() == {}
    value = r"'[^']*'(::uuid)?"
    return [re.sub(f"{value}(, {value})*", "?", query["sql"]) for query in seen.captured_queries]
