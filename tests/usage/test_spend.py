"""What was spent: every sum equals that of the records, and what nobody knows is not zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, timedelta
from typing import Any

import pytest

from copilot.models import UsageRecord, User
from copilot.usage.money import dollars
from copilot.usage.spend import Line, Period, Selection, Spent, by_day_and_model, by_person, top
from tests.usage.records import DAY, noon, spend, spend_at_random

pytestmark = pytest.mark.django_db
LAST = DAY + timedelta(days=6)
ALL = Selection(Period(DAY - timedelta(days=1), LAST))


def added_up(records: Iterable[UsageRecord]) -> Spent:
    """The sum of records, the plain way."""
    total = Spent()
    for record in records:
        total += Spent(
            calls=1,
            input_tokens=record.input_tokens,
            output_tokens=record.output_tokens,
            cache_read_tokens=record.cache_read_tokens,
            microdollars=record.cost_microdollars or 0,
            unknown=int(record.cost_source == "unknown"),
            estimated=int(record.estimated),
        )
    return total


def grouped(records: Iterable[UsageRecord], key: Callable[[UsageRecord], Any]) -> dict[str, Spent]:
    groups: dict[str, list[UsageRecord]] = {}
    for record in records:
        groups.setdefault(str(key(record)), []).append(record)
    return {name: added_up(group) for name, group in groups.items()}


def as_dict(lines: list[Line]) -> dict[str, Spent]:
    return {line.key: line.spent for line in lines}


@pytest.mark.parametrize("seed", range(3))
def test_every_sum_is_that_of_the_records(make_user: Callable[..., User], seed: int) -> None:
    users = [make_user() for _ in range(4)]
    records = spend_at_random(users, 60, seed)
    found = by_day_and_model(ALL)
    assert found.total == added_up(records)
    assert as_dict(found.days()) == grouped(records, lambda record: record.created_at.astimezone(UTC).date())
    assert as_dict(found.models()) == grouped(records, lambda record: record.model)
    assert as_dict(by_person(ALL)) == grouped(records, lambda record: record.user_id)


def test_a_selection_is_of_one_person_one_model_and_its_days(make_user: Callable[..., User]) -> None:
    users = [make_user() for _ in range(3)]
    records = spend_at_random(users, 60, 7)
    period = Period(DAY + timedelta(days=1), DAY + timedelta(days=2))
    chosen = Selection(period, user_id=users[0].pk, model="demo/demo")
    expected = [
        record
        for record in records
        if record.user_id == users[0].pk
        and record.model == "demo/demo"
        and period.first <= record.created_at.astimezone(UTC).date() <= period.last
    ]
    assert expected
    assert by_day_and_model(chosen).total == added_up(expected)
    assert as_dict(by_person(chosen)) == {str(users[0].pk): added_up(expected)}


def test_a_day_ends_at_midnight_in_utc(user: User) -> None:
    midnight = noon(hours=12)
    for at in (midnight - timedelta(microseconds=1), midnight):
        spend(user, at)
    assert list(as_dict(by_day_and_model(ALL).days())) == ["2026-03-11", "2026-03-10"]
    assert by_day_and_model(Selection(Period(DAY, DAY))).total.calls == 1


def test_a_cost_that_nobody_knows_is_not_zero(user: User) -> None:
    spend(user, model="own/llama", cost_microdollars=None, cost_source="unknown", input_tokens=10)
    spend(user, model="own/partly", cost_microdollars=5_000, cost_source="unknown")
    spend(user, model="demo/demo", cost_microdollars=0, cost_source="table")
    models = {line.key: line.spent for line in by_day_and_model(ALL).models()}
    assert models["own/llama"].is_unknown
    assert not models["own/partly"].is_unknown
    assert (models["own/partly"].microdollars, models["own/partly"].unknown) == (5_000, 1)
    assert not models["demo/demo"].is_unknown
    assert by_day_and_model(ALL).total.unknown == 2


def test_no_record_is_no_spend(user: User) -> None:
    assert by_day_and_model(ALL).total == Spent()
    assert not Spent().is_unknown
    assert by_person(ALL) == []


def test_the_dearest_come_first_and_the_others_are_one_sum(make_user: Callable[..., User]) -> None:
    for number in range(5):
        spend(make_user(username=f"p{number}"), cost_microdollars=number * 1_000_000, input_tokens=1)
    table = top(by_person(ALL), 2)
    assert [line.label for line in table.lines] == ["p4", "p3"]
    assert table.others == 3
    assert table.rest == Spent(calls=3, input_tokens=3, microdollars=3_000_000)
    assert top(by_person(ALL), 10).rest == Spent()


def test_two_passes_over_the_records_whatever_is_in_them(
    make_user: Callable[..., User], django_assert_num_queries: Any
) -> None:
    spend_at_random([make_user() for _ in range(5)], 40, 1)
    with django_assert_num_queries(3):  # by day and model; by person, and their names
        by_day_and_model(ALL)
        by_person(ALL)


def test_the_last_days_end_today() -> None:
    week = Period.of_days(7)
    assert len(week.days) == 7
    assert week.days[-1] == week.last
    assert Period.of_days(1).first == Period.of_days(1).last


@pytest.mark.parametrize(
    ("microdollars", "words"),
    [
        (0, "$0.00"),
        (1, "<$0.01"),
        (4_999, "<$0.01"),
        (5_000, "$0.01"),
        (1_999_999, "$2.00"),
        (2_500_000, "$2.50"),
        (1_234_567_890_000, "$1,234,567.89"),
    ],
)
def test_money_in_words(microdollars: int, words: str) -> None:
    assert dollars(microdollars) == words
