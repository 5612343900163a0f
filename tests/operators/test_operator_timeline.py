"""``GET operator/turns/{id}``: a turn's history as data, without what was said unless a superuser asks for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from copilot.models import OperatorEntry, Turn, User
from tests.api.conftest import Api
from tests.operators import troubles

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(make_user: Callable[..., User]) -> User:
    return make_user(username="operator", is_staff=True)


@pytest.fixture
def api(staff: User) -> Api:
    """The calls of a member of staff."""
    client = Client()
    client.force_login(staff)
    return Api(client)


@pytest.fixture
def turn() -> Turn:
    """A turn that said something."""
    holder = troubles.running()
    holder.answer("the secret of the sphinx")
    return holder.turn


def test_a_history_is_in_time_order_and_says_what_took_time(api: Api, turn: Turn) -> None:
    told = api.get(f"operator/turns/{turn.pk}").json()
    assert (told["id"], told["session"], told["status"]) == (str(turn.pk), str(turn.session_id), "completed")
    times = [entry["at"] for entry in told["entries"]]
    assert times == sorted(times)
    kinds = [entry["what"].split()[0] for entry in told["entries"] if entry["kind"] == "journal"]
    assert (kinds[0], kinds[-1]) == ("submitted", "completed")
    assert "queue" in {entry.get("spent") for entry in told["entries"]}
    assert told["events"]["count"] == told["events"]["last"] == turn.last_seq
    assert "listed" not in told["events"]


def test_nothing_is_told_of_what_was_said(api: Api, turn: Turn) -> None:
    answer = api.get(f"operator/turns/{turn.pk}", events="true")
    assert b"sphinx" not in answer.content
    assert OperatorEntry.objects.count() == 0


def test_events_are_listed_after_the_last_one_seen(api: Api, turn: Turn) -> None:
    listed = api.get(f"operator/turns/{turn.pk}", events="true", after=2).json()["events"]["listed"]
    assert [event["seq"] for event in listed] == list(range(3, (turn.last_seq or 0) + 1))


def test_staff_who_are_no_superusers_are_refused_the_text(api: Api, turn: Turn) -> None:
    answer = api.get(f"operator/turns/{turn.pk}", text="true")
    assert (answer.status_code, answer.json()["code"]) == (403, "scope")


def test_a_superuser_reads_the_text_and_the_look_is_recorded(api: Api, staff: User, turn: Turn) -> None:
    User.objects.filter(pk=staff.pk).update(is_superuser=True)
    assert b"sphinx" in api.get(f"operator/turns/{turn.pk}", text="true").content
    entry = OperatorEntry.objects.get()
    assert (entry.operator, entry.action, entry.target_user) == (staff, "read_text", turn.user_id)
    assert entry.data == {"turns": [str(turn.pk)]}


@pytest.mark.parametrize("turn_id", ["00000000-0000-4000-8000-000000000000", "nonsense"])
def test_a_turn_that_is_not_there_is_not_found(api: Api, turn_id: str) -> None:
    assert api.get(f"operator/turns/{turn_id}").status_code == 404


@pytest.mark.parametrize("query", [{"text": "perhaps"}, {"events": "2"}, {"after": "-1"}])
def test_a_bad_parameter_is_refused(api: Api, turn: Turn, query: dict[str, str]) -> None:
    assert api.get(f"operator/turns/{turn.pk}", **query).status_code == 400
