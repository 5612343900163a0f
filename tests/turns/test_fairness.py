"""Admission: who keeps many turns waiting does not keep others waiting."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from copilot.models import Turn
from copilot.turns.claim import claim_waiting
from copilot.turns.finish import failed
from tests.factories import Holder, make_session, make_turn, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def crowd() -> list[Turn]:
    """Two hundred turns of one person that wait since long ago."""
    busy = make_user("busy")
    first = make_turn(make_session(busy))
    turns = [first]
    for _ in range(199):
        session = make_session(busy)
        turns.append(Turn(session=session, user=busy, model=first.model, settings=first.settings))
    Turn.objects.bulk_create(turns[1:])
    Turn.objects.update(queued_at=timezone.now() - timedelta(minutes=5))
    return turns


@pytest.mark.parametrize("limit", [8, 0])
def test_a_person_with_two_hundred_waiting_turns_does_not_delay_another(
    crowd: list[Turn], limit: int, settings: Settings
) -> None:
    settings.TURNS_PER_USER_MAX = limit
    here = uuid.uuid4()
    assert {claim.user_id for claim in claim_waiting(here, 8)} == {crowd[0].user_id}
    other = make_turn()
    started = time.monotonic()
    (claim,) = claim_waiting(here, 1)
    assert claim.turn_id == other.id
    assert time.monotonic() - started < 1


def test_who_is_over_the_limit_waits_for_a_slot_and_then_goes_on(crowd: list[Turn], settings: Settings) -> None:
    settings.TURNS_PER_USER_MAX = 2
    here = uuid.uuid4()
    claims = claim_waiting(here, 16)
    assert len(claims) == 2
    assert claim_waiting(here, 16) == []
    Holder(claims[0]).finish(failed("network", "Cut."))
    assert len(claim_waiting(here, 16)) == 1


def test_a_turn_that_failed_is_not_tried_again() -> None:
    here = uuid.uuid4()
    make_turn()
    (claim,) = claim_waiting(here, 1)
    Holder(claim).finish(failed("network", "Cut.", retryable=True))
    assert claim_waiting(here, 1) == []
    assert Turn.objects.get().status == "failed"
