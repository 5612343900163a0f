"""What people see of what they used: shares of limits, and amounts only where these may be told."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client

from copilot.models import User
from copilot.usage.limits import usage_of
from tests.usage.counting import count
from tests.usage.records import spend

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def page(client: Client, user: User) -> Client:
    """A browser in which the user is logged in."""
    client.force_login(user)
    return client


@pytest.fixture
def limits(settings: Any) -> Any:
    """The settings, with both limits set."""
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = 2_000_000
    settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = 10_000_000
    return settings


def shown(page: Client) -> str:
    answer = page.get("/usage/")
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    return answer.content.decode()


def percents(html: str) -> list[str]:
    return re.findall(r'<progress max="100" value="([\d.]+)"', html)


def test_it_is_for_who_is_logged_in(client: Client) -> None:
    assert client.get("/usage/")["Location"].startswith("/login/")


def test_the_sidebar_leads_there(page: Client) -> None:
    assert '<a class="to-account" href="/usage/">' in page.get("/").content.decode()
    assert '<a class="to-account" href="/usage/" aria-current="page">' in shown(page)


# --- while limits are set ---------------------------------------------------------------------


def test_it_shows_shares_and_no_amount(page: Client, user: User, limits: Any) -> None:
    count(user, day=750_000, week=3_000_000)
    spend(user, datetime.now(UTC), cost_microdollars=750_000)
    html = shown(page)
    assert percents(html) == ["37.5", "30.0"]
    assert "37.5 % used" in html
    for amount in ("$", "750000", "750,000", "2000000", "2,000,000", "0.75", "demo/demo"):
        assert amount not in html


@pytest.mark.parametrize(
    ("used", "percent"),
    [(0, "0.0"), (1, "0.0"), (10_000, "0.5"), (1_999_999, "99.9"), (2_000_000, "100.0"), (9_000_000, "100.0")],
)
def test_a_limit_is_full_exactly_when_it_is_reached(
    page: Client, user: User, limits: Any, used: int, percent: str
) -> None:
    count(user, day=used, week=used)
    html = shown(page)
    assert percents(html)[0] == percent
    assert ("data-over" in html) == (percent == "100.0")
    assert ("Used up" in html) == (percent == "100.0")


def test_nothing_used_yet_is_a_share_too(page: Client, limits: Any) -> None:
    assert percents(shown(page)) == ["0.0", "0.0"]


def test_a_limit_that_is_not_set_is_not_shown(page: Client, user: User, limits: Any) -> None:
    limits.USAGE_DAILY_LIMIT_MICRODOLLARS = 0
    count(user, week=1_000_000)
    html = shown(page)
    assert percents(html) == ["10.0"]
    assert "This week" in html
    assert "Today" not in html.partition("desk-main")[2]


def test_the_tier_makes_a_limit_larger(page: Client, user: User, limits: Any) -> None:
    User.objects.filter(pk=user.pk).update(tier=3)
    count(user, day=3_000_000, week=3_000_000)
    html = shown(page)
    assert percents(html) == ["50.0", "10.0"]
    assert "Your tier is 3" in html


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", ""])
def test_it_says_when_each_begins_anew_where_the_person_lives(
    page: Client, user: User, limits: Any, zone: str
) -> None:
    User.objects.filter(pk=user.pk).update(time_zone=zone)
    html = shown(page)
    for standing in usage_of(user.pk).windows:
        there = standing.window.resets_at.astimezone(ZoneInfo(zone or "UTC"))
        assert f"{there:%a} {there.day} {there:%b}, {there:%H:%M}" in html
        assert f'datetime="{there.isoformat()}"' in html
    # Without a zone the browser words the time for whoever looks.
    assert ("approvals/times.js" in html) == (not zone)


def test_staff_see_their_amounts_all_the_same(page: Client, user: User, limits: Any) -> None:
    User.objects.filter(pk=user.pk).update(is_staff=True)
    count(user)
    spend(user, datetime.now(UTC), cost_microdollars=1_230_000)
    html = shown(page)
    assert len(percents(html)) == 2
    assert "$1.23" in html


def test_the_operator_may_have_amounts_shown_beside_limits(page: Client, user: User, limits: Any) -> None:
    limits.USAGE_SHOW_COST = True
    spend(user, datetime.now(UTC), cost_microdollars=1_230_000)
    assert "$1.23" in shown(page)


# --- without limits ---------------------------------------------------------------------------


def test_it_shows_what_the_person_spent_and_nobody_else(page: Client, user: User, other_user: User) -> None:
    now = datetime.now(UTC)
    spend(user, now, model="openai/gpt", cost_microdollars=1_500_000, input_tokens=1_200)
    spend(user, now, model="own/llama", cost_microdollars=None, cost_source="unknown")
    spend(other_user, now, model="secret/model", cost_microdollars=9_990_000)
    html = shown(page)
    for words in ("No limit is set", "$1.50", "openai/gpt", "1,200", "own/llama", "<td>unknown</td>", "not known"):
        assert words in html
    assert "secret/model" not in html
    assert "$9.99" not in html
    assert "csv" not in html.lower()


def test_what_nobody_may_see_is_not_shown(page: Client, user: User, settings: Any) -> None:
    settings.USAGE_SHOW_COST = False
    spend(user, datetime.now(UTC), cost_microdollars=1_500_000)
    html = shown(page)
    assert "No limit is set" in html
    assert "$" not in html


def test_names_of_models_are_escaped_and_nothing_is_inline(page: Client, user: User) -> None:
    spend(user, datetime.now(UTC), model=HOSTILE)
    html = shown(page)
    assert "&lt;script&gt;alert(1)" in html
    assert HOSTILE not in html
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


def test_it_costs_few_queries(page: Client, user: User, limits: Any, django_assert_max_num_queries: Any) -> None:
    count(user)
    # Login session, user; tier and time, counters; sidebar: decisions, chats, new links.
    with django_assert_max_num_queries(7):
        shown(page)
