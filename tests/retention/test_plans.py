"""Pruning and deleting read what is due, and no table from its beginning to its end."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from django.db import connection
from pytest_django import Settings

from approvals import audit
from copilot.models import UsageRecord, User
from copilot.retention import deletion, pruning
from copilot.retention.deletion import being_deleted
from linking import leaving
from tests.retention.lives import Life
from tests.turns.test_sweep_plans import WHOLE, plans

pytestmark = pytest.mark.django_db

#: Tables that grow with what people do, or with the days.
GROWING = {
    "approvals_action",
    "approvals_auditentry",
    "copilot_file",
    "copilot_message",
    "copilot_operatorentry",
    "copilot_session",
    "copilot_turn",
    "copilot_turnevent",
    "copilot_usagecounter",
    "copilot_usagerecord",
    "copilot_user",
    "django_admin_log",
    "django_session",
    "linking_linktoken",
    "linking_logintoken",
}
RULES: tuple[Callable[[], object], ...] = (
    *pruning.RULES,
    pruning.leftover_workspaces,
    lambda: being_deleted(9),
    lambda: audit.forget_old(9),
    lambda: leaving.forget_old_tokens(None, rarely=True),
)


@pytest.fixture(autouse=True)
def _kept_for_a_day(settings: Settings) -> None:
    settings.AUDIT_RETENTION_DAYS = settings.USAGE_RETENTION_DAYS = 1


def read_whole(act: Callable[[], object], *, along: Collection[str] = ()) -> list[str]:
    """Return the growing tables that are read from their beginning to their end.

    Args:
        along: tables that may be read in the order of their ids, up to a limit; SQLite calls that a scan, too.
    """
    found = [match[1] for step in plans(act) if (match := WHOLE[connection.vendor].search(step))]
    allowed = along if connection.vendor == "sqlite" else ()
    return [table for table in found if table in GROWING and table not in allowed]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_rule_reads_a_whole_table(rule: Callable[[], object], lives: tuple[Life, Life]) -> None:
    assert read_whole(rule, along=("copilot_usagerecord", "django_admin_log")) == []


@pytest.mark.parametrize("step", deletion._STEPS, ids=lambda step: step.__name__)
def test_no_step_of_a_deletion_reads_a_whole_table(step: Callable[[User], int], lives: tuple[Life, Life]) -> None:
    life, _ = lives
    assert read_whole(lambda: step(life.user)) == []


def test_a_query_without_an_index_is_noticed(lives: tuple[Life, Life]) -> None:
    unindexed = UsageRecord.objects.filter(cost_microdollars=5)
    assert read_whole(unindexed.exists) == ["copilot_usagerecord"]
