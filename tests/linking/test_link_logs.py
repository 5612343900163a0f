"""What is logged of linking: neither a platform's ids, nor tokens, codes and keys."""

from __future__ import annotations

import io
import logging

import pytest
from django.test import Client

from common.logs import LineFormatter
from tests.api.conftest import api
from tests.bots.places import STRANGER_ID, server
from tests.linking.conftest import SERVER_ID, USER_ID, wrong
from tests.linking.test_links_api import WISH

__all__ = ["api", "server"]

pytestmark = pytest.mark.django_db

OURS = ("common", "approvals", "copilot", "chat", "linking", "config")


@pytest.fixture
def log(monkeypatch):
    """Everything that the server would write at its most talkative."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter())
    logging.getLogger().addHandler(handler)
    for name in OURS:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
        logging.getLogger(name).manager._clear_cache()
    yield written
    logging.getLogger().removeHandler(handler)
    for name in OURS:
        logging.getLogger(name).manager._clear_cache()


def test_no_line_holds_an_id_a_token_a_code_or_a_key(log, api, bot_api, user):
    browser = Client()
    browser.force_login(user)
    secrets = [SERVER_ID, USER_ID, bot_api.secret]
    bot_api.post("links/resolve", {**WISH})  # unknown fields
    for wish in (WISH, WISH, {"kind": "user", "platform_id": USER_ID}):
        made = bot_api.post("link-tokens", wish).json()
        token, code = made["token"], made["code"]
        secrets += [token, code]
        confirmation = f"link-tokens/{token}/confirm"
        body = {"kind": wish["kind"], "code": code}
        for path in (f"/link/{token}", f"/link/{token}/", f"/api/v1/link-tokens/{token}."):
            browser.get(path)
            Client(enforce_csrf_checks=True).post(path)
            Client().put(path)
        api.post(confirmation, {**body, "code": wrong(code)})
        api.post(confirmation, {**body, "kind": "nothing"})
        api.post(confirmation, body)
        api.post(confirmation, body)
        Client().get(f"/api/v1/link-tokens/{token}")
        Client().get(f"/api/v1/bot/link-tokens/{token}", HTTP_AUTHORIZATION=f"Bearer {bot_api.secret}x")
        bot_api.get(f"link-tokens/{token}x")
        bot_api.post("link-tokens", {**wish, "kind": "nothing"})
        bot_api.post("link-tokens", wish)
        if wish is WISH:  # to be linked once more
            for link in api.get("links").json()["results"]:
                api.delete(f"links/{link['id']}")
    lines = log.getvalue()
    assert "/link-tokens/…" in lines  # there is something to look through
    assert [secret for secret in secrets if secret in lines] == []


def test_no_line_holds_what_is_said_where_and_by_whom(log, server, settings):
    settings.SEND_RATE = 4
    said = {"text": "some-words-of-somebody", "author": "Grace-Hopper", "thread_id": "plat-thr-77120"}
    told = [SERVER_ID, USER_ID, STRANGER_ID, server.api.secret, *said.values()]
    for identity in (USER_ID, STRANGER_ID):
        for kind in ("server", "user", "nothing"):
            server.post(**said, platform_user_id=identity, kind=kind, client_id="one")
    for _ in range(5):
        server.post(**said, client_id=None)
    server.api.get("approvals")
    server.api.post("approvals/x/decide", {"platform_user_id": STRANGER_ID})
    server.unlink()
    server.post(**said)
    lines = log.getvalue()
    assert "bot/turns" in lines, "the refusals at least"
    assert [each for each in told if each in lines] == []
