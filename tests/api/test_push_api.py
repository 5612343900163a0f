"""Subscribing a browser: for people and their keys, and never to a place that is not public."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from approvals.models import PushSubscription
from approvals.reach.subscriptions import SUBSCRIPTIONS_MAX
from copilot.models import User
from linking.keys import issue_key
from tests.api.conftest import Api
from tests.approvals.reaching import Browser, keys_set

__all__ = ["keys_set"]

pytestmark = pytest.mark.django_db

SUBSCRIPTIONS = "push/subscriptions"


def wish(browser: Browser) -> dict[str, Any]:
    return {"endpoint": browser.endpoint, "keys": browser.keys}


def test_what_this_server_can_do(api: Api, user: User, settings: Settings, keys_set: str) -> None:
    assert api.get("push").json() == {"public_key": keys_set, "email": False}
    settings.EMAIL_ENABLED = True
    assert api.get("push").json()["email"] is False  # where to?
    User.objects.filter(pk=user.pk).update(email="ada@example.org")
    assert api.get("push").json()["email"] is True
    settings.VAPID_PRIVATE_KEY = ""
    assert api.get("push").json()["public_key"] is None


@pytest.mark.usefixtures("keys_set")
def test_a_browser_is_subscribed_once(api: Api) -> None:
    browser = Browser("one")
    first = api.post(SUBSCRIPTIONS, wish(browser), headers={"user-agent": "Firefox/144.0"})
    assert first.status_code == 201
    assert first.json().keys() == {"id", "label", "created_at"}
    assert first.json()["label"] == "Firefox/144.0"
    PushSubscription.objects.update(failures=9)
    again = api.post(SUBSCRIPTIONS, wish(browser))
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert PushSubscription.objects.get().failures == 0


@pytest.mark.usefixtures("keys_set")
def test_a_browser_is_told_no_more(api: Api, other_api: Api) -> None:
    one = api.post(SUBSCRIPTIONS, wish(Browser("one"))).json()["id"]
    for theirs, unknown in ((other_api, one), (api, uuid.uuid4()), (api, "nothing"), (api, "%00")):
        response = theirs.delete(f"{SUBSCRIPTIONS}/{unknown}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert api.delete(f"{SUBSCRIPTIONS}/{one}").status_code == 204
    assert not PushSubscription.objects.exists()


@pytest.mark.usefixtures("keys_set")
def test_a_browser_tells_whoever_uses_it_now(api: Api, other_api: Api, other_user: User) -> None:
    browser = Browser("one")
    api.post(SUBSCRIPTIONS, wish(browser))
    assert other_api.post(SUBSCRIPTIONS, wish(browser)).status_code == 201
    assert PushSubscription.objects.get().user == other_user


@pytest.mark.usefixtures("keys_set")
def test_an_address_alone_takes_no_browser_from_anybody(api: Api, other_api: Api, user: User) -> None:
    api.post(SUBSCRIPTIONS, wish(Browser("one")))
    response = other_api.post(SUBSCRIPTIONS, wish(Browser("one")))  # the same address, other keys
    assert (response.status_code, response.json()["code"]) == (400, "invalid")
    assert PushSubscription.objects.get().user == user


@pytest.mark.usefixtures("keys_set")
def test_the_oldest_browser_goes_for_one_too_many(api: Api, other_api: Api) -> None:
    other_api.post(SUBSCRIPTIONS, wish(Browser("theirs")))
    for number in range(SUBSCRIPTIONS_MAX + 2):
        assert api.post(SUBSCRIPTIONS, wish(Browser(f"{number}"))).status_code == 201
    kept = {row.endpoint.rsplit("/", 1)[-1] for row in PushSubscription.objects.all()}
    assert kept == {"theirs", *(str(number) for number in range(2, SUBSCRIPTIONS_MAX + 2))}


GOOD = Browser("good").keys


@pytest.mark.usefixtures("keys_set")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"endpoint": "https://push.example.org/x"}, "invalid"),
        ({"endpoint": "https://push.example.org/x", "keys": {"auth": GOOD["auth"]}}, "invalid"),
        ({"endpoint": "https://push.example.org/x", "keys": {**GOOD, "auth": "AAAA"}}, "invalid"),
        ({"endpoint": "https://push.example.org/x", "keys": {**GOOD, "p256dh": "AAAA"}}, "invalid"),
        ({"endpoint": "https://push.example.org/x", "keys": {**GOOD, "more": "x"}}, "unknown_field"),
        ({"endpoint": "https://push.example.org/x", "keys": GOOD, "user": "x"}, "unknown_field"),
        ({"endpoint": "http://push.example.org/x", "keys": GOOD}, "invalid"),
        ({"endpoint": "https://push.example.org:8443/x", "keys": GOOD}, "invalid"),
        ({"endpoint": "https://127.0.0.1/x", "keys": GOOD}, "invalid"),
        ({"endpoint": "https://169.254.169.254/x", "keys": GOOD}, "invalid"),
        ({"endpoint": "https://[::ffff:10.0.0.1]/x", "keys": GOOD}, "invalid"),
        ({"endpoint": "https://push.example.org/" + "x" * 2000, "keys": GOOD}, "invalid"),
        ({"endpoint": "https://push.example.org/\0", "keys": GOOD}, "invalid"),
    ],
)
def test_what_is_no_subscription_is_refused(api: Api, body: dict[str, Any], code: str) -> None:
    response = api.post(SUBSCRIPTIONS, body)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert not PushSubscription.objects.exists()


def test_where_nothing_is_sent_nobody_subscribes(api: Api) -> None:
    response = api.post(SUBSCRIPTIONS, wish(Browser("one")))
    assert (response.status_code, response.json()["code"]) == (400, "invalid")


@pytest.mark.usefixtures("keys_set")
def test_keys_need_the_scope_for_chat(user: User) -> None:
    for scope, status in (("chat", 200), ("approve", 403)):
        _, secret = issue_key(user=user, label="", scopes=[scope])
        headers = {"Authorization": f"Bearer {secret}"}
        assert Client().get("/api/v1/push", headers=headers).status_code == status


def test_nobody_gets_nothing(anonymous: Api) -> None:
    for method, path in (("GET", "push"), ("POST", SUBSCRIPTIONS), ("DELETE", f"{SUBSCRIPTIONS}/x")):
        response = anonymous.call(method, path)
        assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


def test_a_page_needs_the_csrf_token(user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    response = Api(client).post(SUBSCRIPTIONS, wish(Browser("one")))
    assert (response.status_code, response.json()["code"]) == (403, "csrf")


def test_the_api_document_has_it_with_examples(client: Client) -> None:
    paths = client.get("/api/v1/schema").json()["paths"]
    operations = {
        (path, method): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
        if path.startswith("/api/v1/push")
    }
    assert {(path.removeprefix("/api/v1/"), method) for path, method in operations} == {
        ("push", "get"),
        (SUBSCRIPTIONS, "post"),
        (f"{SUBSCRIPTIONS}/{{subscription_id}}", "delete"),
    }
    for operation in operations.values():
        assert operation["summary"]
        for status, response in operation["responses"].items():
            assert status == "204" or response["content"]["application/json"]["examples"]


def test_the_service_worker_is_at_the_root(client: Client) -> None:
    response = client.get("/sw.js")
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/javascript")
    assert response["Cache-Control"] == "no-cache"
    assert b"showNotification" in response.content
    assert "worker-src 'self'" in client.get("/login/")["Content-Security-Policy"]
    assert client.post("/sw.js").status_code == 405
