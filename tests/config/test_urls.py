"""What stands at the root: health, API document, and errors that no view worded."""

from __future__ import annotations

import logging

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.test import Client, override_settings
from django.urls import path

import config.urls
from config import health


def break_down(request):
    raise ZeroDivisionError


urlpatterns = [path("api/v1/broken", break_down), path("broken", break_down), *config.urls.urlpatterns]
handler400, handler403 = config.urls.handler400, config.urls.handler403
handler404, handler500 = config.urls.handler404, config.urls.handler500


@pytest.fixture
def _unready(monkeypatch):
    def fail():
        raise OperationalError("no such host")

    monkeypatch.setattr(get_user_model()._default_manager, "exists", fail)


async def test_health_asks_nothing_of_the_database(async_client):
    answer = await async_client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok")


@pytest.mark.django_db(transaction=True)
def test_ready_when_the_database_answers(client):
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True})


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_unready")
def test_reasons_are_for_this_host_and_staff_only(client, make_user):
    logging.disable(logging.WARNING)
    try:
        here = client.get("/readyz")
        assert (here.status_code, "no such host" in here.json()["problems"]["database"]) == (503, True)
        for headers in ({"REMOTE_ADDR": "192.0.2.7"}, {"HTTP_X_FORWARDED_FOR": "192.0.2.7"}, {"REMOTE_ADDR": ""}):
            assert client.get("/readyz", **headers).json() == {"ready": False}
        client.force_login(make_user(is_staff=True))
        assert "problems" in client.get("/readyz", REMOTE_ADDR="192.0.2.7").json()
    finally:
        logging.disable(logging.NOTSET)


def test_loopback_is_recognised(rf):
    for address, expected in {"127.0.0.1": True, "127.9.9.9": True, "::1": True, "10.0.0.1": False}.items():
        assert health.is_loopback(rf.get("/", REMOTE_ADDR=address)) is expected


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
@pytest.mark.parametrize(
    "url", ["/api", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/me/", "/api/v1/bot/nothing", "/api/v2/me"]
)
def test_an_unknown_api_path_is_not_found_in_json(url, method, debug):
    with override_settings(DEBUG=debug):
        answer = getattr(Client(enforce_csrf_checks=True), method)(url)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.urls(__name__)
def test_a_bug_is_json_under_the_api_and_a_page_elsewhere():
    client = Client(raise_request_exception=False)
    answer = client.get("/api/v1/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert client.get("/broken")["Content-Type"].startswith("text/html")


@pytest.mark.urls(__name__)
def test_a_host_that_is_not_ours_is_refused_in_json(settings):
    settings.ALLOWED_HOSTS = ["holdfast.example"]
    client = Client(headers={"host": "evil.example"})
    answer = client.get("/api/v1/me")
    assert answer.status_code == 400


def test_the_api_document_names_our_ways_to_authenticate(client):
    document = client.get("/api/v1/schema").json()
    assert set(document["components"]["securitySchemes"]) >= {"key", "session"}
    assert {"/api/v1/me", "/api/v1/keys", "/api/v1/keys/{key_id}"} <= set(document["paths"])
    assert "yaml" not in client.get("/api/v1/schema")["Content-Type"]


def test_the_api_page_loads_nothing_from_elsewhere(client):
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    policy = page["Content-Security-Policy"]
    assert "script-src 'self';" in policy + ";"
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert "https://" not in page.content.decode()
    script = client.get("/api/v1/docs?script=")
    assert script.status_code == 200
    assert "unsafe-inline" not in client.get("/login/")["Content-Security-Policy"]
