"""REST: keys and me, for owner, outsider and anonymous."""

from __future__ import annotations

import pytest
from django.test import Client

from linking.keys import issue_key
from linking.models import PersonalKey

pytestmark = pytest.mark.django_db


def bearer(secret: str) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


@pytest.fixture
def logged_in(user):
    client = Client()
    client.force_login(user)
    return client


def test_me_by_session_and_by_key(client, logged_in, user):
    _, secret = issue_key(user=user, scopes=["chat"])
    expected = {
        "id": str(user.pk),
        "username": "ada",
        "scopes": None,
        "staff": False,
        "timezone": "",
        "tier": 1,
        "instructions": "",
    }
    assert logged_in.get("/api/v1/me").json() == expected
    assert client.get("/api/v1/me", **bearer(secret)).json() == {**expected, "scopes": ["chat"]}


def test_any_key_may_ask_whose_it_is_but_change_nothing(client, user):
    _, secret = issue_key(user=user, scopes=["approve"])
    assert client.get("/api/v1/me", **bearer(secret)).status_code == 200
    answer = client.patch("/api/v1/me", {"timezone": "UTC"}, content_type="application/json", **bearer(secret))
    assert (answer.status_code, answer.json()["code"]) == (403, "scope")


def test_the_time_zone_can_be_set_and_unset(logged_in, user):
    for zone in ("Europe/Paris", ""):
        answer = logged_in.patch("/api/v1/me", {"timezone": zone}, content_type="application/json")
        assert (answer.status_code, answer.json()["timezone"]) == (200, zone)
        user.refresh_from_db()
        assert user.time_zone == zone


def test_instructions_can_be_set_and_unset(logged_in, user):
    for text in ("Answer in French.\n", ""):
        answer = logged_in.patch("/api/v1/me", {"instructions": text}, content_type="application/json")
        assert (answer.status_code, answer.json()["instructions"]) == (200, text)
        user.refresh_from_db()
        assert (user.instructions, user.time_zone) == (text, "")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"instructions": null}', "invalid"),
        ('{"instructions": ["x"]}', "invalid"),
        ('{"instructions": "' + "x" * 20_001 + '"}', "invalid"),
        ('{"instructions": "x", "timezone": "Mars/Olympus"}', "invalid"),
        ('{"timezone": "Mars/Olympus"}', "invalid"),
        ('{"timezone": "../etc/passwd"}', "invalid"),
        ('{"timezone": "America"}', "invalid"),
        ('{"timezone": 5, "x": 1}', "unknown_field"),
        ('{"timezone": null}', "invalid"),
        ('{"username": "root"}', "unknown_field"),
        ('{"\\ud800": 1}', "invalid"),
        ('["timezone"]', "invalid"),
        ("{", "invalid"),
        ('{"timezone": NaN}', "invalid"),
        ("[" * 100_000, "invalid"),
    ],
)
def test_a_bad_change_of_me_is_refused_and_changes_nothing(logged_in, user, body, code):
    answer = logged_in.patch("/api/v1/me", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["detail"]
    user.refresh_from_db()
    assert (user.time_zone, user.instructions, user.username) == ("", "", "ada")


@pytest.mark.parametrize(
    ("method", "path", "body", "fields"),
    [
        ("PATCH", "me", '{"x": 1}', {"x": "There is no such field here."}),
        ("PATCH", "me", '{"timezone": null}', {"timezone": "This field may not be null."}),
        ("POST", "keys", '{"scopes": ["chat", {}]}', {"scopes.1": "Not a valid string."}),
    ],
)
def test_refusals_are_worded_as_everywhere(logged_in, method, path, body, fields):
    """As ``tests/api`` has it: the first problem is the sentence, and each field has one of its own."""
    answer = logged_in.generic(method, f"/api/v1/{path}", body, content_type="application/json").json()
    [(name, problem)] = fields.items()
    assert (answer["detail"], answer["fields"]) == (f"{name}: {problem}", fields)


def test_a_huge_body_is_refused(logged_in):
    answer = logged_in.generic(
        "POST", "/api/v1/keys", '{"label": "' + "x" * 3_000_000 + '"}', content_type="application/json"
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "text_too_long")
    assert not PersonalKey.objects.exists()


def test_a_key_is_created_shown_once_listed_and_revoked(client, logged_in):
    made = logged_in.post(
        "/api/v1/keys", {"label": "nightly", "scopes": ["chat"]}, content_type="application/json"
    )
    assert made.status_code == 201
    secret, key_id = made.json()["key"], made.json()["id"]
    assert made.json()["scopes"] == ["chat"]
    assert client.get("/api/v1/me", **bearer(secret)).status_code == 200
    listed = logged_in.get("/api/v1/keys")
    assert [key["id"] for key in listed.json()["results"]] == [key_id]
    assert secret not in listed.content.decode()
    assert logged_in.delete(f"/api/v1/keys/{key_id}").status_code == 204
    assert client.get("/api/v1/me", **bearer(secret)).status_code == 401
    assert logged_in.get("/api/v1/keys").json()["results"] == []
    assert logged_in.delete(f"/api/v1/keys/{key_id}").status_code == 404


def test_a_key_can_be_created_without_a_body(logged_in):
    made = logged_in.generic("POST", "/api/v1/keys")
    assert made.status_code == 201
    assert made.json()["scopes"] == ["chat", "approve"]
    assert made.json()["label"] == ""


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"scopes": ["chat", "root"]}, 400, "invalid"),
        ({"scopes": []}, 400, "invalid"),
        ({"scopes": "chat"}, 400, "invalid"),
        ({"scopes": [{}]}, 400, "invalid"),
        ({"scopes": None}, 400, "invalid"),
        ({"label": "x" * 101}, 400, "invalid"),
        ({"lable": "typo"}, 400, "unknown_field"),
        ({"scopes": ["operator"]}, 403, "scope"),
    ],
)
def test_a_bad_wish_for_a_key_is_refused(logged_in, body, status, code):
    answer = logged_in.post("/api/v1/keys", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not PersonalKey.objects.exists()


def test_a_key_makes_no_key_that_may_do_more(client, user):
    _, secret = issue_key(user=user, scopes=["chat"])
    more = {"scopes": ["chat", "approve"]}
    answer = client.post("/api/v1/keys", more, content_type="application/json", **bearer(secret))
    assert (answer.status_code, answer.json()["code"]) == (403, "scope")
    same = client.generic("POST", "/api/v1/keys", **bearer(secret))
    assert same.json()["scopes"] == ["chat"]


def test_an_outsider_neither_sees_nor_revokes_a_key(user, other_user):
    key, _ = issue_key(user=user)
    outsider = Client()
    outsider.force_login(other_user)
    assert outsider.get("/api/v1/keys").json()["results"] == []
    answer = outsider.delete(f"/api/v1/keys/{key.pk}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    key.refresh_from_db()
    assert key.revoked_at is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/v1/me"),
        ("patch", "/api/v1/me"),
        ("get", "/api/v1/keys"),
        ("post", "/api/v1/keys"),
        ("delete", "/api/v1/keys/019a9d5e-5b0c-7c51-9f3a-2f6f0d1c7a11"),
    ],
)
def test_nobody_is_let_in_without_a_key_or_session(client, method, path):
    answer = getattr(client, method)(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == "Bearer"


def test_malformed_ids_are_not_found(logged_in):
    answer = logged_in.delete("/api/v1/keys/not-an-id")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
