"""Fifty messages to one session at once in one process: one begins a turn, ten wait, the rest is refused."""

from __future__ import annotations

import pytest

from common.errors import Conflict
from copilot.models import Turn
from copilot.turns.submit import Accepted
from tests.factories import accept, hold, make_session
from tests.turns.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


def test_fifty_sends_at_once_are_one_turn_ten_places_and_refusals() -> None:
    session = make_session()
    outcomes = race(*[lambda n=n: accept(session, f"message {n}") for n in range(50)])
    refused = [outcome.error_code for outcome in outcomes if isinstance(outcome, Conflict)]
    assert refused == ["queue_full"] * 39
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    [first] = [outcome for outcome in accepted if outcome.turn is not None]
    waiting = sorted(
        (outcome for outcome in accepted if outcome.queued), key=lambda outcome: outcome.position or 0
    )
    assert [outcome.position for outcome in waiting] == list(range(1, 11))
    assert first.turn is not None
    next_turn = hold(first.turn).answer()
    delivered = session.messages.filter(role="user").order_by("seq").values_list("pk", "turn")
    assert list(delivered) == [
        (first.message.pk, first.turn.pk),
        *((each.message.pk, next_turn) for each in waiting),
    ]
    assert Turn.objects.count() == 2
