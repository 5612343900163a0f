"""Many silent followers ask the database together."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable

import pytest

from common.db import db
from copilot.events import glance as glancing
from copilot.events.glance import Glance, glance
from tests.factories import make_running, make_turn

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[list[uuid.UUID]]:
    """The turns that each query was about; nobody waits longer than necessary."""
    queries: list[list[uuid.UUID]] = []

    def read(turn_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Glance]:
        queries.append(list(turn_ids))
        return real(turn_ids)

    real = glancing.read_glances
    monkeypatch.setattr(glancing, "read_glances", read)
    monkeypatch.setattr(glancing, "GATHER_SECONDS", 0.01)
    return queries


async def test_those_who_ask_at_once_share_a_query(queries: list[list[uuid.UUID]]) -> None:
    holder, queued, gone = await db(make_running), await db(make_turn), uuid.uuid4()
    running = holder.claim.turn_id
    answers = await asyncio.gather(*(glance(turn_id) for turn_id in [running, queued.pk, gone] * 20))
    assert answers == [Glance(0, "running"), Glance(0, "queued"), None] * 20
    assert len(queries) == 1
    assert sorted(queries[0]) == sorted([running, queued.pk, gone])


async def test_an_answer_is_never_older_than_the_question(queries: list[list[uuid.UUID]]) -> None:
    holder = await db(make_running)
    assert await glance(holder.claim.turn_id) == Glance(0, "running")
    await db(holder.finish)
    seen = await glance(holder.claim.turn_id)
    assert seen is not None
    assert seen.status == "completed"
    assert seen.newest > 0
    assert len(queries) == 2


async def test_one_who_leaves_does_not_matter_to_the_others(queries: list[list[uuid.UUID]]) -> None:
    turn = await db(make_turn)
    leaving, staying = asyncio.create_task(glance(turn.pk)), asyncio.create_task(glance(turn.pk))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == Glance(0, "queued")
    assert len(queries) == 1


async def test_a_failing_query_fails_those_who_asked_and_nobody_else(
    queries: list[list[uuid.UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = await db(make_turn)
    with monkeypatch.context() as patch:
        patch.setattr(glancing, "read_glances", {}.__getitem__)
        problems = await asyncio.gather(glance(turn.pk), glance(uuid.uuid4()), return_exceptions=True)
    assert [type(problem) for problem in problems] == [TypeError, TypeError]
    assert await glance(turn.pk) == Glance(0, "queued")
