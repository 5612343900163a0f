"""The sweep reads what is due, and nothing for each row that is there: every query of it has an index."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from copilot import sweep as sweeping
from copilot.sweep import RULES, Rule
from tests.factories import make_session, make_turn

pytestmark = pytest.mark.django_db

#: Tables with a row or more for each turn; all others stay small.
GROWING = {"copilot_turn", "copilot_turnevent", "copilot_message", "copilot_session", "approvals_action"}


#: How each database explains a query, and a step that reads a table from its beginning to its end.
EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}
WHOLE = {"sqlite": re.compile(r"^SCAN (\w+)(?!.* USING )"), "postgresql": re.compile(r"Seq Scan on (\w+)")}


def plans(act: Callable[[], object]) -> list[str]:
    """Return what the database does for each query of ``act``, with parameters as they are in earnest."""
    seen: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        act()
    steps: list[str] = []
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # small tables are read whole if that is allowed
        for sql, params in seen:
            if sql.startswith(("SELECT", "WITH")) and "advisory" not in sql:
                cursor.execute(f"{EXPLAIN[connection.vendor]} {sql}", params)
                steps += [str(row[-1]) for row in cursor.fetchall()]
    return steps


def scans(steps: list[str]) -> list[str]:
    """Return the growing tables that are read from their beginning to their end."""
    found = [match[1] for step in steps if (match := WHOLE[connection.vendor].search(step))]
    return [table for table in found if table in GROWING]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that runs turns."""
    monkeypatch.setattr(sweeping, "runs_here", lambda: True)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_rule_reads_a_whole_table(rule: Rule) -> None:
    make_turn(make_session())
    assert scans(plans(rule.act)) == []


def test_a_query_without_an_index_is_noticed() -> None:
    unindexed = sweeping.Turn.objects.filter(author="nobody")
    assert scans(plans(unindexed.exists)) == ["copilot_turn"]
