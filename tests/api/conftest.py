"""People with browsers, and rows made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import AsyncClient, Client
from django.utils import timezone

from copilot.models import Message, Session, Turn, TurnEvent, User
from tests.harness import make_session, session

__all__ = ["make_session", "session"]

Chunk = dict[str, Any]


class Api:
    """A person's REST calls; ``json`` in, responses out."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def call(self, method: str, path: str, body: Any = None, **extra: Any) -> Any:
        data = body if isinstance(body, (bytes, str)) else json.dumps(body) if body is not None else ""
        return self._client.generic(
            method, f"/api/v1/{path}", data, **{"content_type": "application/json", **extra}
        )

    def get(self, path: str, **query: Any) -> Any:
        return self._client.get(f"/api/v1/{path}", query)

    def post(self, path: str, body: Any = None, **extra: Any) -> Any:
        return self.call("POST", path, body, **extra)

    def patch(self, path: str, body: Any) -> Any:
        return self.call("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)


@pytest.fixture
def anonymous() -> Api:
    return Api(Client())


@pytest.fixture
def api(user: User) -> Api:
    """The calls of the person that a test is about."""
    client = Client()
    client.force_login(user)
    return Api(client)


@pytest.fixture
def other_api(other_user: User) -> Api:
    client = Client()
    client.force_login(other_user)
    return Api(client)


@pytest.fixture
def async_client(user: User) -> AsyncClient:
    """A client for the plain async views, logged in as the person that a test is about."""
    client = AsyncClient()
    client.force_login(user)
    return client


@pytest.fixture
def other_async_client(other_user: User) -> AsyncClient:
    client = AsyncClient()
    client.force_login(other_user)
    return client


@pytest.fixture
def make_turn() -> Callable[..., Turn]:
    """Return a function that makes turns in any state that the database accepts."""

    def make(session: Session, status: str = "queued", **over: Any) -> Turn:
        now = timezone.now()
        by_status: dict[str, dict[str, Any]] = {
            "running": {"worker": session.id, "heartbeat_at": now, "claimed_at": now, "started_at": now},
            "requires_action": {"action_id": session.id},
            "completed": {"finished_at": now, "outcome": "stop", "last_seq": 1},
            "failed": {"finished_at": now, "outcome": "quota", "last_seq": 1},
            "cancelled": {"finished_at": now, "outcome": "stopped", "last_seq": 1},
        }
        values = {"user_id": session.user_id, "model": "demo/demo", **by_status.get(status, {}), **over}
        turn = Turn.objects.create(session=session, status=status, **values)
        turn.refresh_from_db()
        return turn

    return make


@pytest.fixture
def make_message() -> Callable[..., Message]:
    """Return a function that appends messages to a session."""

    def make(session: Session, text: str = "hello", **over: Any) -> Message:
        session.refresh_from_db()
        session.accepted += 1
        queued = over.get("state") == "queued"
        values = {
            "role": "user",
            "state": "done",
            "number": session.accepted,
            "seq": None if queued else session.next_seq,
            "parent": None if queued else session.head or session.pk,
            "parts": [{"type": "text", "text": text}] if text else [],
            **over,
        }
        message = Message.objects.create(session=session, **values)
        if not queued:
            session.next_seq, session.head = session.next_seq + 1, message.pk
        session.save(update_fields=["accepted", "next_seq", "head"])
        return message

    return make


def append_events(turn: Turn, *chunks: Chunk) -> None:
    """Append chunks to a turn's log."""
    newest = TurnEvent.objects.filter(turn=turn).count()
    TurnEvent.objects.bulk_create(
        TurnEvent(turn=turn, seq=newest + number, chunk=chunk) for number, chunk in enumerate(chunks, 1)
    )


def end_turn(turn: Turn, *chunks: Chunk) -> None:
    """Append a turn's last chunks and end it."""
    append_events(turn, *chunks, {"type": "finish", "finishReason": "stop"})
    Turn.objects.filter(pk=turn.pk).update(
        status="completed",
        outcome="stop",
        finished_at=timezone.now(),
        last_seq=TurnEvent.objects.filter(turn=turn).count(),
        worker=None,
        heartbeat_at=None,
    )
