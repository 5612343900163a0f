"""``manage.py reconcile_usage``: counters that were changed by hand are told of, and set right."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management.base import CommandError
from django.utils import timezone
from pytest_django import Settings

from copilot.models import Turn, UsageCounter, UsageRecord, User
from copilot.usage.allowance import reset
from copilot.usage.tally import reconcile
from tests.diagnostics.conftest import manage, manage_failing
from tests.factories import make_running, make_session
from tests.turns.racing import race
from tests.usage.spending import counted, spend, untrue, use

WELL = "All counters equal the records."


@pytest.mark.django_db
def test_what_is_right_stays(user: User) -> None:
    spend(user, 5)
    assert manage("reconcile_usage", "--check").strip() == manage("reconcile_usage").strip() == WELL
    assert counted(user) == {"day": (5, 0, 0, 0), "week": (5, 0, 0, 0)}


@pytest.mark.django_db
def test_each_difference_is_told_and_mended(user: User, other_user: User, settings: Settings) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = 1_000_000
    spend(other_user, 3)
    holder = make_running(make_session(user))
    use(holder, 500)
    spend(user, None)
    reset(user, week=True)
    right = counted(user)
    UsageCounter.objects.filter(user=user, window="day").update(used=900, forgiven=800, reserved=1, unknown=7)
    UsageCounter.objects.filter(user=other_user).delete()
    code, printed = manage_failing("reconcile_usage", "--check")
    assert (code, len(printed.splitlines())) == (1, 4)
    [line] = [line for line in printed.splitlines() if str(user.pk) in line]
    assert "used 900 -> 500, unknown 7 -> 1, reserved 1 -> 9500" in line
    assert counted(user)["day"][0] == 900, "a check changes nothing"
    assert manage("reconcile_usage", "--user", user.username).splitlines()[-1] == "1 counters set right."
    assert counted(user) == right
    assert counted(other_user) == {}
    assert manage("reconcile_usage").splitlines()[-1] == "2 counters set right."
    assert counted(other_user)["week"] == (3, 0, 0, 0)
    assert untrue() == []


@pytest.mark.django_db
def test_both_kinds_of_difference_break_a_rule(user: User) -> None:
    spend(user, 5)
    UsageCounter.objects.filter(window="day").update(reserved=4)
    assert [each.rule for each in untrue()] == ["reserved_is_of_live_turns"]
    UsageCounter.objects.filter(window="week").update(unknown=4)
    assert {each.rule for each in untrue()} == {"reserved_is_of_live_turns", "counters_are_sums"}
    code, printed = manage_failing("check_invariants")
    assert (code, f"user {user.pk}" in printed) == (1, True)
    reconcile(user.pk)
    assert untrue() == []


@pytest.mark.django_db
def test_what_ended_reserves_nothing_and_old_records_count_where_they_belong(user: User) -> None:
    spend(user, 5)
    UsageRecord.objects.update(created_at=timezone.now() - timedelta(days=30))
    assert len(reconcile(user.pk)) == 4
    assert UsageCounter.objects.filter(user=user, used=5).count() == 2
    assert not Turn.objects.exists()
    assert untrue() == []


@pytest.mark.django_db
def test_nobody_of_that_name() -> None:
    with pytest.raises(CommandError, match="no user 'nobody'"):
        manage("reconcile_usage", "--user", "nobody")


@pytest.mark.django_db(transaction=True)
def test_it_may_run_beside_workers(user: User) -> None:
    spend(user, 5)
    UsageCounter.objects.update(used=1)
    acts = [lambda: spend(user, 10) for _ in range(4)]
    outcomes = race(*acts, *(lambda: reconcile(user.pk) for _ in range(3)))
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)], outcomes
    reconcile(user.pk)
    assert counted(user) == {"day": (45, 0, 0, 0), "week": (45, 0, 0, 0)}
    assert untrue() == []
