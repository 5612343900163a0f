"""Operators' routes are for members of staff; for their keys, with the scope. No route can forget to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from django.urls import URLPattern
from rest_framework.views import APIView

from copilot.models import User
from copilot.operators.api.base import OperatorView
from copilot.operators.api.urls import urlpatterns
from linking.bots import register_bot
from linking.keys import issue_key
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db

NOBODY = "00000000-0000-4000-8000-000000000000"


def routes() -> Iterator[tuple[str, str]]:
    """Every method of every route of the package."""
    for pattern in urlpatterns:
        path = str(pattern.pattern).replace("<str:turn_id>", NOBODY)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            if hasattr(view_of(pattern), method.lower()):
                yield method, path


def view_of(pattern: URLPattern) -> type[APIView]:
    view: type[APIView] = getattr(pattern.callback, "view_class")  # noqa: B009 - mypy knows functions only
    return view


@pytest.mark.parametrize("pattern", urlpatterns, ids=lambda pattern: str(pattern.pattern))
def test_every_view_is_guarded_by_the_base_view(pattern: URLPattern) -> None:
    view = view_of(pattern)
    assert issubclass(view, OperatorView)
    assert view.scope == "operator"
    assert view.permission_classes == OperatorView.permission_classes
    assert "initial" not in vars(view)


def test_every_route_is_under_its_prefix() -> None:
    assert all(str(pattern.pattern).startswith("operator/") for pattern in urlpatterns)


def with_key(key: str) -> Api:
    return Api(Client(headers={"authorization": f"Bearer {key}"}))


def logged_in(user: User) -> Api:
    client = Client()
    client.force_login(user)
    return Api(client)


@pytest.fixture
def staff(make_user: Callable[..., User]) -> User:
    return make_user(username="operator", is_staff=True)


@pytest.mark.parametrize(("method", "path"), list(routes()))
def test_only_operators_are_let_in(method: str, path: str, user: User, staff: User) -> None:
    person = issue_key(user=user, scopes=["chat", "approve"])[1]
    without_scope = issue_key(user=staff, scopes=["chat", "approve"])[1]
    bot = register_bot(name="concierge", platform="discord", scopes=["approve"])[1]
    refused: dict[str, tuple[Api, int, str]] = {
        "nobody": (Api(Client()), 401, "not_authenticated"),
        "bot": (with_key(bot), 401, "not_authenticated"),
        "person": (logged_in(user), 403, "scope"),
        "person's key": (with_key(person), 403, "scope"),
        "staff's key without the scope": (with_key(without_scope), 403, "scope"),
    }
    for who, (api, status, code) in refused.items():
        answer = api.call(method, path, {} if method != "GET" else None)
        assert (answer.status_code, answer.json()["code"]) == (status, code), who


@pytest.mark.parametrize("path", [path for method, path in routes() if method == "GET" and NOBODY not in path])
def test_operators_are_let_in(path: str, staff: User) -> None:
    wanted = {"user": staff.get_username()} if path == "operator/usage" else {}
    for api in (logged_in(staff), with_key(issue_key(user=staff, scopes=["operator"])[1])):
        assert api.get(path, **wanted).status_code == 200


def test_a_person_who_is_staff_no_longer_is_refused_with_the_key_they_kept(staff: User) -> None:
    api = with_key(issue_key(user=staff, scopes=["operator"])[1])
    User.objects.filter(pk=staff.pk).update(is_staff=False)
    assert api.get("operator/diagnostics").status_code == 403


def test_without_the_guard_anybody_would_be_let_in(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OperatorView, "scope", "chat")
    assert logged_in(user).get("operator/diagnostics").status_code == 200


@pytest.mark.parametrize("action", ["cleanup-invalid", "stop-invalid", "requeue-invalid"])
def test_nothing_can_be_done_to_invalid_turns(action: str, staff: User) -> None:
    assert logged_in(staff).post(f"operator/turns/{action}", {}).status_code in (404, 405)
