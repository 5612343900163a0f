"""One person's usage over REST, for operators: exact figures, and who may change what."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from copilot.models import OperatorEntry, User
from linking.keys import issue_key
from tests.usage.counting import count, counted

pytestmark = pytest.mark.django_db
USAGE = "/api/v1/operator/usage"
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def _limits(settings: Any) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = 2_500_000
    settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = 12_500_000


def key_of(user: User, *permissions: str, scopes: tuple[str, ...] = ("chat", "operator")) -> dict[str, str]:
    """Make the person staff with these permissions; return the headers of a key of theirs."""
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return {"Authorization": f"Bearer {issue_key(user=user, scopes=list(scopes))[1]}"}


@pytest.fixture
def root(make_user: Callable[..., User]) -> dict[str, str]:
    """The headers of an operator who may change people."""
    return key_of(make_user(username="root"), "change_user")


def ask(client: Client, headers: Mapping[str, str], user: str) -> Any:
    return client.get(USAGE, {"user": user}, headers=headers)


def post(client: Client, headers: Mapping[str, str], act: str, body: Any) -> Any:
    return client.post(f"{USAGE}/{act}", json.dumps(body), content_type="application/json", headers=headers)


# --- figures ----------------------------------------------------------------------------------


def test_figures_are_exact(client: Client, root: dict[str, str], user: User) -> None:
    User.objects.filter(pk=user.pk).update(tier=2, email="ada@example.org")
    count(user, reserved=12_345, unknown=2)
    answer = ask(client, root, "ada").json()
    assert (answer["user"], answer["username"], answer["email"]) == (str(user.pk), "ada", "ada@example.org")
    assert answer["tier"] == 2
    assert answer["daily"].pop("starts_on") + "T00:00:00Z" < answer["daily"].pop("resets_at")
    assert answer["daily"] == {
        "limit_microdollars": 5_000_000,
        "used_microdollars": 500_000,
        "forgiven_microdollars": 0,
        "reserved_microdollars": 12_345,
        "unknown_records": 2,
    }
    weekly = answer["weekly"]
    assert (weekly["limit_microdollars"], weekly["used_microdollars"]) == (25_000_000, 3_000_000)


def test_a_person_is_found_by_id_name_and_address(
    client: Client, root: dict[str, str], user: User, other_user: User
) -> None:
    User.objects.filter(pk=user.pk).update(email="Ada@Example.org")
    User.objects.filter(pk=other_user.pk).update(username="ada@example.net", email="grace@example.org")
    for wanted in (str(user.pk), "ada", "ada@example.ORG", " ada "):
        assert ask(client, root, wanted).json()["user"] == str(user.pk)
    assert ask(client, root, "ada@example.net").json()["user"] == str(other_user.pk)


@pytest.mark.parametrize("wanted", [NOBODY, "nobody", "nobody@example.org", "ADA", "@", "<b>"])
def test_nobody_is_not_found(client: Client, root: dict[str, str], user: User, wanted: str) -> None:
    for answer in (
        ask(client, root, wanted),
        post(client, root, "reset", {"user": wanted}),
        post(client, root, "tier", {"user": wanted, "tier": 2}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert wanted in answer.json()["detail"]


def test_an_address_of_two_names_neither(
    client: Client, root: dict[str, str], user: User, other_user: User
) -> None:
    User.objects.update(email="team@example.org")
    answer = ask(client, root, "team@example.org")
    assert answer.status_code == 404
    assert "Several people" in answer.json()["detail"]


@pytest.mark.parametrize("query", [{}, {"user": ""}, {"user": " "}, {"user": "a\x00b"}, {"user": "x" * 255}])
def test_whom_it_is_about_must_be_said(client: Client, root: dict[str, str], query: dict[str, str]) -> None:
    answer = client.get(USAGE, query, headers=root)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert "user" in answer.json()["fields"]


# --- who may ----------------------------------------------------------------------------------


def test_people_who_are_no_operators_may_not(client: Client, user: User, other_user: User) -> None:
    plain = {"Authorization": f"Bearer {issue_key(user=other_user)[1]}"}
    without_scope = key_of(user, "change_user", scopes=("chat",))
    for headers, status in ((None, 401), (plain, 403), (without_scope, 403)):
        for answer in (
            ask(client, headers or {}, "ada"),
            post(client, headers or {}, "reset", {"user": "ada"}),
            post(client, headers or {}, "tier", {"user": "ada", "tier": 2}),
        ):
            assert answer.status_code == status
            assert answer.json()["code"] == ("scope" if status == 403 else "not_authenticated")


def test_staff_without_the_permission_may_look_only(client: Client, user: User, other_user: User) -> None:
    looking = key_of(other_user)
    count(user)
    assert ask(client, looking, "ada").status_code == 200
    for act, body in (("reset", {"user": "ada"}), ("tier", {"user": "ada", "tier": 2})):
        answer = post(client, looking, act, body)
        assert (answer.status_code, answer.json()["code"]) == (403, "scope")
    assert counted(user) == (500_000, 3_000_000)
    assert not OperatorEntry.objects.exists()


# --- acts -------------------------------------------------------------------------------------


def test_a_fresh_day_leaves_the_week_and_is_answered_as_it_is_then(
    client: Client, root: dict[str, str], user: User
) -> None:
    count(user)
    answer = post(client, root, "reset", {"user": "ada"}).json()
    assert (answer["daily"]["used_microdollars"], answer["daily"]["forgiven_microdollars"]) == (500_000, 500_000)
    assert answer["weekly"]["forgiven_microdollars"] == 0
    assert answer == ask(client, root, "ada").json()
    assert counted(user) == (0, 3_000_000)
    assert post(client, root, "reset", {"user": "ada", "week": True}).json()["weekly"][
        "forgiven_microdollars"
    ] == (3_000_000)
    assert counted(user) == (0, 0)
    recorded = OperatorEntry.objects.order_by("at").values_list("operator_name", "action", "affected", "data")
    assert list(recorded) == [
        ("root", "usage_reset", 1, {"day": 500_000}),
        ("root", "usage_reset", 1, {"day": 0, "week": 3_000_000}),
    ]


def test_another_tier_multiplies_the_limits(client: Client, root: dict[str, str], user: User) -> None:
    answer = post(client, root, "tier", {"user": str(user.pk), "tier": 60}).json()
    assert (answer["tier"], answer["daily"]["limit_microdollars"]) == (60, 150_000_000)
    entry = OperatorEntry.objects.get()
    assert (entry.action, entry.target_user, entry.data) == ("tier", user.pk, {"before": 1, "after": 60})


@pytest.mark.parametrize(
    ("act", "body", "code"),
    [
        ("reset", {}, "invalid"),
        ("reset", {"user": "ada", "week": "yes"}, "invalid"),
        ("reset", {"user": 1}, "invalid"),
        ("reset", {"user": "ada", "month": True}, "unknown_field"),
        ("reset", [], "invalid"),
        ("tier", {"user": "ada"}, "invalid"),
        ("tier", {"user": "ada", "tier": 0}, "invalid"),
        ("tier", {"user": "ada", "tier": -1}, "invalid"),
        ("tier", {"user": "ada", "tier": 1.5}, "invalid"),
        ("tier", {"user": "ada", "tier": 2.0}, "invalid"),
        ("tier", {"user": "ada", "tier": "2"}, "invalid"),
        ("tier", {"user": "ada", "tier": True}, "invalid"),
        ("tier", {"user": "ada", "tier": 32_768}, "invalid"),
        ("tier", {"user": "ada", "level": 2}, "unknown_field"),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    client: Client, root: dict[str, str], user: User, act: str, body: Any, code: str
) -> None:
    count(user)
    answer = post(client, root, act, body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    user.refresh_from_db()
    assert (user.tier, counted(user)) == (1, (500_000, 3_000_000))
    assert not OperatorEntry.objects.exists()
