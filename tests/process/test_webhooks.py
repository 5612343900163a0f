"""Real servers tell a bot at its address, over the broker and after a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.linking.receiving import Receiver, documented_verify, receiver
from tests.process.servers import EmbeddedServer, ScaledStack, Stack, until

__all__ = ["receiver"]

pytestmark = pytest.mark.process
SECONDS = 20.0
LOCAL = {"WEBHOOK_LOCAL_ADDRESSES": "true"}


def call(stack: Stack, key: str, method: str, path: str, body: Any) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=f"{stack.url}/api/v1/", headers=headers, timeout=15, trust_env=False) as http:
        return http.request(method, path, json=body).json()


def ready_to_link(stack: Stack, receiver: Receiver) -> tuple[str, dict[str, str], str]:
    """Set a bot's webhook, and return the call that links something, and the webhook's secret."""
    bot = stack.manage("create_bot", "herald", "--platform", "discord").splitlines()[-1]
    secret = str(call(stack, bot, "PUT", "bot/webhook", {"url": receiver.url})["secret"])
    made = call(stack, bot, "POST", "bot/link-tokens", {"kind": "server", "platform_id": "kites"})
    return f"link-tokens/{made['token']}/confirm", {"kind": "server", "code": made["code"]}, secret


def check_told(receiver: Receiver, secret: str, link: str | None = None) -> None:
    until("a request", lambda: receiver.received, SECONDS)
    [request] = receiver.received
    body = json.loads(request.body)
    assert documented_verify()(request.headers, request.body, secret) == body["id"]
    assert (body["type"], body["data"]["platform_id"]) == ("link.made", "kites")
    assert link in (None, body["data"]["link"])


@pytest.mark.parametrize("kind", [EmbeddedServer, pytest.param(ScaledStack, marks=pytest.mark.scaled)])
def test_a_bot_is_told_at_its_address(data_dir: Path, kind: type[Stack], receiver: Receiver) -> None:
    with kind(data_dir, LOCAL) as stack:
        path, wish, secret = ready_to_link(stack, receiver)
        link = call(stack, stack.issue_key(), "POST", path, wish)
        check_told(receiver, secret, link["id"])
        stack.check_invariants()


def test_what_a_killed_server_did_not_tell_is_told_by_the_next(data_dir: Path, receiver: Receiver) -> None:
    # Killed right after the commit: nobody was told, neither a worker nor who asked for the link.
    fatal = {**LOCAL, "DEBUG": "true", "FAULT_POINTS": "webhook_recorded"}
    with EmbeddedServer(data_dir, fatal) as stack:
        path, wish, secret = ready_to_link(stack, receiver)
        key = stack.issue_key()
        with pytest.raises(httpx2.TransportError):
            call(stack, key, "POST", path, wish)
        until("the end", lambda: not stack.server.alive, SECONDS)
        assert not receiver.received
        del stack.env["FAULT_POINTS"]
        stack.restart()
        check_told(receiver, secret)
