"""Turns that must not be are left alone by every act, also as members of another category."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone

from copilot.diagnostics.categories import rows_of
from copilot.diagnostics.invalid import invalid_turns
from copilot.models import Turn
from copilot.operators import actions
from copilot.operators.actions import ACTIONS
from tests.operators import troubles
from tests.operators.acting import ids, make_operator

pytestmark = pytest.mark.django_db


def running() -> Turn:
    return troubles.running().turn


CASES = [
    ("stop", "running", running),
    ("requeue", "stuck_queued", troubles.stuck),
    ("cleanup", "orphaned", troubles.orphan),
]


@pytest.mark.parametrize(("action", "category", "make"), CASES)
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
def test_an_act_on_a_category_leaves_those_of_it_alone_that_must_not_be(
    action: str, category: str, make: Callable[[], Turn], guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not guarded:
        monkeypatch.setattr(actions, "invalid_turns", Turn.objects.none)
    with troubles.past_the_constraints():
        sound, spoilt = make(), make()
        troubles.spoil(spoilt, finished_at=timezone.now())
        assert list(invalid_turns()) == [spoilt]
        before = Turn.objects.filter(pk=spoilt.pk).values().get()
        chosen = ids(*rows_of(category))
        assert set(chosen) == {sound.pk, spoilt.pk}
        outcome = ACTIONS[action](chosen, operator=make_operator("olga"), category=category)
        assert outcome.requested == 2
        untouched = Turn.objects.filter(pk=spoilt.pk).values().get() == before
        assert untouched is guarded
        if guarded:
            assert outcome.affected == 1
