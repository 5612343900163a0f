"""Approvals in the admin: staff look, and end what waits; nobody decides or changes anything there."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from approvals.models import Action, AuditEntry, Rule
from approvals.rules import remember
from copilot.models import User
from tests.approvals.asking import decide_now
from tests.approvals.waiting import everything, notes, turn_of, waiting
from tests.factories import make_session

pytestmark = pytest.mark.django_db
MODELS: dict[str, Any] = {"action": Action, "rule": Rule, "auditentry": AuditEntry}
SECRET_PLAN = "my quiet plan"


@pytest.fixture
def admin(make_user: Callable[..., User]) -> Client:
    client = Client()
    client.force_login(make_user(username="root", is_staff=True, is_superuser=True))
    return client


def staff(user: User, *permissions: str) -> Client:
    """A member of the staff with these permissions and no more."""
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def fill(count: int = 1) -> Action:
    """Make so many rows of everything, each of somebody else; return an action that waits."""
    made = [waiting(*notes(SECRET_PLAN), session=make_session()) for _ in range(2 * count)]
    for decided in made[:count]:
        decide_now(decided, "approve")
        who = decided.user
        remember(user=who, session_id=uuid.uuid4(), scope="session", tool="shell", arguments={}, surface="web")
    return made[-1]


def run(client: Client, name: str, *actions: Action) -> Any:
    """Choose an action of the admin for some rows."""
    data = {"action": name, "_selected_action": [str(each.pk) for each in actions]}
    return client.post("/admin/approvals/action/", data, follow=True)


# --- looking ----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", MODELS)
def test_a_list_costs_the_same_however_long_it_is_and_keeps_what_was_said_to_itself(
    admin: Client, table: str, django_assert_max_num_queries: Any
) -> None:
    fill(12)
    # Login session, user; count, rows with their users; the bounds of a date filter.
    with django_assert_max_num_queries(6):
        page = admin.get(f"/admin/approvals/{table}/")
    assert page.status_code == 200
    assert SECRET_PLAN not in page.content.decode()


@pytest.mark.parametrize("table", MODELS)
def test_rows_are_neither_added_changed_nor_deleted(admin: Client, table: str) -> None:
    fill()
    before = everything()
    for pk in MODELS[table].objects.values_list("pk", flat=True):
        row = f"/admin/approvals/{table}/{pk}"
        assert admin.get(f"{row}/change/").status_code == 200
        for form in ({"x": "y"}, {"status": "decided"}, {"tool": "shell", "_save": "Save"}):
            assert admin.post(f"{row}/change/", form).status_code == 403
        assert admin.post(f"{row}/delete/", {"post": "yes"}).status_code == 403
    assert admin.get(f"/admin/approvals/{table}/add/").status_code == 403
    assert admin.post(f"/admin/approvals/{table}/add/", {"tool": "shell"}).status_code == 403
    listed = admin.get(f"/admin/approvals/{table}/").content.decode()
    assert "delete_selected" not in listed
    data = {"action": "delete_selected", "_selected_action": [str(pk) for pk in range(3)], "post": "yes"}
    admin.post(f"/admin/approvals/{table}/", data)
    assert everything() == before


@pytest.mark.parametrize("name", ["approve", "decide", "reject"])
def test_there_is_no_way_to_decide_for_somebody(admin: Client, name: str) -> None:
    action = fill()
    before = everything()
    run(admin, name, action)
    assert everything() == before


def test_a_page_shows_what_the_person_was_shown_and_nothing_sealed(admin: Client) -> None:
    action = fill()
    Action.objects.filter(pk=action.pk).update(sealed="sealed-words")
    page = admin.get(f"/admin/approvals/action/{action.pk}/change/").content.decode()
    assert SECRET_PLAN in page
    assert str(action.turn) in page
    assert "sealed-words" not in page
    assert action.requests[0]["sha256"] not in page
    entry = AuditEntry.objects.filter(event="decided").first()
    assert entry is not None
    page = admin.get(f"/admin/approvals/auditentry/{entry.pk}/change/").content.decode()
    assert SECRET_PLAN in page
    assert entry.final_sha256 not in page


def test_texts_of_models_are_escaped(admin: Client) -> None:
    action = waiting(*notes("<script>alert(1)</script>"), session=make_session())
    page = admin.get(f"/admin/approvals/action/{action.pk}/change/").content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


def found(admin: Client, table: str, **query: Any) -> int:
    page = admin.get(f"/admin/approvals/{table}/", query)
    assert page.status_code == 200
    return len(page.context["cl"].result_list)


def test_rows_are_found_by_id_by_name_and_by_what_they_are(admin: Client) -> None:
    action = fill(3)
    assert found(admin, "action", q=str(action.pk)) == 1
    assert found(admin, "action", q=str(action.turn)) == 1
    assert found(admin, "action", q=action.user.username) == 1
    assert found(admin, "action", status__exact="pending") == 3
    assert found(admin, "action", kind__exact="ask_user_question") == 0
    assert found(admin, "auditentry", event__exact="rule_added") == 3
    assert found(admin, "auditentry", event__exact="expired") == 0
    entry = AuditEntry.objects.filter(event="decided").first()
    assert entry is not None
    assert found(admin, "auditentry", q=str(entry.action)) == 1
    assert found(admin, "rule", q=entry.user.username) == 1


@pytest.mark.parametrize("table", MODELS)
def test_a_search_for_anything_is_answered(admin: Client, table: str) -> None:
    fill()
    for anything in ("ada", "x" * 500, "'", "00000000-0000"):
        found(admin, table, q=anything)


def test_strangers_see_nothing(client: Client, user: User) -> None:
    client.force_login(user)
    for table in MODELS:
        assert client.get(f"/admin/approvals/{table}/").status_code == 302


# --- ending -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "outcome", "event"),
    [
        ("stop_turns", "cancelled", "operator", "cancelled"),
        ("expire_selected", "expired", "approval_expired", "expired"),
    ],
)
def test_staff_end_what_waits_and_the_log_names_them(
    admin: Client, name: str, status: str, outcome: str, event: str
) -> None:
    one, other, left = (waiting(session=make_session()) for _ in range(3))
    page = run(admin, name, one, other)
    assert "2." in page.content.decode()
    for action in (one, other):
        action.refresh_from_db()
        turn = turn_of(action)
        assert (action.status, turn.status, turn.outcome) == (status, "cancelled", outcome)
        entry = AuditEntry.objects.get(action=action.pk)
        assert (entry.event, entry.actor, entry.surface, entry.user) == (event, "root", "admin", action.user)
    left.refresh_from_db()
    assert (left.status, turn_of(left).status) == ("pending", "requires_action")


@pytest.mark.parametrize("name", ["stop_turns", "expire_selected"])
def test_what_does_not_wait_any_more_is_left_as_it_is(admin: Client, name: str) -> None:
    decided, waits = waiting(session=make_session()), waiting(session=make_session())
    decide_now(decided, "approve")
    page = run(admin, name, decided, waits).content.decode()
    assert "1 did not wait any more." in page
    decided.refresh_from_db()
    waits.refresh_from_db()
    assert (decided.status, turn_of(decided).status) == ("decided", "queued")
    assert waits.status != "pending"


def test_an_action_that_its_turn_does_not_wait_for_is_no_error(admin: Client) -> None:
    lost, waits = waiting(session=make_session()), waiting(session=make_session())
    Action.objects.filter(pk=lost.pk).update(turn=uuid.uuid4())
    page = run(admin, "stop_turns", lost, waits).content.decode()
    assert "1 moved at this moment" in page
    waits.refresh_from_db()
    assert waits.status == "cancelled"


@pytest.mark.parametrize("name", ["stop_turns", "expire_selected"])
@pytest.mark.parametrize(("permissions", "status"), [(["view_action"], 0), (["view_action", "change_action"], 1)])
def test_ending_needs_more_than_looking(user: User, name: str, permissions: list[str], status: int) -> None:
    action = waiting(session=make_session())
    client = staff(user, *permissions)
    assert client.get("/admin/approvals/action/").status_code == 200
    run(client, name, action)
    action.refresh_from_db()
    assert (action.status != "pending") is bool(status)


def test_a_person_does_not_end_what_waits_by_the_admins_address(client: Client, user: User) -> None:
    action = waiting(session=make_session(user))
    client.force_login(user)
    run(client, "stop_turns", action)
    action.refresh_from_db()
    assert action.status == "pending"
