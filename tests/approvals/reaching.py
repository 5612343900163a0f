"""People who can be reached, decisions that wait for them, and what stands for a push service.

Fixtures, imported by the tests that use them: ``service`` and ``keys_set``.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.utils import timezone
from pytest_django import Settings

from approvals.models import Action, PushSubscription
from approvals.reach import due, push, webpush
from approvals.reach.subscriptions import subscribe
from copilot.models import User

SUBJECT = "mailto:operator@example.org"


def make_action(user: User, *names: str, age: float = 60, left: float = 3600, **over: Any) -> Action:
    """Create an action that has waited for ``age`` seconds, about one call of each of these tools."""
    now = timezone.now()
    requests = [
        {"tool_call_id": str(uuid.uuid4()), "name": name, "arguments": {"command": "cat /etc/very-private"}}
        for name in names or ("shell",)
    ]
    values = {
        "user": user,
        "session": uuid.uuid4(),
        "turn": uuid.uuid4(),
        "requests": requests,
        "created_at": now - timedelta(seconds=age),
        "expires_at": now + timedelta(seconds=left),
        **over,
    }
    return Action.objects.create(**values)


def read_action(action: Action) -> Action:
    """Read an action as those do who tell of it."""
    return Action.objects.with_time().select_related("user").get(pk=action.pk)


def is_reached(action: Action) -> bool:
    """Whether the action is settled as far as telling goes."""
    return Action.objects.get(pk=action.pk).reached_at is not None


def pass_and_wait() -> int:
    """Make one pass and wait for what it began."""
    found = due.reach_due()
    assert due.finish_reaching(20)
    return found


# --- a browser and its push service ---------------------------------------------------------


@dataclass
class Received:
    """A request to the push service."""

    path: str
    headers: dict[str, str]
    body: bytes


class Browser:
    """A browser's half of a subscription: it reads what it is sent by the letter of the standards."""

    def __init__(self, name: str) -> None:
        self.endpoint = f"https://push.example.org/send/{name}"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._secret = os.urandom(16)

    @property
    def keys(self) -> dict[str, str]:
        return {
            "p256dh": webpush.base64url(webpush.point(self._key.public_key())),
            "auth": webpush.base64url(self._secret),
        }

    def subscribe(self, user: User) -> PushSubscription:
        return subscribe(user=user, endpoint=self.endpoint, **self.keys)[0]

    def read(self, received: Received) -> dict[str, Any]:
        """Decrypt a message; it fails unless it was made for this browser."""
        salt, size, length = received.body[:16], received.body[16:20], received.body[20]
        assert int.from_bytes(size, "big") >= len(received.body) - 21 - length
        sender, sealed = received.body[21 : 21 + length], received.body[21 + length :]
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        own = webpush.point(self._key.public_key())
        ikm = derive(self._key.exchange(ec.ECDH(), public), self._secret, b"WebPush: info\0" + own + sender, 32)
        key = derive(ikm, salt, b"Content-Encoding: aes128gcm\0", 16)
        nonce = derive(ikm, salt, b"Content-Encoding: nonce\0", 12)
        text = AESGCM(key).decrypt(nonce, sealed, None)
        assert text.rstrip(b"\0")[-1] == 2  # the last record
        message: dict[str, Any] = json.loads(text.rstrip(b"\0")[:-1])
        return message


def derive(material: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(material)


def claims_of(authorization: str) -> dict[str, Any]:
    """Check who signed, as a push service does, and return what was signed."""
    fields = dict(part.strip().split("=", 1) for part in authorization.removeprefix("vapid ").split(","))
    head, claims, signature = fields["t"].split(".")
    raw = webpush.unbase64(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), webpush.unbase64(fields["k"]))
    key.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"typ": "JWT", "alg": "ES256"}
    signed: dict[str, Any] = json.loads(webpush.unbase64(claims))
    return signed


@dataclass
class PushService:
    """Stands for the push services of the browsers; ``statuses`` by name of a browser, else 201."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)

    def of(self, browser: Browser) -> list[Received]:
        """Return what this browser was sent."""
        return [each for each in self.received if browser.endpoint.endswith(each.path)]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[PushService]:
    """A push service on this machine, to which all messages go."""
    made = PushService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.received.append(Received(self.path, dict(self.headers), body))
            self.send_response(made.statuses.get(self.path.rsplit("/", 1)[-1], 201))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
        path = url.removeprefix("https://push.example.org")
        async with aiohttp.ClientSession() as session:
            async with session.post(made.url + path, data=body, headers=headers) as response:
                return response.status

    monkeypatch.setattr(push, "post", post)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def keys_set(settings: Settings) -> str:
    """Keys for web push; the public one."""
    settings.VAPID_PRIVATE_KEY, public = webpush.new_keys()
    settings.VAPID_PUBLIC_KEY, settings.VAPID_SUBJECT = public, SUBJECT
    return public
