"""Turns in trouble, by what brings turns there; and rows that the database would not take."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connection

from copilot.models import Session, Turn
from copilot.turns.claim import claim_in
from copilot.turns.finish import Ending, failed
from tests.approvals.waiting import notes, pause_at
from tests.factories import Holder, backdate, expire_lease, fresh, make_session, make_turn

HOUR = timedelta(hours=1)
#: A turn of each of these is made.
STATES = ("fresh", "orphan", "long", "asking", "failed", "completed", "queued", "stuck")


def running(session: Session | None = None) -> Holder:
    """Return a worker's hold on a new turn, whoever else waits."""
    turn = make_turn(session or make_session())
    claim = claim_in(uuid.uuid4(), turn.session_id)
    assert claim is not None
    return Holder(claim)


def orphan() -> Turn:
    """Create a turn whose worker was not heard of for an hour."""
    turn = running().turn
    expire_lease(turn.pk)
    return fresh(turn)


def long_running(hours: int = 25) -> Turn:
    """Create a turn that has run for so many hours, and still does."""
    turn = running().turn
    backdate(turn, started_at=hours * HOUR, claimed_at=hours * HOUR)
    return fresh(turn)


def stuck(hours: int = 2) -> Turn:
    """Create a turn that was queued so many hours ago."""
    turn = make_turn(make_session())
    backdate(turn, created_at=hours * HOUR, queued_at=hours * HOUR)
    return fresh(turn)


def asking() -> Turn:
    """Create a turn that waits for a person."""
    return Turn.objects.get(pk=pause_at(running(), *notes("hello")).turn)


def ended(ago: timedelta = timedelta(), ending: Ending | None = None, session: Session | None = None) -> Turn:
    """Create a turn that ended so long ago; completed unless something else is said."""
    holder = running(session)
    holder.answer(ending=ending)
    backdate(holder.turn, finished_at=ago)
    return holder.turn


def failure(ago: timedelta = timedelta(), code: str = "quota", session: Session | None = None) -> Turn:
    """Create a turn that failed so long ago."""
    return ended(ago, failed(code, "Nothing left."), session)


def one_of_each() -> dict[str, Turn]:
    """Create a turn in each state."""
    return {
        "asking": asking(),
        "fresh": running().turn,
        "orphan": orphan(),
        "long": long_running(),
        "failed": failure(),
        "completed": ended(),
        "queued": make_turn(make_session()),
        "stuck": stuck(),
    }


@contextmanager
def past_the_constraints() -> Iterator[None]:
    """Let the test write what the constraints of turns would refuse; the test's rollback undoes it."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        else:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table with checks to come cannot be altered
            for constraint in Turn._meta.constraints:
                if "Check" in type(constraint).__name__:
                    cursor.execute(f'ALTER TABLE copilot_turn DROP CONSTRAINT "{constraint.name}"')
    try:
        yield
    finally:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA ignore_check_constraints = OFF")


def spoil(turn: Turn, **columns: Any) -> None:
    """Write columns of a turn as only a mistake would."""
    Turn.objects.filter(pk=turn.pk).update(**columns)
