"""A body that is too large is refused before anything of it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from common import body_limit
from common.body_limit import BodyLimit

MOST = 10


class Kept:
    """An application that reads the body as Django does, and answers with its length."""

    def __init__(self) -> None:
        self.size = 0
        self.gave_up = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gave_up = True
                return
            self.size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


class Client:
    """Sends a body in pieces, and reads the answer."""

    def __init__(self, *pieces: bytes, length: int | None = None) -> None:
        self.scope = {"type": "http", "headers": [] if length is None else [(b"content-length", b"%d" % length)]}
        self.messages = self._messages(pieces)
        self.unread = len(pieces)
        self.answers: list[Any] = []

    def _messages(self, pieces: Iterable[bytes]) -> Any:
        for piece in pieces:
            self.unread -= 1
            yield {"type": "http.request", "body": piece, "more_body": self.unread > 0}
        while True:
            yield {"type": "http.disconnect"}

    async def receive(self) -> Any:
        return next(self.messages)

    async def send(self, message: Any) -> None:
        self.answers.append(message)

    @property
    def status(self) -> int:
        return int(self.answers[0]["status"])


async def ask(client: Client) -> Kept:
    kept = Kept()
    await BodyLimit(kept, most=MOST)(client.scope, client.receive, client.send)
    return kept


@pytest.mark.parametrize("length", [None, MOST], ids=["chunked", "declared"])
async def test_a_body_up_to_the_bound_passes(length: int | None) -> None:
    client = Client(b"12345", b"67890", length=length)
    kept = await ask(client)
    assert (client.status, kept.size) == (200, MOST)


async def test_a_declared_length_over_the_bound_is_refused_unread() -> None:
    client = Client(b"12345", b"67890", b"1", length=MOST + 1)
    kept = await ask(client)
    assert client.status == 413
    assert json.loads(client.answers[1]["body"])["code"] == "text_too_long"
    assert (kept.size, client.unread) == (0, 0)  # dropped, so that the client reads the answer


async def test_a_form_over_the_bound_has_too_large_a_file() -> None:
    client = Client(length=MOST + 1)
    client.scope["headers"].append((b"content-type", b"multipart/form-data; boundary=x"))
    await ask(client)
    assert json.loads(client.answers[1]["body"])["code"] == "file_too_large"


async def test_a_body_of_unknown_length_is_counted() -> None:
    client = Client(b"12345", b"67890", b"1", b"2", b"3")
    kept = await ask(client)
    assert client.status == 413
    assert kept.gave_up
    assert kept.size == MOST
    assert client.unread == 0
    assert len(client.answers) == 2


async def test_a_body_without_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit, "DROPPED_MAX", 100)
    client = Client(*[b"x" * 10] * 1000, length=10**30)
    await ask(client)
    assert client.status == 413
    assert client.unread > 900


async def test_a_client_that_leaves_is_no_error() -> None:
    client = Client(length=MOST + 1)
    await ask(client)
    assert client.status == 413
