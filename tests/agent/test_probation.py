"""A turn that was lost twice runs alone: what killed two workers may kill a third, and nobody else with it."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db.models import F

from common.db import db
from copilot import worker as working
from copilot.models import Turn
from copilot.turns import claim as claiming
from copilot.turns.claim import PROBATION_ATTEMPT, PROBATION_PATIENCE, claim_waiting
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


async def on_probation(crew: Crew) -> Turn:
    """Return a turn that lost two workers and may run again."""
    crew.workers[0].stopping = True
    turn = await crew.send("/words 100 20")
    await db(lambda: Turn.objects.filter(pk=turn.pk).update(attempt=PROBATION_ATTEMPT))
    crew.workers[0].stopping = False
    return turn


async def test_a_turn_on_probation_waits_for_an_idle_process(crew: Crew) -> None:
    await crew.hire()
    busy = await crew.send("/words 1000 20")
    await crew.until(busy, "text-delta")
    turn = await on_probation(crew)
    assert await db(lambda: claim_waiting(crew.workers[0].id, 5)) == []
    [claim] = await db(lambda: claim_waiting(crew.workers[0].id, 5, idle=True))
    assert (claim.turn_id, claim.alone) == (turn.id, True)


async def test_it_does_not_wait_for_ever(crew: Crew) -> None:
    await crew.hire()
    turn = await on_probation(crew)
    long = timedelta(seconds=PROBATION_PATIENCE + 1)
    await db(lambda: Turn.objects.filter(pk=turn.pk).update(queued_at=F("queued_at") - long))
    [claim] = await db(lambda: claim_waiting(crew.workers[0].id, 5))
    assert (claim.turn_id, claim.alone) == (turn.id, False)


async def test_beside_a_turn_on_probation_nothing_begins_until_it_has_ended(crew: Crew) -> None:
    [here] = [await crew.hire()]
    turn = await on_probation(crew)
    crew.tell(turn.id)
    await crew.until(turn, "text-delta")
    other = await crew.send("/words 1")
    await here.run_one()
    assert (await crew.now(other)).status == "queued"
    await crew.ended(turn)
    assert (await crew.ended(other)).status == "completed"


async def test_beside_a_turn_on_probation_others_begin_after_a_while(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "ALONE_SECONDS", 0.2)
    await crew.hire()
    turn = await on_probation(crew)
    crew.tell(turn.id)
    await crew.until(turn, "text-delta")
    other = await crew.send("/words 1")
    assert (await crew.ended(other)).status == "completed"
    assert (await crew.now(turn)).status == "running"


async def several_waiting(crew: Crew) -> list[Turn]:
    """Return four turns that wait, the first two of them on probation."""
    turns = [await crew.send("/words 2") for _ in range(4)]
    ids = [turn.pk for turn in turns[:2]]
    await db(lambda: Turn.objects.filter(pk__in=ids).update(attempt=PROBATION_ATTEMPT))
    return turns


async def test_one_that_somebody_else_takes_does_not_bring_the_next_one_in_beside_others(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [turn.pk for turn in (await several_waiting(crew))[:2]]
    claim, tries = claiming._claim, iter([True])
    monkeypatch.setattr(claiming, "_claim", lambda *asked: [] if next(tries, False) else claim(*asked))
    claims = await db(lambda: claim_waiting(uuid.uuid4(), 16, idle=True))
    assert not [found for found in claims if found.turn_id in bad and not found.alone]


async def test_all_others_go_first(crew: Crew) -> None:
    turns = await several_waiting(crew)
    claims = await db(lambda: claim_waiting(uuid.uuid4(), 16, idle=True))
    assert {found.turn_id for found in claims} == {turn.pk for turn in turns[2:]}
    [alone] = await db(lambda: claim_waiting(uuid.uuid4(), 16, idle=True))
    assert (alone.turn_id in [turn.pk for turn in turns[:2]], alone.alone) == (True, True)
