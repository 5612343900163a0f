"""How PostgreSQL sums a period: it knows that there are few days, and does not sort all records for them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from copilot.models import User
from copilot.usage.spend import Period, Selection, by_day_and_model
from tests.usage.records import DAY, spend_at_random

pytestmark = [pytest.mark.django_db, pytest.mark.scaled]


def expected_groups() -> int:
    """How many groups the planner expects of the records of some days, by day and model."""
    seen: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        by_day_and_model(Selection(Period(DAY, DAY + timedelta(days=6))))
    [(sql, params)] = seen
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        (plan,) = cursor.fetchone()
    found = json.loads(plan) if isinstance(plan, str) else plan
    return int(found[0]["Plan"]["Plan Rows"])


def test_the_planner_knows_how_many_days_there_are(user: User) -> None:
    spend_at_random([user], 2_000, 5)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE copilot_usagerecord")
        assert expected_groups() < 50
        cursor.execute("DROP STATISTICS usage_days")
        assert expected_groups() > 1_000
