"""One person's usage in the admin: exact figures, a fresh day or week, another tier; and a record of each act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from copilot.models import OperatorEntry, UsageCounter, User
from copilot.usage.limits import usage_of
from tests.usage.counting import count, counted
from tests.usage.test_usage_admin import HOSTILE, staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(make_user: Callable[..., User]) -> Client:
    return staff(make_user(username="root"), "view_user", "change_user")


@pytest.fixture(autouse=True)
def _limits(settings: Any) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = 2_500_000
    settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = 12_500_000


def page_of(user: User, place: str = "") -> str:
    return f"/admin/copilot/user/{user.pk}/usage/{place}"


# --- looking ----------------------------------------------------------------------------------


def test_it_shows_the_exact_figures_of_both_windows(admin: Client, user: User) -> None:
    count(user, reserved=40_000, unknown=3)
    UsageCounter.objects.filter(user=user, window="week").update(forgiven=1_000_000)
    User.objects.filter(pk=user.pk).update(tier=2)
    page = admin.get(page_of(user)).content.decode()
    for words in ("$5.00", "$25.00", "$0.50", "$3.00", "$2.00", "$1.00", "$0.04", "<td>3</td>", 'value="2"'):
        assert words in page
    assert "over the limit" not in page


def test_it_says_where_a_limit_is_reached(admin: Client, user: User) -> None:
    count(user, day=2_500_000)
    assert admin.get(page_of(user)).content.decode().count("over the limit") == 1


def test_without_limits_it_says_so(admin: Client, user: User, settings: Any) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = 0
    count(user)
    page = admin.get(page_of(user)).content.decode()
    assert page.count("<td>none</td>") == 2
    assert "over the limit" not in page


def test_the_page_of_a_person_leads_there_and_does_not_change_the_tier_itself(admin: Client, user: User) -> None:
    address = f"/admin/copilot/user/{user.pk}/change/"
    assert page_of(user) in admin.get(address).content.decode()
    form = {"username": user.username, "date_joined_0": "2026-01-01", "date_joined_1": "00:00", "tier": "9"}
    assert admin.post(address, form).status_code == 302
    user.refresh_from_db()
    assert user.tier == 1


# --- who may ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "reset/", "tier/"])
def test_strangers_are_kept_out(client: Client, user: User, other_user: User, place: str) -> None:
    for method in (client.get, client.post):
        assert method(page_of(user, place)).status_code == 302  # to the login
    client.force_login(other_user)
    assert client.post(page_of(user, place)).status_code == 302
    assert staff(other_user, "view_usagerecord").get(page_of(user, place)).status_code == 403


def test_who_may_only_look_can_do_nothing(user: User, other_user: User) -> None:
    count(user)
    looking = staff(other_user, "view_user")
    page = looking.get(page_of(user)).content.decode()
    assert "<form class" not in page
    assert "reset" not in page
    assert looking.get(page_of(user, "reset/")).status_code == 403
    assert looking.post(page_of(user, "reset/")).status_code == 403
    assert looking.post(page_of(user, "tier/"), {"tier": 3}).status_code == 403
    assert counted(user) == (500_000, 3_000_000)
    assert not OperatorEntry.objects.exists()


def test_acts_need_the_pages_token(make_user: Callable[..., User], user: User) -> None:
    root = make_user(username="root", is_staff=True, is_superuser=True)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(root)
    assert strict.post(page_of(user, "reset/")).status_code == 403
    assert strict.post(page_of(user, "tier/"), {"tier": 3}).status_code == 403


def test_nobody_is_not_found(admin: Client) -> None:
    address = "/admin/copilot/user/00000000-0000-7000-8000-000000000000/usage/"
    assert admin.get(address).status_code == 404
    assert admin.post(f"{address}reset/").status_code == 404
    assert admin.post(f"{address}tier/", {"tier": 1}).status_code == 404


# --- a fresh window ---------------------------------------------------------------------------


def test_asking_changes_nothing(admin: Client, user: User) -> None:
    count(user)
    page = admin.get(page_of(user, "reset/")).content.decode()
    assert "$0.50 of the day" in page
    assert "of the week" not in page
    assert "$3.00 of the week" in admin.get(page_of(user, "reset/?week=on")).content.decode()
    assert counted(user) == (500_000, 3_000_000)
    assert not OperatorEntry.objects.exists()


def test_a_fresh_day_leaves_the_week(admin: Client, user: User) -> None:
    count(user)
    answer = admin.post(page_of(user, "reset/"), follow=True)
    assert "The day begins anew for ada." in answer.content.decode()
    assert counted(user) == (0, 3_000_000)
    entry = OperatorEntry.objects.get()
    assert (entry.operator_name, entry.action, entry.target_user) == ("root", "usage_reset", user.pk)
    assert (entry.requested, entry.affected, entry.data) == (1, 1, {"day": 500_000})


def test_a_fresh_week_is_a_fresh_day_too(admin: Client, user: User) -> None:
    count(user)
    admin.post(page_of(user, "reset/"), {"week": "on"})
    assert counted(user) == (0, 0)
    entry = OperatorEntry.objects.get()
    assert (entry.requested, entry.affected, entry.data) == (2, 2, {"day": 500_000, "week": 3_000_000})


def test_an_act_without_effect_is_on_record_too(admin: Client, user: User) -> None:
    admin.post(page_of(user, "reset/"), {"week": "on"})
    admin.post(page_of(user, "tier/"), {"tier": 1})
    assert list(OperatorEntry.objects.order_by("at").values_list("action", "affected")) == [
        ("usage_reset", 0),
        ("tier", 0),
    ]


# --- another tier -----------------------------------------------------------------------------


def test_another_tier_multiplies_the_limits(admin: Client, user: User) -> None:
    admin.post(page_of(user, "tier/"), {"tier": 5})
    assert usage_of(user.pk).day.limit == 12_500_000
    entry = OperatorEntry.objects.get()
    assert (entry.action, entry.target_user, entry.data) == ("tier", user.pk, {"before": 1, "after": 5})


@pytest.mark.parametrize("tier", ["0", "-1", "1.5", "many", "", "32768", "\x00"])
def test_what_is_no_tier_is_refused_with_a_reason(admin: Client, user: User, tier: str) -> None:
    answer = admin.post(page_of(user, "tier/"), {"tier": tier})
    assert answer.status_code == 400
    assert "errorlist" in answer.content.decode()
    user.refresh_from_db()
    assert user.tier == 1
    assert not OperatorEntry.objects.exists()


def test_a_tier_is_not_changed_by_a_link(admin: Client, user: User) -> None:
    assert admin.get(page_of(user, "tier/"), {"tier": 3}).status_code == 405


def test_names_are_escaped(admin: Client, make_user: Callable[..., User]) -> None:
    hostile = make_user(username=HOSTILE)
    for place in ("", "reset/"):
        page = admin.get(page_of(hostile, place)).content.decode()
        assert "&lt;script&gt;alert(1)" in page
        assert HOSTILE not in page
    answer = admin.post(page_of(hostile, "reset/"), follow=True).content.decode()
    assert HOSTILE not in answer
