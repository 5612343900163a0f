"""The documents, the dashboard and the alerts speak of the metrics that there are, and of all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from common import metrics
from common.metrics import REGISTRY, exposition
from copilot.diagnostics.figures import figures

DOCS: Path = settings.ROOT / "docs"
#: Told by PostgreSQL's pool only.
POOL = {"holdfast_db_pool_connections", "holdfast_db_pool_waiting", "holdfast_db_pool_wait_seconds_total"}
#: Told by the page itself, of its reading the rows.
PAGE = {"holdfast_database_up"}
_USED = re.compile(r"\bholdfast_[a-z_]+\b")


def counted() -> dict[str, tuple[str, ...]]:
    """Return the names of what is counted, as queries use them, with their labels."""
    found = {}
    for collector in set(REGISTRY._collector_to_names):
        for family in collector.describe() if hasattr(collector, "describe") else ():
            if family.name.startswith("holdfast_"):
                suffix = "_total" if family.type == "counter" else ""
                found[family.name + suffix] = tuple(getattr(collector, "_labelnames", ()))
    return found


def samples(name: str) -> str:
    """Return the metric that a sample belongs to."""
    return re.sub(r"_(bucket|count|sum)$", "", name) if name not in documented() else name


def documented() -> dict[str, tuple[str, ...]]:
    """Return the names in the tables of the page, with their labels."""
    rows = re.findall(r"^\| `(holdfast_\w+)` \| ([^|]*)\|", (DOCS / "observability.md").read_text(), re.MULTILINE)
    return {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DOCS / "grafana" / "holdfast.json").read_text())
    return loaded


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


@pytest.mark.django_db
def test_every_metric_is_documented_with_its_labels_and_no_other_is() -> None:
    there = counted() | {f"holdfast_{each.name}": each.labels for each in figures()}
    without = {name: labels for name, labels in documented().items() if name not in POOL | PAGE}
    assert without == there
    assert documented().keys() >= POOL | PAGE


def test_every_documented_metric_has_a_query_that_uses_it() -> None:
    page = (DOCS / "observability.md").read_text()
    for name in documented():
        [row] = re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
        query = row.rsplit("|", 2)[-2]
        used = {samples(each) for each in _USED.findall(query)}
        assert name in used, f"the query of {name} is about {used}"
        assert used <= documented().keys()


def test_the_dashboard_can_be_imported_and_uses_only_what_there_is() -> None:
    board = dashboard()
    assert {"title", "uid", "panels", "templating", "schemaVersion"} <= board.keys()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = {samples(name) for text in expressions for name in _USED.findall(text)}
    assert used == documented().keys()


def test_alerts_use_only_what_there_is_and_name_the_mend() -> None:
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        used = {samples(name) for name in _USED.findall(rule["expr"])}
        assert used, rule["alert"]
        assert used <= documented().keys(), rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "mend"} <= rule["annotations"].keys()
    everything = " ".join(rule["expr"] for rule in found)
    for wanted in (
        "workers",
        "orphaned",
        "queue_lag",
        "provider_errors",
        "log_write",
        "sweep_passes",
        "accounting",
    ):
        assert wanted in everything


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in rules())])
def test_brackets_of_expressions_match(expression: str) -> None:
    opened: list[str] = []
    for character in re.sub(r'"[^"]*"', "", expression):
        if character in "([{":
            opened.append({"(": ")", "[": "]", "{": "}"}[character])
        elif character in ")]}":
            assert opened.pop() == character
    assert not opened


def test_everything_of_ours_begins_with_our_name() -> None:
    names = {line.split(" ")[2] for line in exposition().decode().splitlines() if line.startswith("# TYPE ")}
    assert {name for name in names if not name.startswith(("holdfast_", "process_"))} == set()
    assert metrics.CONTENT_TYPE.startswith("text/plain")
