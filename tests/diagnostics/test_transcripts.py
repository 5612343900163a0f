"""What a follower was given is compared with the rows."""

from __future__ import annotations

from typing import Any

import pytest

from common.db import db
from copilot.diagnostics.invariants import transcript_problems
from copilot.events.follow import Event, follow
from copilot.events.log import read_events
from copilot.models import Turn
from copilot.sweep import _old_events
from tests.diagnostics.conftest import BUSY_TURN, Run

pytestmark = pytest.mark.django_db(transaction=True)

Followed = list[tuple[int | None, dict[str, Any]]]


async def followed(turn: Turn, after: int = 0) -> Followed:
    """Return what a follower of a finished turn is given."""
    return [(event.seq, event.chunk) async for event in follow(turn.pk, after) if isinstance(event, Event)]


@pytest.mark.parametrize("text", [BUSY_TURN, "/faillate overloaded 1\n/words 2", "/words 3\n/fail quota"])
async def test_a_follower_of_the_log_has_no_problems(run: Run, text: str) -> None:
    turn = await run(text)
    events = await followed(turn)
    transient = (None, {"type": "data-metering", "data": {}, "transient": True})
    assert await db(transcript_problems, turn.pk, events) == []
    assert await db(transcript_problems, turn.pk, [*events[:3], transient, *events[3:]]) == []


async def test_a_follower_of_a_pruned_turn_has_no_problems(run: Run, settings: Any) -> None:
    turn = await run(BUSY_TURN)
    before = await followed(turn)
    settings.EVENT_RETENTION_SECONDS = 0
    assert await db(_old_events) > 0
    assert await db(transcript_problems, turn.pk, await followed(turn)) == []
    # One who had read some of it before it was pruned.
    assert await db(transcript_problems, turn.pk, before[:4] + await followed(turn, after=4)) == []


def _other_text(chunk: dict[str, Any]) -> dict[str, Any]:
    return {**chunk, "delta": "no"} if chunk["type"] == "text-delta" else chunk


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda e: e[:-1], "the last event was not terminal"),
        (lambda e: e[:3] + e[4:], "event 5 followed event 3"),
        (lambda e: [*e[:4], e[3], *e[4:]], "event 4 came after event 4"),
        (lambda e: [*e[:3], e[4], e[3], *e[5:]], "event 4 came after event 5"),
        (lambda e: [*e, (e[-1][0] + 1, {"type": "finish-step"})], "was not the last"),
        (lambda e: [(seq, _other_text(chunk)) for seq, chunk in e], "was given otherwise than it is stored"),
        (lambda e: [(seq, _other_text(chunk)) for seq, chunk in e], "the follower shows 2 characters of text"),
        (lambda e: [], "stored events were not given, the first is 1"),
    ],
)
async def test_damage_is_found(run: Run, damage: Any, problem: str) -> None:
    turn = await run("/words 3")
    events = await db(read_events, turn.pk)
    found = await db(transcript_problems, turn.pk, damage(events))
    assert any(problem in line for line in found)
