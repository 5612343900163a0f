"""Whatever is sent: the documented code, a sentence, and nothing stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings
from django.test import AsyncClient, Client

from common.db import db
from copilot.models import Message, Session, Turn, User
from tests.api.conftest import Api

LONG = "é" * 64_001
SEND = [
    ({}, 400, "invalid"),
    ({"text": ""}, 400, "invalid"),
    ({"text": " \n\t"}, 400, "invalid"),
    ({"text": None}, 400, "invalid"),
    ({"text": 7}, 400, "invalid"),
    ({"text": ["a"]}, 400, "invalid"),
    ({"text": {"a": 1}}, 400, "invalid"),
    ({"text": True}, 400, "invalid"),
    ({"text": "a\x00b"}, 400, "invalid"),
    ({"text": LONG}, 413, "text_too_long"),
    ({"text": "x", "titel": 1}, 400, "unknown_field"),
    ({"text": "x", "code": 1, "detail": 2, "self": 3}, 400, "unknown_field"),
    ({"text": "x", "\ud800": 1}, 400, "invalid"),
    ({"text": "x\ud800"}, 400, "invalid"),
    ({"text": "x", "client_id": ""}, 400, "invalid"),
    ({"text": "x", "client_id": 5}, 400, "invalid"),
    ({"text": "x", "client_id": "c" * 129}, 400, "invalid"),
    ({"text": "x", "client_id": "a\x00"}, 400, "invalid"),
    ({"text": "x", "model": "nobody/nothing"}, 400, "unknown_model"),
    ({"text": "x", "model": "demo"}, 400, "unknown_model"),
    ({"text": "x", "model": 3}, 400, "invalid"),
    ({"text": "x", "effort": "huge"}, 400, "invalid"),
    ({"text": "x", "effort": 1}, 400, "invalid"),
    ({"text": "x", "attachments": ["id"]}, 400, "invalid"),
    ({"text": "x", "attachments": "id"}, 400, "invalid"),
    ({"text": "x", "timezone": "Europe/Nowhere"}, 400, "invalid"),
    ({"text": "x", "timezone": "../../etc/passwd"}, 400, "invalid"),
    ({"text": "x", "timezone": []}, 400, "invalid"),
    ({"text": "x", "delivery": "soon"}, 400, "invalid"),
    ({"text": "x", "delivery": {}}, 400, "invalid"),
    ({"text": "x", "context": "page"}, 400, "invalid"),
    ({"text": "x", "context": {"url": 1}}, 400, "invalid"),
    ({"text": "x", "context": {"url": "u", "title": "t"}}, 400, "unknown_field"),
    ({"text": "x", "context": {"content": "a\x00"}}, 400, "invalid"),
    ({"text": "x", "context": {"content": LONG}}, 413, "text_too_long"),
]
SESSIONS = [
    ({"title": 1}, 400, "invalid"),
    ({"title": "t" * 201}, 400, "invalid"),
    ({"title": "a\x00"}, 400, "invalid"),
    ({"model": "nobody/nothing"}, 400, "unknown_model"),
    ({"instructions": LONG}, 400, "invalid"),
    ({"tools": "calculator"}, 400, "invalid"),
    ({"tools": [1]}, 400, "invalid"),
    ({"tools": ["no_such_tool"]}, 400, "invalid"),
    ({"tools": ["calc*", "x*"]}, 400, "invalid"),
    ({"tools": ["[" * 200]}, 400, "invalid"),
    ({"tools": ["a"] * 101}, 400, "invalid"),
    ({"preset": "p"}, 400, "invalid"),
    ({"preset": 1}, 400, "invalid"),
    ({"preset": "01981f5e-8a40-7c11-9f62-3a8d2f0c1b11"}, 400, "invalid"),
    ({"tools": ["current_time", "nothing_*"]}, 400, "invalid"),
    ({"approval_mode": "bypass"}, 400, "invalid"),
    ({"approval_mode": 1}, 400, "invalid"),
    ({"id": "mine"}, 400, "unknown_field"),
]
MALFORMED = [
    b"{",
    b"nonsense",
    b'{"text": NaN}',
    b'{"text": "\xff"}',
    b'"text"',
    b"[]",
    b"null",
    b"7",
    b"\xef\xbb\xbf{}",
    b'{"text": ' + b"9" * 5000 + b"}",
    b"[" * 200_000,
    b'{"a":' * 100_000,
    '{"text": "x"}'.encode("utf-16"),
]


def refused(response: Any, status: int, code: str) -> None:
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert body["detail"][-1] in ".!?", body
    assert set(body) <= {"code", "detail", "fields"}


def rows() -> list[Any]:
    return [list(model._default_manager.order_by("pk").values()) for model in (Session, Turn, Message)]


@pytest.mark.parametrize(("body", "status", "code"), SEND)
def test_a_bad_message_is_refused(api: Api, session: Session, body: Any, status: int, code: str) -> None:
    before = rows()
    refused(api.post(f"sessions/{session.id}/messages", body), status, code)
    assert rows() == before


def test_the_longest_message_is_accepted_however_it_is_escaped(api: Api, session: Session) -> None:
    body = {"text": "\U0001f600" * 64_000}
    assert api.post(f"sessions/{session.id}/messages", body).status_code == 202
    assert Message.objects.get(role="user").text == body["text"]


@pytest.mark.parametrize(("body", "status", "code"), SESSIONS)
def test_a_bad_session_is_refused(api: Api, session: Session, body: Any, status: int, code: str) -> None:
    before = rows()
    refused(api.post("sessions", body), status, code)
    refused(api.patch(f"sessions/{session.id}", body), status, code)
    assert rows() == before


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"temporary": False}, "unknown_field"),
        ({"temporary": True, "title": "x"}, "unknown_field"),
        ({"client_id": "c"}, "unknown_field"),
        ({"archived": "yes"}, "invalid"),
        ({"archived": 1}, "invalid"),
    ],
)
def test_a_bad_change_is_refused(api: Api, session: Session, body: Any, code: str) -> None:
    refused(api.patch(f"sessions/{session.id}", body), 400, code)


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_body_is_refused(api: Api, session: Session, raw: bytes) -> None:
    before = rows()
    refused(api.post("sessions", raw), 400, "invalid")
    refused(api.patch(f"sessions/{session.id}", raw), 400, "invalid")
    refused(api.post(f"sessions/{session.id}/messages", raw), 400, "invalid")
    assert rows() == before


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "nonsense",
    ],
)
def test_other_content_types_are_refused(api: Api, session: Session, content_type: str) -> None:
    response = api.post(f"sessions/{session.id}/messages", '{"text": "x"}', content_type=content_type)
    refused(response, 400, "invalid")


def test_a_form_is_refused_though_the_csrf_check_has_read_it(user: User) -> None:
    page = Client(enforce_csrf_checks=True)
    page.force_login(user)
    token = "t" * 32
    page.cookies[settings.CSRF_COOKIE_NAME] = token
    refused(page.post("/api/v1/sessions", {"title": "Mine"}, headers={"X-CSRFToken": token}), 400, "invalid")
    assert not Session.objects.exists()


@pytest.mark.parametrize("charset", ["hex", "rot13", "utf-16", "nonsense"])
def test_the_charset_of_json_is_always_utf8(api: Api, session: Session, charset: str) -> None:
    response = api.post(
        f"sessions/{session.id}/messages", '{"text": "é"}', content_type=f"application/json; charset={charset}"
    )
    assert response.status_code == 202
    assert response.json()["message"]["parts"][0]["text"] == "é"


def test_a_huge_body_is_refused_before_it_is_read(api: Api, session: Session) -> None:
    response = api.post(f"sessions/{session.id}/messages", '{"text": "' + "x" * 3_000_000 + '"}')
    refused(response, 413, "text_too_long")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "x"},
        {"limit": "9" * 5000},
        {"limit": "1_0"},
        {"limit": "-1"},
        {"archived": "perhaps"},
        {"search": "\x00"},
        {"search": "x" * 201},
        {"cursor": "nonsense"},
        {"cursor": "bnVsbA"},
        {"cursor": "WzEsMiwzXQ"},
        {"cursor": "WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAsIjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwIiwwXQ"},
        {"cursor": "é"},
        {"cursor": "x" * 10_000},
        {"cursor": "http://example.com/?cursor="},
    ],
)
def test_bad_parameters_of_the_list_are_refused(api: Api, session: Session, query: dict[str, Any]) -> None:
    refused(api.get("sessions", **query), 400, "invalid")


@pytest.mark.parametrize("name", ["before", "after", "limit"])
@pytest.mark.parametrize("value", ["x", "-1", "1.5", str(2**31), "9" * 5000, "\x00", "٣"])
def test_bad_bounds_are_refused(api: Api, session: Session, name: str, value: str) -> None:
    refused(api.get(f"sessions/{session.id}/messages", **{name: value}), 400, "invalid")


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("", {"wait": "x"}, 400),
        ("", {"wait": "-1"}, 400),
        ("", {"wait": "nan"}, 400),
        ("", {"wait": "9" * 5000}, 200),
        ("/events", {"wait": "inf", "after": "1"}, 200),
        ("/events", {"after": "x"}, 400),
        ("/events", {"after": "-1"}, 400),
        ("/events", {"after": "9" * 30}, 400),
        ("/events", {"after": str(2**31 - 1)}, 200),
        ("/stream", {"after": "x"}, 400),
    ],
)
@pytest.mark.django_db(transaction=True)
async def test_bad_parameters_of_what_waits_are_refused(
    async_client: AsyncClient, session: Session, make_turn: Any, path: str, query: dict[str, str], status: int
) -> None:
    turn = await db(make_turn, session, "completed")
    response = await async_client.get(f"/api/v1/turns/{turn.id}{path}", query)
    assert response.status_code == status
    if status == 400:
        refused(response, 400, "invalid")


@pytest.mark.django_db(transaction=True)
async def test_a_bad_last_event_id_is_refused(async_client: AsyncClient, session: Session, make_turn: Any) -> None:
    turn = await db(make_turn, session, "completed")
    response = await async_client.get(f"/api/v1/turns/{turn.id}/stream", headers={"Last-Event-ID": "abc"})
    refused(response, 400, "invalid")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid"),
        (b"[]", "invalid"),
        (b'{"turn": 7}', "invalid"),
        (b'{"turn": "a\\u0000"}', "invalid"),
        (b'{"turns": "x"}', "unknown_field"),
        (b"[" * 200_000, "invalid"),
    ],
)
@pytest.mark.django_db(transaction=True)
async def test_a_bad_cancel_is_refused(
    async_client: AsyncClient, session: Session, make_turn: Any, body: bytes, code: str
) -> None:
    turn = await db(make_turn, session)
    for path in (f"sessions/{session.id}/cancel", f"turns/{turn.id}/cancel"):
        response = await async_client.post(f"/api/v1/{path}", body, content_type="application/json")
        assert (response.status_code, response.json()["code"] in (code, "unknown_field")) == (400, True)
    assert (await db(Turn.objects.get, pk=turn.pk)).stop_requested_at is None


def test_fields_name_what_is_wrong(api: Api, session: Session) -> None:
    body = api.post(f"sessions/{session.id}/messages", {"text": "x", "context": {"url": 1}}).json()
    assert list(body["fields"]) == ["context.url"]
    body = api.post("sessions", json.dumps({"titel": "x"})).json()
    assert list(body["fields"]) == ["titel"]
