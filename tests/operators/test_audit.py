"""What operators did is noted for good: nobody changes it, and it outlives the accounts that it speaks of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from copilot.models import OperatorEntry, User
from copilot.operators import actions, audit
from copilot.operators.audit import record
from tests.operators.acting import make_stuck

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(make_user: Callable[..., User]) -> User:
    return make_user(username="root", is_staff=True, is_superuser=True)


@pytest.fixture
def admin(root: User) -> Client:
    client = Client()
    client.force_login(root)
    return client


def test_an_entry_tells_who_did_what_to_whom_and_when(root: User, user: User) -> None:
    before = timezone.now()
    entry = record(root, "usage_reset", target_user=user, requested=2, affected=1, data={"window": "day"})
    entry.refresh_from_db()
    assert (entry.operator, entry.operator_name, entry.action) == (root, "root", "usage_reset")
    assert (entry.target_user, entry.category) == (user.pk, "")
    assert (entry.requested, entry.affected, entry.data) == (2, 1, {"window": "day"})
    assert abs((entry.at - before).total_seconds()) < 60


def test_an_act_from_the_command_line_has_no_name() -> None:
    entry = record(None, "delete_data")
    assert (entry.operator, entry.operator_name) == (None, "")


def test_an_entry_outlives_who_did_it_and_whom_it_was_done_to(root: User, user: User) -> None:
    entry = record(root, "tier_change", target_user=user)
    target = user.pk
    user.delete()
    root.delete()
    entry.refresh_from_db()
    assert (entry.operator, entry.operator_name, entry.target_user) == (None, "root", target)


def test_an_act_is_noted_before_anything_of_it_is_done(root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who acted is known, also when the process does not live to say what came of it."""
    turn = make_stuck()
    seen: list[tuple[Any, ...]] = []

    def look(*args: Any) -> bool:
        seen.append(OperatorEntry.objects.values_list("operator_name", "affected", "data").get())
        return True

    monkeypatch.setattr(actions, "_give_up", look)
    actions.cleanup([turn.pk], operator=root)
    about = {"turns": [str(turn.pk)]}
    assert seen == [("root", 0, {**about, "unfinished": True})]
    entry = OperatorEntry.objects.get()
    assert (entry.affected, entry.data) == (1, about)


def test_an_act_ends_once(root: User) -> None:
    entry = audit.begin(root, "stop", requested=3, data={})
    audit.end(entry, affected=2)
    audit.end(entry, affected=3)
    entry.refresh_from_db()
    assert (entry.requested, entry.affected, entry.data) == (3, 2, {})


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.save(),
        lambda entry: entry.delete(),
        lambda entry: OperatorEntry.objects.filter(pk=entry.pk).update(affected=9),
        lambda entry: OperatorEntry.objects.filter(pk=entry.pk).delete(),
    ],
)
def test_an_entry_is_final(root: User, change: Callable[[OperatorEntry], Any]) -> None:
    entry = record(root, "stop", affected=1)
    with pytest.raises(TypeError):
        change(entry)
    entry.refresh_from_db()
    assert entry.affected == 1


def test_entries_are_looked_at_in_the_admin_and_no_more(admin: Client, root: User) -> None:
    entry = record(root, "stop", data={"turns": ["<script>"]})
    row = f"/admin/copilot/operatorentry/{entry.pk}"
    page = admin.get(f"{row}/change/")
    assert (page.status_code, "&lt;script&gt;" in page.content.decode()) == (200, True)
    assert admin.get("/admin/copilot/operatorentry/add/").status_code == 403
    assert admin.post(f"{row}/change/", {"action": "none"}).status_code == 403
    assert admin.post(f"{row}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [str(entry.pk)], "post": "yes"}
    admin.post("/admin/copilot/operatorentry/", data)
    assert OperatorEntry.objects.filter(pk=entry.pk, action="stop").exists()


def test_the_list_names_people_and_costs_the_same_however_long_it_is(
    admin: Client, root: User, make_user: Callable[..., User], django_assert_max_num_queries: Any
) -> None:
    for _ in range(12):
        record(root, "usage_reset", target_user=make_user())
    # Login session, user; count, rows with names; the bounds of a date filter, the actions of the other.
    with django_assert_max_num_queries(6):
        page = admin.get("/admin/copilot/operatorentry/").content.decode()
    assert ("person12" in page, "root" in page) == (True, True)


def test_entries_are_found_by_whom_they_are_about(admin: Client, root: User, user: User) -> None:
    record(root, "usage_reset", target_user=user)
    record(root, "stop")
    for wanted, count in ((str(user.pk), 1), ("root", 2), (str(root.pk), 2), ("nobody", 0)):
        page = admin.get("/admin/copilot/operatorentry/", {"q": wanted})
        assert len(page.context["cl"].result_list) == count
