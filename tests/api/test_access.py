"""Every endpoint: for its owner only, and for nobody without a login."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import AsyncClient, Client

from common.db import db
from copilot.models import Message, Session, Turn
from linking.keys import issue_key
from tests.api.conftest import Api

Make = Callable[..., Any]

#: method, path, body, what the owner is answered with
REST: list[tuple[str, str, Any, int]] = [
    ("GET", "sessions/{session}", None, 200),
    ("PATCH", "sessions/{session}", {"title": "x"}, 200),
    ("DELETE", "sessions/{session}", None, 204),
    ("GET", "sessions/{session}/messages", None, 200),
    ("POST", "sessions/{session}/messages", {"text": "hi"}, 202),
    ("GET", "sessions/{session}/queued", None, 200),
    ("POST", "sessions/{session}/queued/deliver", None, 202),
    ("DELETE", "sessions/{session}/queued/{waiting}", None, 204),
    ("POST", "sessions/{session}/regenerate", None, 202),
    ("POST", "messages/{message}/edit", {"text": "hi"}, 202),
    ("GET", "messages/{message}", None, 200),
    ("GET", "messages/{waiting}", None, 200),
]
WAITING: list[tuple[str, str, Any]] = [
    ("GET", "turns/{turn}", None),
    ("GET", "turns/{turn}/events", None),
    ("GET", "turns/{turn}/stream", None),
    ("POST", "turns/{turn}/cancel", None),
    ("POST", "sessions/{session}/cancel", None),
]
PLAIN = [("GET", "sessions"), ("POST", "sessions"), ("GET", "models"), ("GET", "presets"), ("POST", "presets")]


@pytest.fixture
def ids(session: Session, make_turn: Make, make_message: Make) -> dict[str, str]:
    turn = make_turn(session, "completed")
    message = make_message(session, turn=turn)
    waiting = make_message(session, state="queued", held=True)
    return {
        "session": str(session.id),
        "turn": str(turn.id),
        "message": str(message.id),
        "waiting": str(waiting.id),
    }


def rows() -> list[Any]:
    return [list(model._default_manager.order_by("pk").values()) for model in (Session, Turn, Message)]


@pytest.mark.parametrize(("method", "path", "body", "status"), REST)
def test_the_owner_may(api: Api, ids: dict[str, str], method: str, path: str, body: Any, status: int) -> None:
    assert api.call(method, path.format(**ids), body).status_code == status


@pytest.mark.parametrize(("method", "path", "body", "status"), REST)
def test_somebody_else_finds_nothing(
    other_api: Api, ids: dict[str, str], method: str, path: str, body: Any, status: int
) -> None:
    before = rows()
    response = other_api.call(method, path.format(**ids), body)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert rows() == before


@pytest.mark.parametrize(("method", "path", "body", "status"), REST)
def test_ids_that_are_unknown_or_no_ids_find_nothing(
    api: Api, ids: dict[str, str], method: str, path: str, body: Any, status: int
) -> None:
    before = rows()
    for unknown in (uuid.uuid4(), "nothing", "1", "%00", "%ED%A0%80", "x" * 500):
        response = api.call(method, path.format(**dict.fromkeys(ids, unknown)), body)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert rows() == before


@pytest.mark.parametrize(
    ("method", "path"), PLAIN + [row[:2] for row in REST] + [row[:2] for row in WAITING if row[0] == "GET"]
)
@pytest.mark.django_db
def test_nobody_gets_nothing(anonymous: Api, method: str, path: str) -> None:
    some = dict.fromkeys(("session", "turn", "message", "waiting"), uuid.uuid4())
    response = anonymous.call(method, path.format(**some), {} if method == "POST" else None)
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "body"), WAITING)
@pytest.mark.django_db(transaction=True)
async def test_what_waits_is_the_owners_too(
    async_client: AsyncClient,
    other_async_client: AsyncClient,
    ids: dict[str, str],
    method: str,
    path: str,
    body: Any,
) -> None:
    mine = await async_client.generic(method, f"/api/v1/{path.format(**ids)}")
    assert mine.status_code == 200
    for client, names in (
        (other_async_client, ids),
        (async_client, dict.fromkeys(ids, uuid.uuid4())),
        (async_client, dict.fromkeys(ids, "nothing")),
        (async_client, dict.fromkeys(ids, "%00")),
    ):
        response = await client.generic(method, f"/api/v1/{path.format(**names)}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    nobody = await AsyncClient().generic(method, f"/api/v1/{path.format(**ids)}")
    assert (nobody.status_code, nobody.json()["code"]) == (401, "not_authenticated")


@pytest.mark.django_db(transaction=True)
async def test_a_turn_of_another_session_is_not_stopped(
    async_client: AsyncClient, session: Session, make_session: Make, make_turn: Make
) -> None:
    elsewhere = await db(make_session)
    turn = await db(make_turn, elsewhere)
    for inside in (session.id, "nothing"):
        response = await async_client.post(
            f"/api/v1/sessions/{inside}/cancel", {"turn": str(turn.id)}, content_type="application/json"
        )
        assert response.status_code == 404
    assert (await db(Turn.objects.get, pk=turn.pk)).status == "queued"


def test_a_key_needs_the_scope(user: Any, session: Session) -> None:
    _, secret = issue_key(user=user, label="", scopes=["approve"])
    response = Client().get(f"/api/v1/sessions/{session.id}", headers={"Authorization": f"Bearer {secret}"})
    assert (response.status_code, response.json()["code"]) == (403, "scope")


def test_unsafe_calls_of_a_browser_need_the_csrf_token(user: Any, session: Session) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    response = client.delete(f"/api/v1/sessions/{session.id}")
    assert (response.status_code, response.json()["code"]) == (403, "csrf")
    assert Session.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "sessions/{session}/share",
        "sessions/",
        "sessions/{session}/",
    ],
)
def test_what_does_not_exist_yet_is_not_found(api: Api, ids: dict[str, str], path: str) -> None:
    for method in ("GET", "POST"):
        response = api.call(method, path.format(**ids), {} if method == "POST" else None)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
