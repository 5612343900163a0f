"""What the server spent, in the admin: who may see it, what it says, and its tables as files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission
from django.test import Client

from copilot.models import User
from tests.usage.records import spend, spend_at_random

pytestmark = pytest.mark.django_db
PAGE = "/admin/usage/"
MARCH = {"since": "2026-03-09", "until": "2026-03-16"}
HOSTILE = "<script>alert(1)</script>"


def staff(user: User, *permissions: str) -> Client:
    """A member of the staff with these permissions and no more."""
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def admin(make_user: Callable[..., User]) -> Client:
    return staff(make_user(username="root"), "view_usagerecord")


def shown(admin: Client, **query: Any) -> str:
    page = admin.get(PAGE, query or MARCH)
    assert page.status_code == 200
    return page.content.decode()


def file_of(admin: Client, table: str, **query: Any) -> list[dict[str, str]]:
    """A table as a spreadsheet reads it."""
    answer = admin.get(f"{PAGE}{table}.csv", query or MARCH)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(whole(answer), newline="")))


def whole(answer: Any) -> str:
    async def read() -> bytes:
        return b"".join([piece async for piece in answer.streaming_content])

    return async_to_sync(read)().decode()


# --- who may see it ---------------------------------------------------------------------------


@pytest.mark.parametrize("address", [PAGE, f"{PAGE}people.csv"])
def test_only_staff_with_the_permission_see_it(client: Client, user: User, address: str) -> None:
    assert client.get(address).status_code == 302  # to the login
    client.force_login(user)
    assert client.get(address).status_code == 302
    assert staff(user).get(address).status_code == 403
    assert staff(user, "view_usagerecord").get(address).status_code == 200
    assert staff(user, "view_usagerecord").post(address).status_code == 405


# --- what it says -----------------------------------------------------------------------------


def test_it_sums_by_person_model_and_day(admin: Client, user: User, other_user: User) -> None:
    spend(user, model="openai/gpt", cost_microdollars=1_500_000, input_tokens=1_200)
    spend(other_user, model="anthropic/claude", cost_microdollars=250_000)
    page = shown(admin)
    for words in (
        "$1.75",
        "$1.50",
        "$0.25",
        "openai/gpt",
        "anthropic/claude",
        "ada",
        "grace",
        "2026-03-10",
        "1,200",
    ):
        assert words in page
    assert "$1.75" not in shown(admin, **MARCH, user="ada")
    assert "grace" not in shown(admin, **MARCH, user="ada")
    assert "ada" not in shown(admin, **MARCH, model="anthropic/claude")


def test_a_period_ends_today_unless_the_address_says_otherwise(admin: Client, user: User) -> None:
    spend(user, cost_microdollars=7_770_000)
    assert "$7.77" in shown(admin)
    assert "$7.77" not in shown(admin, days=7)
    page = admin.get(PAGE, {"days": 90})
    assert len(page.context["selection"].period.days) == 90
    assert len(admin.get(PAGE).context["selection"].period.days) == 30
    assert len(admin.get(PAGE, {"since": "2020-01-01"}).context["selection"].period.days) == 366
    assert len(admin.get(PAGE, {"until": "2026-03-16"}).context["selection"].period.days) == 30


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"since": "2026-03-16", "until": "2026-03-09"}, "ends before it begins"),
        ({"since": "2024-01-01", "until": "2026-03-09"}, "366 days at most"),
        ({"since": "yesterday"}, "Enter a valid date"),
        ({"since": "9999-12-31"}, "less than or equal"),
        ({"until": "9999-12-31"}, "less than or equal"),
        ({"until": "0001-01-01"}, "greater than or equal"),
        ({"days": "8"}, "start over"),
        ({"user": "nobody"}, "nobody with the id, name or address"),
        ({"model": "x" * 300}, "at most 200"),
        ({"user": "a\x00b"}, "Null characters"),
    ],
)
def test_an_address_that_says_nothing_sensible_is_answered_with_what_is_wrong(
    admin: Client, query: dict[str, str], words: str
) -> None:
    page = admin.get(PAGE, query)
    assert page.status_code == 400
    assert words in page.content.decode()
    assert admin.get(f"{PAGE}days.csv", query).status_code == 404


def test_an_unknown_cost_is_called_so(admin: Client, user: User) -> None:
    spend(user, model="own/llama", cost_microdollars=None, cost_source="unknown")
    page = shown(admin)
    assert "$0.00" not in re.sub(r"<figure.*?</figure>", "", page, flags=re.DOTALL)
    assert page.count("<td>unknown</td>") == 3
    assert "no price is known" in page


def test_each_day_has_a_bar_that_says_its_figure(admin: Client, user: User) -> None:
    spend(user, cost_microdollars=1_000_000, input_tokens=5)
    page = shown(admin)
    assert page.count("<rect ") == 2 * 8
    assert "<title>2026-03-10: $1.00</title>" in page
    assert "<title>2026-03-10: 5 tokens</title>" in page
    assert "<title>2026-03-11: $0.00</title>" in page


def test_names_of_people_and_models_are_escaped(admin: Client, make_user: Callable[..., User]) -> None:
    spend(make_user(username=HOSTILE), model=HOSTILE)
    for query in (MARCH, {**MARCH, "user": HOSTILE}, {**MARCH, "model": HOSTILE}):
        page = shown(admin, **query)
        assert "&lt;script&gt;alert(1)" in page
        assert HOSTILE not in page


def test_nothing_on_it_is_inline(admin: Client, user: User) -> None:
    spend(user)
    page = shown(admin)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_what_a_page_reads_does_not_grow_with_what_was_used(
    admin: Client, make_user: Callable[..., User], django_assert_max_num_queries: Any
) -> None:
    spend_at_random([make_user() for _ in range(30)], 100, 3)
    # Login session, user, permissions (two); by day and model; by person, and their names.
    with django_assert_max_num_queries(7):
        page = shown(admin)
    assert re.search(r"<th scope=\"row\">\d+ others</th>", page)


def test_the_admin_leads_there(admin: Client, user: User) -> None:
    assert PAGE in admin.get("/admin/").content.decode()
    assert PAGE not in staff(user).get("/admin/").content.decode()


# --- files ------------------------------------------------------------------------------------


def test_a_file_has_every_line_with_exact_amounts(admin: Client, make_user: Callable[..., User]) -> None:
    users = [make_user() for _ in range(25)]
    records = spend_at_random(users, 80, 11)
    names = {str(user.pk): user.username for user in users}
    people = file_of(admin, "people")
    assert {row["user_id"]: row["user"] for row in people} == {
        str(record.user_id): names[str(record.user_id)] for record in records
    }
    for table in ("people", "models", "days"):
        rows = file_of(admin, table)
        assert sum(int(row["calls"]) for row in rows) == 80
        assert sum(int(row["cost_microdollars"]) for row in rows) == sum(r.cost_microdollars or 0 for r in records)
        assert sum(int(row["input_tokens"]) for row in rows) == sum(record.input_tokens for record in records)
        unknown = sum(record.cost_source == "unknown" for record in records)
        assert sum(int(row["calls_of_unknown_cost"]) for row in rows) == unknown


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_spreadsheet_runs_nothing_of_a_file(admin: Client, user: User, name: str) -> None:
    spend(user, model=name)
    (row,) = file_of(admin, "models")
    assert row["model"] == f"'{name}"


@pytest.mark.parametrize("name", ['a "quoted", name', "two\r\nlines", "naïve 模型", "plain"])
def test_a_file_is_read_back_as_it_was(admin: Client, user: User, name: str) -> None:
    spend(user, model=name)
    (row,) = file_of(admin, "models")
    assert row["model"] == name


def test_there_is_no_file_of_anything_else(admin: Client) -> None:
    assert admin.get(f"{PAGE}secrets.csv").status_code == 404


def test_a_file_says_what_it_is_called(admin: Client) -> None:
    answer = admin.get(f"{PAGE}people.csv", MARCH)
    assert whole(answer).endswith("_tokens\r\n")
    assert answer["Content-Disposition"] == 'attachment; filename="usage-people-2026-03-09-2026-03-16.csv"'
    assert answer["X-Content-Type-Options"] == "nosniff"
