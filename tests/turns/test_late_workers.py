"""A worker that comes back after its turn was ended, while the session's next turn runs already: too late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from copilot.diagnostics import invariants
from copilot.events.log import StaleTurn
from copilot.models import Message, Session, Step, ToolCall, Turn, TurnEvent, TurnLog
from copilot.turns.cancel import finish_unconfirmed, request_stop
from copilot.turns.finish import failed
from copilot.turns.recover import take_over
from tests.factories import Holder, accept, answer_of, expire_lease, hold, make_running
from tests.turns.racing import guarded, terminal_events

pytestmark = pytest.mark.django_db(transaction=True)

TABLES: tuple[Any, ...] = (Session, Turn, Message, Step, ToolCall, TurnEvent, TurnLog)


def rows() -> list[Any]:
    """Return everything that is stored of sessions and turns."""
    return [sorted(table.objects.values_list(), key=repr) for table in TABLES]


def stop_unheard(holder: Holder) -> None:
    """Stop a turn whose worker does not answer."""
    session = holder.session
    request_stop(user=session.user, session_id=session.id, turn_id=None, reason="stopped")
    assert finish_unconfirmed(holder.claim.turn_id, 0.0)


@pytest.fixture
def late() -> Holder:
    """A worker that hangs in the middle of an answer and of a call."""
    holder = make_running()
    holder.begin()
    (holder.pending,) = holder.step("shell")  # type: ignore[attr-defined]
    holder.begin_call(holder.pending)  # type: ignore[attr-defined]
    return holder


WRITES: dict[str, Callable[[Holder], object]] = {
    "says something": lambda late: late.open_text("from the grave"),
    "settles its call": lambda late: late.settle(late.pending),  # type: ignore[attr-defined]
    "commits a step": lambda late: late.step("shell"),
    "completes": lambda late: late.finish(),
    "fails": lambda late: late.finish(failed("network", "Cut.")),
    "hands back": lambda late: late.hand_back(),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_worker_that_wakes_after_the_next_turn_began_changes_nothing(late: Holder, write: str) -> None:
    stop_unheard(late)
    current = hold(accept(late.session, "and now?").turn)  # type: ignore[arg-type]
    current.begin()
    before = rows()
    with pytest.raises(StaleTurn):
        WRITES[write](late)
    assert rows() == before
    current.say("Hello.")
    current.finish()
    assert invariants.check() == []
    answer = answer_of(current.turn)
    assert answer is not None
    assert answer.text == "Hello."


@guarded
def test_a_turn_that_was_taken_from_its_worker_ends_once(
    late: Holder, guarded: bool, no_fence: Callable[[Holder], None]
) -> None:
    stop_unheard(late)
    hold(accept(late.session, "and now?").turn)  # type: ignore[arg-type]
    if guarded:
        with pytest.raises(StaleTurn):
            late.finish()
    else:
        no_fence(late)
        late.finish()
    assert len(terminal_events(late.turn)) == (1 if guarded else 2)


def test_the_next_message_starts_at_once_though_the_stopped_worker_hangs(late: Holder) -> None:
    stop_unheard(late)
    accepted = accept(late.session, "and now?")
    assert not accepted.queued
    assert accepted.turn is not None
    assert accepted.turn.id != late.claim.turn_id
    assert hold(accepted.turn).turn.status == "running"


def test_a_worker_that_claims_a_turn_again_is_not_mistaken_for_its_earlier_self(late: Holder) -> None:
    """The right to write is that of a claim, not of a process: the same process may hold the turn once more."""
    expire_lease(late.claim.turn_id)
    assert take_over(late.claim.turn_id, lease=60)
    Turn.objects.update(queued_at="2020-01-01T00:00:00Z")
    again = hold(late.turn)
    Turn.objects.filter(pk=late.claim.turn_id).update(worker=again.turn.worker)
    before = rows()
    for write in WRITES.values():
        with pytest.raises(StaleTurn):
            write(late)
    assert rows() == before
