"""Operators' acts in the admin: chosen in the list, asked about once more, and done to all that was meant."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.contrib.admin import site
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from copilot.admin import TurnAdmin
from copilot.models import OperatorEntry, Turn, User
from tests.factories import fresh, make_running, make_session, make_turn, make_user
from tests.operators.acting import (
    acts,
    ids,
    logged_in,
    make_onlooker,
    make_operator,
    make_orphan,
    make_stuck,
)

pytestmark = pytest.mark.django_db

LIST = "/admin/copilot/turn/"
ACTIONS = ("stop", "requeue", "cleanup")
DONE = {"stop": "cancelled", "requeue": "queued", "cleanup": "failed"}


@pytest.fixture
def operator() -> User:
    return make_operator("olga")


@pytest.fixture
def admin(operator: User) -> Client:
    return logged_in(operator)


def choose(client: Client, action: str, *turns: Any, query: str = "", **over: Any) -> Any:
    """Choose an action for some rows of the list, as its form does."""
    form = {"action": action, "_selected_action": [str(turn_id) for turn_id in ids(*turns)], "index": "0", **over}
    return client.post(f"{LIST}{query}", form)


def confirm(client: Client, page: Any) -> Any:
    """Send the form of the page that asks, as it stands there."""
    [form] = re.findall(r'<form method="post">(.*?)</form>', page.content.decode(), re.S)
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form):
        fields.setdefault(name, []).append(value)
    query = page.wsgi_request.META["QUERY_STRING"]
    return client.post(f"{LIST}?{query}", fields, follow=True)


def offered(page: Any) -> set[str]:
    """Return the actions that a list offers."""
    form = page.context["action_form"]
    return {name for name, _ in form.fields["action"].choices if name} if form else set()


# --- who may ------------------------------------------------------------------------------------


def test_an_operator_is_offered_all_three(admin: Client) -> None:
    make_turn()
    assert offered(admin.get(LIST)) == set(ACTIONS)


def test_a_superuser_is_an_operator() -> None:
    make_turn()
    root = User.objects.create_superuser("root")
    assert offered(logged_in(root).get(LIST)) == set(ACTIONS)


@pytest.mark.parametrize("action", ACTIONS)
def test_whoever_may_only_look_is_offered_nothing_and_refused(action: str) -> None:
    turn = make_stuck()
    client = logged_in(make_onlooker())
    assert offered(client.get(LIST)) == set()
    for over in ({}, {"confirmed": "yes"}, {"confirmed": "yes", "select_across": "1"}):
        assert choose(client, action, turn, **over).status_code == 403
    assert (fresh(turn).status, OperatorEntry.objects.exists()) == ("queued", False)


@pytest.mark.parametrize("action", ACTIONS)
def test_strangers_are_sent_to_the_login(action: str) -> None:
    turn = make_stuck()
    for client in (Client(), logged_in(make_user())):
        answer = choose(client, action, turn, confirmed="yes")
        assert (answer.status_code, answer["Location"].startswith("/admin/login/")) == (302, True)
    assert fresh(turn).status == "queued"


def test_a_page_of_somebody_else_cannot_act_in_an_operators_name(operator: User) -> None:
    turn = make_stuck()
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    assert choose(client, "stop", turn, confirmed="yes").status_code == 403
    assert fresh(turn).status == "queued"


# --- the page that asks ---------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
def test_it_says_what_it_costs_and_whom_and_does_nothing(admin: Client, action: str) -> None:
    someone = make_user("grace")
    ended = make_running(make_session(someone))
    ended.answer()
    turns = [make_stuck(make_session(someone)), make_stuck(make_session(someone)), make_stuck()]
    before = list(Turn.objects.order_by("pk").values())
    page = choose(admin, action, *turns, ended)
    text = page.content.decode()
    assert page.status_code == 200
    assert "3 turns of 2 people" in " ".join(re.sub(r"<[^>]+>", "", text).split())
    assert "3 queued" in text
    assert "1 of those you chose is left alone" in text
    assert str(turns[0].pk) in text
    assert "grace" in text
    assert {"stop": "ends people", "requeue": "may cost money", "cleanup": "fails these turns"}[action] in text
    assert "csrfmiddlewaretoken" in text
    assert list(Turn.objects.order_by("pk").values()) == before
    assert not OperatorEntry.objects.exists()


@pytest.mark.parametrize("action", ACTIONS)
def test_an_address_alone_does_nothing(admin: Client, action: str) -> None:
    turn = make_stuck()
    admin.get(LIST, {"action": action, "_selected_action": str(turn.pk), "confirmed": "yes"})
    assert (fresh(turn).status, OperatorEntry.objects.exists()) == ("queued", False)


@pytest.mark.parametrize("action", ACTIONS)
def test_once_confirmed_it_is_done_to_the_chosen_ones(admin: Client, action: str) -> None:
    one, other, left = make_stuck(), make_stuck(), make_stuck()
    page = confirm(admin, choose(admin, action, one, other))
    assert "2 of 2." in page.content.decode()
    assert [fresh(turn).status for turn in (one, other, left)] == [DONE[action], DONE[action], "queued"]
    assert acts() == [("olga", action, "", 2, 2)]


def test_what_changed_while_the_page_was_read_is_left_alone(admin: Client) -> None:
    one, other = make_stuck(), make_stuck()
    page = choose(admin, "cleanup", one, other)
    Turn.objects.filter(pk=one.pk).update(queued_at=timezone.now())
    assert "Cleaned up 1 of 2." in confirm(admin, page).content.decode()
    assert [fresh(turn).status for turn in (one, other)] == ["queued", "failed"]


def test_nothing_to_do_is_said_at_once(admin: Client) -> None:
    running = make_running()
    answer = choose(admin, "requeue", running)
    assert answer.status_code == 302
    assert "None of these turns are queued" in admin.get(LIST).content.decode()


def test_a_long_choice_is_shown_in_part(admin: Client) -> None:
    turns = [make_stuck() for _ in range(13)]
    text = choose(admin, "stop", *turns).content.decode()
    assert "and 3 more" in text
    assert text.count("/change/") == 10


def test_names_are_shown_as_text(admin: Client) -> None:
    turn = make_stuck(make_session(make_user("<b>bold</b>")))
    text = choose(admin, "stop", turn).content.decode()
    assert "&lt;b&gt;bold" in text
    assert "<b>bold" not in text


def test_the_page_costs_the_same_however_many_are_chosen(admin: Client) -> None:
    turns = [make_stuck() for _ in range(30)]

    def cost(chosen: list[Turn]) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert choose(admin, "stop", *chosen).status_code == 200
        return len(queries)

    cost(turns)  # what is looked up once
    assert cost(turns) == cost(turns[:2])


# --- all that match -------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
def test_all_that_match_are_more_than_the_page(
    admin: Client, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TurnAdmin, "list_per_page", 2)
    ended = make_running()
    ended.answer()
    turns = [make_stuck() for _ in range(5)]
    asked = choose(admin, action, turns[0], query="?status__exact=queued", select_across="1")
    assert "not only those on the page" in asked.content.decode()
    assert "5 of 5." in confirm(admin, asked).content.decode()
    assert {fresh(turn).status for turn in turns} == {DONE[action]}
    assert acts() == [("olga", action, "", 5, 5)]


def test_without_that_only_the_chosen_ones_are_meant(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TurnAdmin, "list_per_page", 2)
    turns = [make_stuck() for _ in range(5)]
    confirm(admin, choose(admin, "stop", turns[0], select_across="0"))
    assert sum(fresh(turn).status == "cancelled" for turn in turns) == 1


def test_what_does_not_match_is_not_meant(admin: Client) -> None:
    mine, bots = make_stuck(), make_stuck()
    Turn.objects.filter(pk=bots.pk).update(origin="bot")
    confirm(admin, choose(admin, "stop", mine, query="?origin__exact=web", select_across="1"))
    assert (fresh(mine).status, fresh(bots).status) == ("cancelled", "queued")


def test_turns_that_have_ended_do_not_count_among_all(admin: Client) -> None:
    orphan, ended = make_orphan(), make_running()
    ended.answer()
    confirm(admin, choose(admin, "cleanup", orphan, select_across="1"))
    assert acts() == [("olga", "cleanup", "", 1, 1)]


# --- categories -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("queued", {"stop", "requeue"}),
        ("running", {"stop"}),
        ("orphaned", {"stop", "cleanup"}),
        ("stuck_queued", {"stop", "requeue", "cleanup"}),
        ("failed", set()),
        ("invalid", set()),
    ],
)
def test_a_category_offers_what_can_be_done_to_it(
    category: str, expected: set[str], operator: User, rf: RequestFactory
) -> None:
    request = rf.get(LIST, {"category": category})
    request.user = operator
    assert set(site.get_model_admin(Turn).get_actions(request)) == expected


# --- what is wrong with a request -----------------------------------------------------------------


@pytest.mark.parametrize("chosen", ["nobody", "", "7"])
def test_a_row_that_is_no_id_is_refused(admin: Client, chosen: str) -> None:
    assert admin.post(LIST, {"action": "stop", "_selected_action": chosen, "index": "0"}).status_code == 400


@pytest.mark.parametrize("name", ["delete_selected", "fail", "__class__"])
def test_there_are_no_other_actions(admin: Client, name: str) -> None:
    turn = make_stuck()
    choose(admin, name, turn, confirmed="yes", post="yes")
    assert (fresh(turn).status, OperatorEntry.objects.exists()) == ("queued", False)


def test_a_turn_that_is_gone_is_nothing_to_do(admin: Client) -> None:
    form = {"action": "stop", "_selected_action": str(uuid.uuid4()), "confirmed": "yes"}
    assert "Stopped 0 of 0." in admin.post(LIST, form, follow=True).content.decode()
