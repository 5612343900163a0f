"""``GET operator/turns`` and ``GET operator/diagnostics``: the same turns, in pages and in figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from copilot.diagnostics.categories import CATEGORIES
from copilot.models import Turn, User
from tests.api.conftest import Api
from tests.factories import accept, make_session, make_user
from tests.operators import troubles
from tests.operators.troubles import HOUR

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(make_user: Callable[..., User]) -> Api:
    """The calls of a member of staff."""
    client = Client()
    client.force_login(make_user(username="operator", is_staff=True))
    return Api(client)


def listed(api: Api, **query: Any) -> list[str]:
    """Return the ids of the turns that a list has."""
    answer = api.get("operator/turns", **query)
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


@pytest.mark.parametrize("hours", [24, 48])
def test_the_total_of_a_list_is_the_figure_of_its_category(api: Api, hours: int) -> None:
    troubles.one_of_each()
    troubles.failure(30 * HOUR)
    with troubles.past_the_constraints():
        troubles.spoil(troubles.running().turn, started_at=None)
        figures = api.get("operator/diagnostics", hours=hours).json()
        for name in CATEGORIES:
            answer = api.get("operator/turns", category=name, hours=hours, limit=1).json()
            assert answer["total"] == figures[name] > 0
            assert len(answer["results"]) == 1


def test_the_figures_are_numbers_by_name(api: Api) -> None:
    troubles.one_of_each()
    figures = api.get("operator/diagnostics").json()
    assert all(type(figures[name]) is int for name in CATEGORIES)
    assert figures["timestamp"].endswith("Z")
    assert len(figures["series"]) == 24
    assert {"never_started", "stop_unconfirmed", "broker_queue_depth", "workers", "dispatch_lag"} <= set(figures)


def test_a_failed_turn_is_listed_with_its_error_and_whose_it_is(api: Api, user: User) -> None:
    User.objects.filter(pk=user.pk).update(email="ada@example.org")
    turn = troubles.failure(session=make_session(user))
    (row,) = api.get("operator/turns", category="failed").json()["results"]
    assert row["id"] == str(turn.pk)
    assert (row["username"], row["email"], row["user"]) == ("ada", "ada@example.org", str(user.pk))
    assert row["error"] == {"code": "quota", "detail": "Nothing left.", "retryable": False}
    assert row["finished_at"].endswith("Z")
    assert "worker" not in row


def test_a_running_turn_is_listed_with_who_holds_it_and_for_how_long(api: Api) -> None:
    turn = troubles.long_running()
    (row,) = api.get("operator/turns", category="long_running").json()["results"]
    assert row["worker"] == str(turn.worker)
    assert 25 * 3_600_000 <= row["running_ms"] < 25 * 3_600_000 + 60_000
    assert {"heartbeat_at", "claimed_at", "started_at"} <= set(row)


def test_lists_do_not_say_what_people_said(api: Api) -> None:
    holder = troubles.running()
    accept(holder.session, "the secret of the pyramids")
    holder.say("the secret of the sphinx")
    assert b"secret" not in api.get("operator/turns").content


def test_without_a_category_everything_is_listed_that_has_not_ended(api: Api) -> None:
    turns = troubles.one_of_each()
    live = {str(turn.pk) for name, turn in turns.items() if name not in ("failed", "completed")}
    assert set(listed(api)) == live


def test_the_oldest_comes_first_where_something_waits(api: Api) -> None:
    newer, older = troubles.stuck(hours=2), troubles.stuck(hours=3)
    assert listed(api, category="stuck_queued") == [str(older.pk), str(newer.pk)]


# --- pages and filters ------------------------------------------------------------------------


def test_pages_together_are_the_whole_list(api: Api) -> None:
    every = {str(troubles.failure().pk) for _ in range(5)}
    pages = [listed(api, category="failed", limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert {turn for page in pages for turn in page} == every
    assert api.get("operator/turns", category="failed", limit=2, offset=6).json()["total"] == 5


def test_turns_that_ended_at_once_are_on_one_page_each(api: Api) -> None:
    turns = [troubles.failure() for _ in range(4)]
    Turn.objects.update(finished_at=turns[0].finished_at)
    pages = [listed(api, category="failed", limit=1, offset=offset) for offset in range(4)]
    assert len({turn for page in pages for turn in page}) == 4


@pytest.mark.parametrize(("limit", "found"), [("0", 1), ("-3", 1), ("2", 2), ("1000", 3), ("999999", 3)])
def test_a_limit_beyond_what_is_possible_is_the_nearest_that_is(api: Api, limit: str, found: int) -> None:
    for _ in range(3):
        troubles.stuck()
    assert len(listed(api, category="queued", limit=limit)) == found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("category", "zombies"),
        ("category", "invalid "),
        ("hours", "0"),
        ("hours", "-1"),
        ("hours", "nan"),
        ("hours", "inf"),
        ("hours", "soon"),
        ("hours", "1e9"),
        ("limit", "many"),
        ("limit", "1.5"),
        ("offset", "-1"),
        ("offset", "9999999999999"),
        ("origin", "moon"),
        ("user", "x" * 201),
        ("model", "a\x00b"),
    ],
)
def test_a_bad_parameter_is_named(api: Api, name: str, value: str) -> None:
    answer = api.get("operator/turns", **{"category": "failed", name: value})
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid"
    assert name in answer.json()["fields"]


def test_bad_hours_are_refused_by_the_diagnostics(api: Api) -> None:
    assert api.get("operator/diagnostics", hours="-2").json()["fields"].keys() == {"hours"}


def test_filters_leave_what_fits_all_of_them(api: Api, user: User) -> None:
    mine = troubles.failure(session=make_session(user))
    other = troubles.failure(code="auth")
    Turn.objects.filter(pk=other.pk).update(origin="bot", model="demo/other")
    for query in (
        {"user": "ada"},
        {"user": str(user.pk)},
        {"origin": mine.origin},
        {"model": mine.model},
        {"error": "quota"},
        {"user": "ada", "error": "quota"},
    ):
        answer = api.get("operator/turns", category="failed", **query).json()
        assert [row["id"] for row in answer["results"]] == [str(mine.pk)], query
        assert answer["total"] == 1
    for query in ({"user": "nobody"}, {"user": str(make_user().pk)}, {"user": "ada", "error": "auth"}):
        assert listed(api, category="failed", **query) == []
    assert listed(api, category="failed", origin="bot") == [str(other.pk)]


def test_the_list_takes_the_same_queries_however_long_it_is(
    api: Api, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    for _ in range(5):
        troubles.failure()
    with django_assert_max_num_queries(5):  # session, user, total, page
        assert len(listed(api, category="failed")) == 5
