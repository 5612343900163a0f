"""Deleting people in the admin: who may, what the page says, and that it is on record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from copilot.models import OperatorEntry, Session, User
from copilot.retention.deletion import Progress, go_on
from tests.factories import make_session

pytestmark = pytest.mark.django_db
LIST = "admin:copilot_user_changelist"


@pytest.fixture
def desk(client: Client, operator: User) -> Client:
    """A browser in which a superuser is logged in."""
    client.force_login(operator)
    return client


@pytest.fixture
def helper(make_user: Callable[..., User]) -> User:
    """A member of staff who may delete people."""
    staff = make_user(username="helper", is_staff=True)
    wanted = ("view_user", "change_user", "delete_user")
    staff.user_permissions.set(Permission.objects.filter(codename__in=wanted, content_type__app_label="copilot"))
    return staff


def address(user: User) -> str:
    return reverse("admin:copilot_user_delete", args=[user.pk])


def confirm(client: Client, user: User) -> Any:
    return client.post(address(user), {"post": "yes"}, follow=True)


def select(client: Client, *people: User, **more: str) -> Any:
    chosen = {"action": "delete_selected", "_selected_action": [str(user.pk) for user in people], **more}
    return client.post(reverse(LIST), chosen, follow=True)


def marked(*people: User) -> list[bool]:
    return [User.objects.get(pk=user.pk).deleting_at is not None for user in people]


def test_the_page_says_what_goes_and_does_nothing(desk: Client, user: User) -> None:
    for _ in range(3):
        make_session(user)
    html = desk.get(address(user)).content.decode()
    assert "3 sessions with all that is in them" in html
    assert marked(user) == [False]


def test_confirmed_it_begins_and_is_on_record(desk: Client, operator: User, user: User) -> None:
    make_session(user)
    answer = confirm(desk, user)
    assert "Locked out: 1." in answer.content.decode()
    assert marked(user) == [True]
    entry = OperatorEntry.objects.get()
    assert (entry.operator, entry.action, entry.target_user) == (operator, "delete_user", user.pk)
    while go_on(user.pk) is not Progress.DONE:
        pass
    assert not Session.objects.exists()
    entry = OperatorEntry.objects.get()
    assert (entry.operator_name, entry.target_user) == ("root", None), "that somebody was deleted, and by whom"


def test_several_are_deleted_at_once(desk: Client, user: User, other_user: User) -> None:
    select(desk, user, other_user)
    assert marked(user, other_user) == [False, False]
    select(desk, user, other_user, post="yes")
    assert marked(user, other_user) == [True, True]
    assert OperatorEntry.objects.count() == 2


def test_staff_without_the_permission_cannot(client: Client, helper: User, user: User) -> None:
    helper.user_permissions.remove(Permission.objects.get(codename="delete_user"))
    client.force_login(helper)
    assert client.get(address(user)).status_code == 403
    assert confirm(client, user).status_code == 403
    select(client, user, post="yes")
    assert marked(user) == [False]


def test_staff_with_the_permission_can(client: Client, helper: User, user: User) -> None:
    client.force_login(helper)
    assert confirm(client, user).status_code == 200
    assert marked(user) == [True]


def test_a_superuser_is_deleted_by_a_superuser_only(
    client: Client, helper: User, operator: User, make_user: Callable[..., User]
) -> None:
    second = make_user(username="second", is_superuser=True)
    client.force_login(helper)
    assert confirm(client, second).status_code == 403
    assert select(client, second, post="yes").status_code == 403
    client.force_login(operator)
    confirm(client, second)
    assert marked(second) == [True]


@pytest.mark.parametrize("several", [False, True])
def test_the_last_superuser_stays(desk: Client, operator: User, several: bool) -> None:
    answer = select(desk, operator, post="yes") if several else confirm(desk, operator)
    assert "the last active superuser" in answer.content.decode()
    assert "uccessfully" not in answer.content.decode()
    assert marked(operator) == [False]


def test_an_account_that_is_being_deleted_is_only_looked_at(desk: Client, user: User) -> None:
    page = reverse("admin:copilot_user_change", args=[user.pk])
    assert 'name="_save"' in desk.get(page).content.decode()
    confirm(desk, user)
    assert 'name="_save"' not in desk.get(page).content.decode()
    assert desk.post(page, {"username": "back", "is_active": "on"}).status_code == 403
    assert not User.objects.get(pk=user.pk).is_active
