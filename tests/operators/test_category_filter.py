"""The admin's list of turns: narrowed by category, person, model and error, and quick however long it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.paginator import Paginator
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from common.admin import AtLeast, CappedPaginator
from copilot.diagnostics.categories import CATEGORIES, counts, rows_of
from copilot.models import Turn, User
from copilot.operators import turn_filters
from copilot.operators.turn_filters import ERRORS
from copilot.turns.finish import failed
from tests.approvals.waiting import notes, waiting
from tests.factories import backdate, expire_lease, make_running, make_session, make_turn, make_user
from tests.operators.pages import logged_in, root, words

pytestmark = pytest.mark.django_db

LIST = "/admin/copilot/turn/"
SCRIPT = '"><script>alert(1)</script>'


@pytest.fixture
def admin() -> Client:
    return logged_in(root())


def fail(code: str = "timeout", ago: timedelta = timedelta()) -> Turn:
    """Make a turn that failed some time ago."""
    holder = make_running()
    holder.finish(failed(code, "It did not work."))
    backdate(holder.turn, finished_at=ago)
    return holder.turn


@pytest.fixture
def _some_of_everything() -> None:
    waiting(*notes("the weather"))
    make_running()
    expire_lease(make_running().turn.pk)
    backdate(make_running().turn, started_at=timedelta(days=2), claimed_at=timedelta(days=2))
    for ago in (0, 30, 300):
        fail(ago=timedelta(hours=ago))
    make_running().answer()
    backdate(make_turn(), queued_at=timedelta(hours=3))
    make_turn()


def shown(admin: Client, query: str = "") -> set[Any]:
    """The turns on a page of the list."""
    answer = admin.get(f"{LIST}?{query}")
    assert answer.status_code == 200
    return {turn.pk for turn in answer.context["cl"].result_list}


@pytest.mark.usefixtures("_some_of_everything")
@pytest.mark.parametrize("name", CATEGORIES)
def test_a_category_shows_its_turns_and_how_many_there_are(admin: Client, name: str) -> None:
    expected = set(rows_of(name).values_list("pk", flat=True))
    assert expected or name == "invalid"
    assert shown(admin, f"category={name}") == expected
    page = admin.get(f"{LIST}?category={name}")
    assert page.context["cl"].result_count == len(expected) == counts()[name]
    for each, count in counts().items():
        assert f"{CATEGORIES[each].title} ({count})" in words(page)


@pytest.mark.usefixtures("_some_of_everything")
@pytest.mark.parametrize(("hours", "found"), [("1", 1), ("24", 1), ("", 1), ("36", 2), ("720", 3), ("0.5", 1)])
def test_failures_are_looked_for_as_far_back_as_one_likes(admin: Client, hours: str, found: int) -> None:
    query = f"category=failed&hours={hours}"
    assert len(shown(admin, query)) == found
    page = words(admin.get(f"{LIST}?{query}"))
    assert f"{CATEGORIES['failed'].title} ({found})" in page  # the number is that of the same hours
    assert "By failed within" in page


@pytest.mark.usefixtures("_some_of_everything")
def test_hours_are_offered_with_failures_alone(admin: Client) -> None:
    for query in ("", "category=queued"):
        assert "failed within" not in words(admin.get(f"{LIST}?{query}"))


@pytest.mark.parametrize(
    "query",
    [
        "category=none",
        "category=",
        "hours=x",
        "category=queued&hours=-1",
        "category=failed&hours=x",
        "category=failed&hours=0",
    ]
    + [f"category=failed&hours={hours}" for hours in ("-1", "nan", "inf", "1e99")],
)
def test_a_filter_that_is_none_leads_back_to_the_list(admin: Client, query: str) -> None:
    answer = admin.get(f"{LIST}?{query}")
    assert (answer.status_code, answer.headers.get("Location")) == (302, f"{LIST}?e=1")


def test_people_are_found_by_a_part_of_their_name(admin: Client) -> None:
    ada, grace = (make_turn(make_session(make_user(name))) for name in ("ada.lovelace", "grace"))
    assert shown(admin, "user=LOVE") == {ada.pk}
    assert shown(admin, "user=+grace+") == {grace.pk}
    assert shown(admin, "user=nobody") == set()
    assert shown(admin, "user=") == shown(admin) == {ada.pk, grace.pk}


def test_models_origins_and_errors_narrow_the_list(admin: Client) -> None:
    turn, other = fail("timeout"), fail("quota")
    Turn.objects.filter(pk=turn.pk).update(model="house/large", origin="bot")
    assert shown(admin, "model=house/large") == {turn.pk}
    assert shown(admin, "model=house") == set()
    assert shown(admin, "origin__exact=bot") == {turn.pk}
    assert shown(admin, "error=quota") == {other.pk}
    assert shown(admin, "error=quota&category=failed&hours=1") == {other.pk}


def test_an_error_code_is_no_finish_reason_of_a_turn_that_completed(admin: Client) -> None:
    holder = make_running()
    holder.answer()
    Turn.objects.filter(pk=holder.turn.pk).update(outcome="timeout")
    assert shown(admin, "error=timeout") == set()


def test_every_code_that_a_turn_can_fail_with_is_offered() -> None:
    documented = """quota rate_limit auth model_not_found context_overflow content_filter network timeout
    overloaded no_response unknown not_configured max_steps usage_limit worker_lost stalled"""
    assert sorted(ERRORS) == sorted(documented.split())


@pytest.mark.parametrize("name", ["user", "model"])
def test_what_was_typed_stays_and_is_escaped(admin: Client, name: str) -> None:
    answer = admin.get(LIST, {name: SCRIPT, "category": "queued", "p": "1"})
    page = answer.content.decode()
    assert "<script>alert" not in page
    assert "&quot;&gt;&lt;script&gt;" in page
    form = re.search(
        rf'<form method="get" class="text-filter">(?:(?!</form>).)*name="{name}".*?</form>', page, re.S
    )
    assert form is not None
    assert '<input type="hidden" name="category" value="queued">' in form[0]
    assert 'name="p"' not in form[0]


@pytest.mark.parametrize("name", ["user", "model", "error", "q"])
@pytest.mark.parametrize("anything", ["\x00", "'", "%", "x" * 3000, "😀"])
def test_anything_may_be_typed(admin: Client, name: str, anything: str) -> None:
    assert admin.get(LIST, {name: anything}).status_code in (200, 302)


@pytest.mark.usefixtures("_some_of_everything")
def test_categories_are_counted_once_for_a_page(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def counting(*, hours: float = 24) -> dict[str, int]:
        calls.append(hours)
        return counts(hours=hours)

    monkeypatch.setattr(turn_filters, "counts", counting)
    shown(admin, "category=failed&hours=36")
    assert calls == [36]


def queries(act: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as seen:
        act()
    return len(seen)


def test_a_page_costs_as_many_queries_with_many_turns_as_with_few(admin: Client) -> None:
    def each() -> list[int]:
        lists = ("", "category=queued", "category=failed", "user=u&model=demo/demo")
        return [queries(lambda query=query: shown(admin, query)) for query in lists]

    fail()
    make_running()
    before = each()
    for make in (fail, make_running, make_turn):
        for _ in range(5):
            make()
    assert each() == before


def test_a_long_list_says_how_many_it_counted(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CappedPaginator, "COUNTED", 60)
    User.objects.bulk_create([User(username=f"p{n}") for n in range(61)])
    for person in User.objects.filter(username__startswith="p"):
        make_turn(make_session(person))
    page = admin.get(LIST)
    assert "60+ turns" in words(page)
    assert page.context["cl"].paginator.num_pages == 2
    assert len(admin.get(f"{LIST}?p=2").context["cl"].result_list) == 10
    Turn.objects.first().delete()  # type: ignore[union-attr] # there are sixty more
    assert "60 turns" in words(admin.get(LIST))
    assert "60+ turns" not in words(admin.get(LIST))


def test_ten_thousand_rows_are_counted() -> None:
    assert CappedPaginator.COUNTED == 10_000
    assert str(AtLeast(10_000)) == "10,000+"
    assert AtLeast(10_000) == 10_000


def test_the_count_ends_where_it_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: Django's own paginator reads the table to its end."""
    monkeypatch.setattr(CappedPaginator, "COUNTED", 60)
    statements = {}
    for kind in (CappedPaginator, Paginator):
        with CaptureQueriesContext(connection) as seen:
            assert kind(Turn.objects.order_by("pk"), 50).count == 0
        statements[kind] = seen[0]["sql"]
    assert "LIMIT 61" in statements[CappedPaginator]
    assert "ORDER BY" not in statements[CappedPaginator]
    assert "LIMIT" not in statements[Paginator]
