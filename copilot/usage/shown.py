"""What was spent, in the words of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from copilot.usage.bars import Chart, chart
from copilot.usage.money import dollars
from copilot.usage.spend import Line, Period, Spent, Table


@dataclass(frozen=True, slots=True)
class ShownSpent:
    """Figures as they are read; ``unknown`` and ``estimated`` are empty where there are none."""

    calls: str
    input_tokens: str
    output_tokens: str
    cost: str
    unknown: str
    estimated: str


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table of ``lines`` (a label and its figures) under ``title``; ``name`` is that of its file."""

    name: str
    title: str
    heading: str
    lines: list[tuple[str, ShownSpent]]
    others: int
    rest: ShownSpent


@dataclass(frozen=True, slots=True)
class ShownChart:
    """A bar for each day, and the largest of them in words."""

    title: str
    most: str
    chart: Chart


def shown_spent(spent: Spent) -> ShownSpent:
    """Return figures in words. A cost that nobody knows is called so, and is never a zero."""
    return ShownSpent(
        calls=f"{spent.calls:,}",
        input_tokens=f"{spent.input_tokens:,}",
        output_tokens=f"{spent.output_tokens:,}",
        cost="unknown" if spent.is_unknown else dollars(spent.microdollars),
        unknown=f"{spent.unknown:,}" if spent.unknown else "",
        estimated=f"{spent.estimated:,}" if spent.estimated else "",
    )


def shown_table(name: str, title: str, heading: str, table: Table) -> ShownTable:
    """Return a table in words."""
    lines = [(line.label, shown_spent(line.spent)) for line in table.lines]
    return ShownTable(name, title, heading, lines, table.others, shown_spent(table.rest))


def shown_charts(period: Period, days: list[Line]) -> list[ShownChart]:
    """Return the charts of a period: what each day cost, and how many tokens went in and out."""
    spent = {line.key: line.spent for line in days}
    cost = {day: each.microdollars for day, each in spent.items()}
    tokens = {day: each.tokens for day, each in spent.items()}
    return [
        _daily("Cost per day", period, cost, dollars),
        _daily("Tokens per day", period, tokens, lambda count: f"{count:,} tokens"),
    ]


def _daily(title: str, period: Period, values: Mapping[str, int], words: Callable[[int], str]) -> ShownChart:
    days = [day.isoformat() for day in period.days]
    bars = [(f"{day}: {words(values.get(day, 0))}", values.get(day, 0)) for day in days]
    return ShownChart(title, words(max(values.values(), default=0)), chart(bars))
