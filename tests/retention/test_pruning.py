"""What is kept for so many days goes after them and not before, a little at a time, and never what is live."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.sessions.models import Session as Login
from django.utils import timezone
from pytest_django import Settings

from approvals.models import Action, AuditEntry
from common.ids import new_id
from copilot.diagnostics.invariants import violations
from copilot.models import OperatorEntry, Session, UsageCounter, UsageRecord, User
from copilot.operators.audit import record
from copilot.retention import pruning
from copilot.sweep import RULES, sweep
from copilot.usage.keeping import usage_end
from copilot.usage.tally import reconcile
from copilot.workspaces import workspace_of
from linking.leaving import forget_old_tokens
from linking.login import issue_login_link
from linking.models import LoginToken
from tests.approvals.asking import decide_now
from tests.approvals.waiting import waiting
from tests.factories import make_running, make_session, make_turn

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
#: A Wednesday at noon, and the Monday before.
NOW = datetime(2026, 7, 15, 12, tzinfo=UTC)
MONDAY = datetime(2026, 7, 13, tzinfo=UTC)


# --- logs -----------------------------------------------------------------------------------------


def entry(user: User) -> AuditEntry:
    return AuditEntry.objects.create(user=user, event="cancelled", surface="server")


def act(user: User) -> OperatorEntry:
    return record(user, "stop")


def note(user: User) -> LogEntry:
    return LogEntry.objects.create(user=user, action_flag=CHANGE, object_repr="")


LOGS = [
    (entry, "at", pruning.old_approval_log),
    (act, "at", pruning.old_operator_log),
    (note, "action_time", pruning.old_admin_log),
]


@pytest.fixture(params=LOGS, ids=lambda log: log[2].__name__)
def log(request: pytest.FixtureRequest) -> Any:
    return request.param


def aged(row: Any, moment: str, age: timedelta) -> Any:
    """Have a row been written so long ago."""
    type(row)._base_manager.filter(pk=row.pk).update(**{moment: timezone.now() - age})
    return row.pk


def left(row_type: Any) -> set[Any]:
    return set(row_type._base_manager.values_list("pk", flat=True))


def test_an_entry_goes_after_its_days_and_not_before(user: User, settings: Settings, log: Any) -> None:
    make, moment, prune = log
    settings.AUDIT_RETENTION_DAYS = 30
    aged(make(user), moment, 30 * DAY + MINUTE)
    young = aged(make(user), moment, 30 * DAY - MINUTE)
    assert (prune(), left(type(make(user))) >= {young}) == (1, True)
    assert prune() == 0


def test_without_a_setting_logs_are_kept_for_ever(user: User, settings: Settings, log: Any) -> None:
    make, moment, prune = log
    row = make(user)
    aged(row, moment, 9999 * DAY)
    assert (prune(), left(type(row))) == (0, {row.pk})


def test_a_log_goes_a_little_at_a_time(
    user: User, settings: Settings, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, moment, prune = log
    settings.AUDIT_RETENTION_DAYS = 1
    monkeypatch.setattr(pruning, "BATCH", 2)
    for _ in range(3):
        aged(make(user), moment, 2 * DAY)
    assert [prune(), prune(), prune()] == [2, 1, 0]


def test_decisions_whose_entries_are_kept_no_longer_are_whole(user: User, settings: Settings) -> None:
    settings.AUDIT_RETENTION_DAYS = 1
    asked = waiting(session=make_session(user))
    decide_now(asked, "approve")
    AuditEntry._base_manager.all().delete()
    assert any("audit entries" in problem for problem in problems())
    Action.objects.update(resolved_at=timezone.now() - 2 * DAY)
    assert not any("audit entries" in problem for problem in problems())


def problems() -> list[str]:
    return [str(problem) for problem in violations()]


# --- usage ----------------------------------------------------------------------------------------


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> datetime:
    """It is NOW, and usage is kept for a week."""
    settings.USAGE_RETENTION_DAYS = 7
    monkeypatch.setattr("common.ages.timezone.now", lambda: NOW)
    return NOW


def used(user: User, moment: datetime, **over: Any) -> UsageRecord:
    about = over or {"aside": uuid.uuid4(), "fence": 0}
    row = UsageRecord.objects.create(user=user, step=1, model="demo/demo", **about)
    UsageRecord.objects.filter(pk=row.pk).update(created_at=moment)
    return row


def test_usage_is_kept_by_whole_weeks(at: datetime) -> None:
    assert usage_end() == MONDAY - 7 * DAY


@pytest.mark.parametrize("days", [1, 2, 3])
def test_the_week_that_counts_is_always_whole(at: datetime, settings: Settings, days: int) -> None:
    settings.USAGE_RETENTION_DAYS = days
    end = usage_end()
    assert end is not None
    assert end <= MONDAY


def test_records_go_with_the_week_that_they_are_of(at: datetime, user: User) -> None:
    used(user, MONDAY - 7 * DAY - MINUTE)
    kept = [used(user, MONDAY - 7 * DAY).pk, used(user, NOW).pk]
    assert pruning.old_usage() == 1
    assert list(UsageRecord.objects.values_list("pk", flat=True)) == kept


def test_sums_go_before_the_records_that_they_are_of(at: datetime, user: User) -> None:
    used(user, MONDAY - 8 * DAY)
    for window, day in (("day", date(2026, 7, 5)), ("week", date(2026, 6, 29))):
        UsageCounter.objects.create(user=user, window=window, starts_on=day)
    UsageCounter.objects.create(user=user, window="week", starts_on=date(2026, 7, 6))
    UsageCounter.objects.create(user=user, window="day", starts_on=date(2026, 6, 1), reserved=1)
    assert (pruning.old_usage(), UsageRecord.objects.count()) == (2, 1)
    kept = set(UsageCounter.objects.values_list("window", "starts_on"))
    assert kept == {("week", date(2026, 7, 6)), ("day", date(2026, 6, 1))}
    assert (pruning.old_usage(), UsageRecord.objects.count()) == (1, 0)


def test_the_sums_of_many_years_go_too(at: datetime, user: User) -> None:
    """When it is decided after years: no statement grows with them."""
    days = (date(2020, 1, 1) + each * DAY for each in range(1200))
    UsageCounter.objects.bulk_create(UsageCounter(user=user, window="day", starts_on=day) for day in days)
    removed = [pruning.old_usage() for _ in range(7)]
    assert (sum(removed), removed[-1]) == (1200, 0)


def test_windows_that_are_kept_no_longer_are_not_compared_with_their_records(at: datetime, user: User) -> None:
    used(user, MONDAY - 8 * DAY, cost_microdollars=5, aside=uuid.uuid4(), fence=0)
    assert reconcile(user.pk) == []
    used(user, MONDAY, cost_microdollars=5, aside=uuid.uuid4(), fence=0)
    assert [window.kind for window, _, _ in reconcile(user.pk)] == ["day", "week"]


def test_what_a_live_turn_used_stays_however_old_it_is(at: datetime, user: User) -> None:
    asked = waiting(session=make_session(user))
    ended = make_running(make_session(user))
    ended.answer()
    live = used(user, MONDAY - 30 * DAY, turn_id=asked.turn, fence=1)
    used(user, MONDAY - 30 * DAY, turn=ended.turn, fence=1)
    used(user, MONDAY - 30 * DAY)
    assert pruning.old_usage() == 2
    assert UsageRecord.objects.get() == live


def test_without_a_setting_usage_is_kept_for_ever(user: User) -> None:
    used(user, NOW - 9999 * DAY)
    assert (usage_end(), pruning.old_usage(), UsageRecord.objects.count()) == (None, 0, 1)


def test_totals_of_sessions_outlive_their_records(at: datetime, user: User) -> None:
    session = make_session(user)
    Session.objects.filter(pk=session.pk).update(input_tokens=5, created_at=NOW)
    assert any("its totals" in problem for problem in problems())
    Session.objects.filter(pk=session.pk).update(created_at=NOW - 30 * DAY)
    assert not any("its totals" in problem for problem in problems())


# --- what is left over ----------------------------------------------------------------------------


def test_logins_go_when_their_time_is_over(client: Any, user: User) -> None:
    client.force_login(user)
    assert pruning.ended_logins() == 0
    Login.objects.update(expire_date=timezone.now() - MINUTE)
    assert (pruning.ended_logins(), Login.objects.count()) == (1, 0)


def test_login_links_can_be_looked_at_for_a_week(user: User) -> None:
    issue_login_link(user=user)
    for age, count in ((7 * DAY - MINUTE, 1), (7 * DAY + MINUTE, 0)):
        LoginToken.objects.update(expires_at=timezone.now() - age)
        assert forget_old_tokens(None, rarely=False) == 0
        forget_old_tokens(None, rarely=True)
        assert LoginToken.objects.count() == count


@pytest.fixture
def folder(data_dir: Path) -> Callable[..., Path]:
    """Return a function that makes a workspace that nobody has touched for some time."""

    def make(session_id: object, age: float = 7200) -> Path:
        made = workspace_of(session_id)
        made.mkdir(parents=True)
        (made / "a.txt").write_text("x")
        os.utime(made, (time.time() - age,) * 2)
        return made

    return make


def test_files_of_tools_go_when_their_session_is_gone(folder: Callable[..., Path], user: User) -> None:
    kept, gone, young = folder(make_session(user).pk), folder(new_id()), folder(new_id(), age=60)
    assert pruning.leftover_workspaces() == 1
    assert (kept.exists(), gone.exists(), young.exists()) == (True, False, True)


def test_what_is_no_workspace_is_left_alone(folder: Callable[..., Path], data_dir: Path) -> None:
    other = folder("somebody-elses")
    outside = data_dir / "outside"
    outside.mkdir()
    link = data_dir / "workspaces" / str(new_id())
    link.symlink_to(outside)
    assert pruning.leftover_workspaces() == 0
    assert (other.exists(), link.is_symlink(), outside.exists()) == (True, True, True)


def test_nothing_is_left_over_where_no_tool_ever_wrote() -> None:
    assert pruning.leftover_workspaces() == 0


# --- the sweep ------------------------------------------------------------------------------------


def test_the_sweep_has_every_rule() -> None:
    acts = {rule.act for rule in RULES}
    assert {*pruning.RULES, pruning.leftover_workspaces} <= acts


def test_the_sweep_removes_what_is_due(user: User, settings: Settings) -> None:
    settings.AUDIT_RETENTION_DAYS = 1
    aged(entry(user), "at", 2 * DAY)
    make_turn()
    assert sweep()["old_approval_log"] == 1
