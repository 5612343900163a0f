"""A bot that is told at an address on this machine. The fixtures are imported by the tests that use them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from linking.bots import register_bot
from linking.models import Bot, WebhookDelivery
from linking.webhooks.registration import set_webhook

DOCS = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"


@dataclass
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """An address that answers with ``statuses``, the last of them for ever."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [204])
    received: list[Received] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [each.headers["webhook-id"] for each in self.received]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.received.append(Received(headers, body))
            status = made.statuses.pop(0) if len(made.statuses) > 1 else made.statuses[0]
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", made.url + "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Told:
    """A bot with its key, and the secret of its webhook."""

    bot: Bot
    key: str
    secret: str

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def deliveries(self) -> list[WebhookDelivery]:
        return list(WebhookDelivery.objects.filter(webhook__bot=self.bot).order_by("created_at", "pk"))


@pytest.fixture
def told(db: None, receiver: Receiver) -> Told:
    """A bot that is told at the receiver."""
    bot, key = register_bot(name="herald", platform="discord")
    secret = set_webhook(bot=bot, url=receiver.url).secret
    assert secret is not None
    return Told(bot, key, secret)


def documented_verify() -> Any:
    """Return the function that the documentation gives to receivers."""
    code = DOCS.read_text().split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(compile(code, str(DOCS), "exec"), scope)
    return scope["verify"]
