"""What was spent in a period: by day, by model and by person, from the usage records.

Two passes over the records of the period, each grouped by the database: by day and model together, which are few,
and by person.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncDate
from django.utils import timezone

from copilot.models import UsageRecord, User

_SUMS = {
    "calls": Count("pk"),
    "input_tokens": Sum("input_tokens"),
    "output_tokens": Sum("output_tokens"),
    "cache_read_tokens": Sum("cache_read_tokens"),
    "microdollars": Coalesce(Sum("cost_microdollars"), 0),
    "unknown": Count("pk", filter=Q(cost_source="unknown")),
    "estimated": Count("pk", filter=Q(estimated=True)),
}


@dataclass(frozen=True, slots=True)
class Period:
    """Days in UTC, the first and the last included."""

    first: date
    last: date

    @classmethod
    def of_days(cls, days: int) -> Period:
        """Return the last ``days`` days, today included."""
        today = timezone.now().astimezone(UTC).date()
        return cls(today - timedelta(days=days - 1), today)

    @property
    def days(self) -> list[date]:
        """Every day of it, the first one first."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]


@dataclass(frozen=True, slots=True)
class Selection:
    """Whose calls to which model are looked at; None and an empty name: all of them."""

    period: Period
    user_id: uuid.UUID | None = None
    model: str = ""

    def records(self) -> QuerySet[UsageRecord]:
        """Return the records of it."""
        begin, end = _midnight(self.period.first), _midnight(self.period.last + timedelta(days=1))
        records = UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=end)
        if self.user_id is not None:
            records = records.filter(user_id=self.user_id)
        return records.filter(model=self.model) if self.model else records


@dataclass(frozen=True, slots=True)
class Spent:
    """What some calls used together.

    Attributes:
        calls: steps of turns, and calls for side questions and titles; a call that was tried again within its step
            is not counted again.
        input_tokens: with those that came from a cache, which are ``cache_read_tokens``.
        microdollars: what the calls of known cost cost. Those of unknown cost are in ``unknown`` and nowhere else.
        unknown: how many of the calls have a cost that nobody knows, or not all of it.
        estimated: of how many of the calls tokens are estimated.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    microdollars: int = 0
    unknown: int = 0
    estimated: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    @property
    def tokens(self) -> int:
        """What went in and came out."""
        return self.input_tokens + self.output_tokens

    @property
    def is_unknown(self) -> bool:
        """Whether nothing at all is known about the cost: then it is not zero, but unknown."""
        return self.unknown == self.calls > 0 and self.microdollars == 0


@dataclass(frozen=True, slots=True)
class Line:
    """What was spent on a day, with a model, or by a person, whose id is the key."""

    key: str
    label: str
    spent: Spent


@dataclass(frozen=True, slots=True)
class Table:
    """The lines that cost most, and all others together."""

    lines: list[Line]
    others: int = 0
    rest: Spent = field(default_factory=Spent)


@dataclass(frozen=True, slots=True)
class ByDayAndModel:
    """What was spent on each day with each model."""

    cells: dict[tuple[date, str], Spent]

    @property
    def total(self) -> Spent:
        """All of it."""
        return sum(self.cells.values(), Spent())

    def days(self) -> list[Line]:
        """One line for each day on which there was a call, the newest first."""
        days = _summed(self.cells, lambda cell: cell[0])
        return [Line(day.isoformat(), day.isoformat(), days[day]) for day in sorted(days, reverse=True)]

    def models(self) -> list[Line]:
        """One line for each model, the one that cost most first."""
        models = _summed(self.cells, lambda cell: cell[1])
        return _dearest(Line(model, model, spent) for model, spent in models.items())


def by_day_and_model(selection: Selection) -> ByDayAndModel:
    """Return what was spent in the period, by day and model."""
    day = TruncDate("created_at", tzinfo=UTC)
    rows: Iterable[Any] = selection.records().values("model", day=day).order_by().annotate(**_SUMS)
    return ByDayAndModel({(row.pop("day"), row.pop("model")): Spent(**row) for row in rows})


def by_person(selection: Selection) -> list[Line]:
    """Return one line for each person, the one who spent most first."""
    rows: Iterable[Any] = selection.records().values("user_id").order_by().annotate(**_SUMS)
    found = {row.pop("user_id"): Spent(**row) for row in rows}
    names = User.objects.only("username").in_bulk(list(found))
    return _dearest(Line(str(pk), names[pk].username, spent) for pk, spent in found.items() if pk in names)


def top(lines: list[Line], count: int) -> Table:
    """Return the first ``count`` lines, and the sum of the others."""
    rest = lines[count:]
    return Table(lines[:count], len(rest), sum((line.spent for line in rest), Spent()))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _summed(cells: dict[tuple[date, str], Spent], key: Callable[[tuple[date, str]], Any]) -> dict[Any, Spent]:
    sums: dict[Any, Spent] = {}
    for cell, spent in cells.items():
        sums[key(cell)] = sums.get(key(cell), Spent()) + spent
    return sums


def _dearest(lines: Iterable[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (-line.spent.microdollars, -line.spent.tokens, line.label))
