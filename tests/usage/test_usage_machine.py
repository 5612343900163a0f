"""Random histories of use: whatever is recorded, forgiven, begun and ended, counters equal the rows."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models import F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from pytest_django import Settings

from common.errors import Conflict, UsageLimit
from copilot.models import Turn, UsageCounter, UsageRecord
from copilot.turns.cancel import request_stop
from copilot.turns.sessions import delete_session
from copilot.turns.submit import deliver_queued
from copilot.usage.allowance import reset, set_tier
from copilot.usage.limits import limits_of, usage_of
from copilot.usage.tally import tallies
from tests.factories import Holder, accept, claim_next, make_session, make_user
from tests.usage.spending import spend, use

EXAMPLES = settings(
    max_examples=20,
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
PLACES = st.integers(0, 1)
COSTS = st.one_of(st.none(), st.integers(0, 9000), st.just(30_000))
LIMIT = 40_000


class Use(RuleBasedStateMachine):
    """Two sessions of one person, a worker for each turn, and workers whose turn has ended meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = transaction.atomic()
        self.undo.__enter__()
        self.user = make_user()
        self.sessions = [make_session(self.user), make_session(self.user)]
        self.holders: list[Holder] = []
        self.calls = 0

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.undo.__exit__(None, None, None)

    @rule(place=PLACES)
    def send(self, place: int) -> None:
        session = self.sessions[place]
        live = session.turns.live().exists()
        usage = usage_of(self.user.pk)
        room = all(each.has_room(beside=each.reserved) for each in usage.windows)
        try:
            accepted = accept(session)
        except Conflict:
            return
        except UsageLimit:
            assert (live, room) == (False, False)
            return
        assert live or room
        if accepted.turn is not None:
            self.work()

    @rule(place=PLACES)
    def send_held_now(self, place: int) -> None:
        session = self.sessions[place]
        with suppress(Conflict, UsageLimit):
            deliver_queued(user=self.user, session_id=session.pk)
            self.work()

    def work(self) -> None:
        """Have a worker for each turn that waits."""
        while claim := claim_next(uuid.uuid4()):
            self.holders.append(Holder(claim))

    @rule(choice=st.integers(0, 9), cost=COSTS)
    def call_a_model(self, choice: int, cost: int | None) -> None:
        if self.holders:
            self.calls += 1
            holder = self.holders[choice % len(self.holders)]
            use(holder, cost, call=self.calls, step=1 + self.calls % 2)

    @rule(cost=COSTS)
    def ask_beside(self, cost: int | None) -> None:
        spend(self.user, cost)

    @rule(choice=st.integers(0, 9))
    def end(self, choice: int) -> None:
        held = [each for each in self.holders if self.holds(each)]
        if held:
            held[choice % len(held)].answer()
            self.work()  # perhaps another turn follows

    def holds(self, holder: Holder) -> bool:
        return Turn.objects.held_by(holder.claim.turn_id, holder.claim.fence).exists()

    @rule(place=PLACES)
    def stop(self, place: int) -> None:
        request_stop(user=self.user, session_id=self.sessions[place].pk, turn_id=None, reason="stopped")

    @rule(place=PLACES)
    def delete(self, place: int) -> None:
        delete_session(user=self.user, session_id=self.sessions[place].pk)
        self.sessions[place] = make_session(self.user)

    @rule(week=st.booleans())
    def forgive(self, week: bool) -> None:
        reset(self.user, week=week)

    @rule(tier=st.integers(1, 3))
    def change_the_tier(self, tier: int) -> None:
        set_tier(self.user, tier)

    @rule(weeks=st.integers(1, 9))
    def time_passes(self, weeks: int) -> None:
        """All that there is moves into the past by whole weeks, windows and what is in them alike."""
        by = timedelta(weeks=weeks)
        UsageRecord.objects.filter(user=self.user).update(created_at=F("created_at") - by)
        Turn.objects.filter(user=self.user).update(created_at=F("created_at") - by)
        # The oldest first: no two are ever in the same window.
        for counter in UsageCounter.objects.filter(user=self.user).order_by("starts_on"):
            rows = UsageCounter.objects.filter(user=self.user, window=counter.window, starts_on=counter.starts_on)
            rows.update(starts_on=counter.starts_on - by)

    @invariant()
    def counters_equal_the_rows(self) -> None:
        assert list(tallies([self.user.pk])[self.user.pk].differences()) == []

    @invariant()
    def nobody_is_forgiven_more_than_was_used(self) -> None:
        usage = usage_of(self.user.pk)
        for standing in usage.windows:
            assert standing.counted >= 0
            assert standing.limit == limits_of(usage.tier)[standing.window.kind]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("limited", [True, False])
def test_whatever_happens_counters_equal_the_rows(limited: bool, settings: Settings) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = LIMIT if limited else 0
    settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = 2 * LIMIT if limited else 0
    run_state_machine_as_test(Use, settings=EXAMPLES)
