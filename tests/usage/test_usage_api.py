"""``GET usage`` tells shares of the limits, and nothing from which an amount could be told."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from copilot.models import User
from copilot.usage.allowance import reset, set_tier
from tests.api.conftest import Api, anonymous, api
from tests.usage.spending import spend

__all__ = ["anonymous", "api"]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _limits(settings: Settings) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS, settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = 10_000, 0


def daily(api: Api) -> Any:
    return api.get("usage").json()["daily"]["percent_used"]


@pytest.mark.parametrize(
    ("used", "percent"),
    [
        (0, 0.0),
        (4, 0.0),
        (6, 0.1),
        (1234, 12.3),
        (9990, 99.9),
        (9995, 99.9),
        (9999, 99.9),
        (10_000, 100.0),
        (70_000, 100.0),
    ],
)
def test_a_limit_that_is_not_reached_is_never_all_used(api: Api, user: User, used: int, percent: float) -> None:
    spend(user, used)
    assert daily(api) == percent


def test_only_shares_are_told(api: Api, user: User, settings: Settings) -> None:
    spend(user, 987)
    body = api.get("usage").json()
    assert body == {
        "daily": {"percent_used": 9.9, "resets_at": body["daily"]["resets_at"]},
        "weekly": None,
        "tier": 1,
    }
    assert body["daily"]["resets_at"].endswith("T00:00:00Z")
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS, settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = 0, 1974
    set_tier(user, 5)
    body = api.get("usage").json()
    assert (body["daily"], body["weekly"]["percent_used"], body["tier"]) == (None, 10.0, 5)


def test_what_was_forgiven_is_not_used(api: Api, user: User) -> None:
    spend(user, 10_000)
    reset(user, week=False)
    assert daily(api) == 0.0


def test_it_is_the_callers_own(api: Api, anonymous: Api, other_user: User) -> None:
    spend(other_user, 10_000)
    assert daily(api) == 0.0
    assert anonymous.get("usage").status_code == 401


def test_a_message_over_the_limit_is_429_and_says_when_to_come_again(api: Api, user: User) -> None:
    session = api.post("sessions", {}).json()["id"]
    spend(user, 10_000)
    refused = api.post(f"sessions/{session}/messages", {"text": "hello"})
    assert (refused.status_code, refused.json()["code"]) == (429, "usage_limit")
    assert set(refused.json()["fields"]) == {"window", "resets_at", "retry_after"}
    assert 0 < int(refused["Retry-After"]) <= 86_400
    assert refused.json()["fields"]["resets_at"] == api.get("usage").json()["daily"]["resets_at"]
