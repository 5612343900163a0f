"""Asking aside, and a model that says what it is told.

Fixtures for those that import them: ``session``, ``says``; ``at_once`` and ``nobody_is_left`` apply by themselves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from django.test import AsyncClient

from common.db import db
from copilot.agent import aside as asides
from copilot.agent import asking
from copilot.diagnostics import invariants
from copilot.events.fold import Transcript
from copilot.models import (
    Message,
    Session,
    Step,
    ToolCall,
    Turn,
    TurnEvent,
    TurnLog,
    User,
)
from copilot.providers.base import (
    ModelRequest,
    StreamPart,
)
from tests.factories import make_running
from tests.factories import make_session as make

PATIENCE = 20.0
#: Everything that a session consists of.
TABLES = (Session, Message, Turn, Step, ToolCall, TurnEvent, TurnLog)


@pytest.fixture
def session(user: User) -> Session:
    """A session with a question and its answer."""
    made = make(user, instructions="Be brief.")
    make_running(made, "What is the capital of France?").answer("Paris.")
    made.refresh_from_db()
    return made


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting."""
    monkeypatch.setattr(asking, "BACKOFF_SECONDS", 0.0)


@pytest.fixture(autouse=True)
async def nobody_is_left(at_once: None) -> AsyncIterator[None]:
    """However an answer ended, its person's place is free again."""
    asides._under_way.clear()
    yield
    await no_place_taken()


async def no_place_taken() -> None:
    """Wait until no answer is under way."""
    async with asyncio.timeout(PATIENCE):
        while asides._under_way:  # noqa: ASYNC110 - there is nothing that tells of it
            await asyncio.sleep(0.01)


class Scripted:
    """A model that says what it is told; ``requests`` has what it was asked."""

    def __init__(self, *answers: list[StreamPart | Exception | float]) -> None:
        self._answers: Iterator[list[StreamPart | Exception | float]] = iter(answers)
        self.requests: list[ModelRequest] = []
        self.streaming = asyncio.Event()
        self.closed = asyncio.Event()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        self.requests.append(request)
        try:
            for part in next(self._answers):
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, float):
                    self.streaming.set()
                    await asyncio.sleep(part)
                else:
                    yield part
        finally:
            self.closed.set()


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scripted]:
    """Return a function that has the model say so in the calls to come."""

    def say(*answers: list[StreamPart | Exception | float]) -> Scripted:
        model = Scripted(*answers)
        monkeypatch.setattr(asides, "provider_of", lambda name: (model, name))
        return model

    return say


def rows() -> dict[str, list[Any]]:
    """Return all that is stored of sessions."""
    return {table.__name__: list(table.objects.order_by("pk").values()) for table in TABLES}


async def ask(client: AsyncClient, session: Session, text: str, **extra: Any) -> Any:
    """Ask a side question; return the response."""
    return await client.post(
        f"/api/v1/sessions/{session.id}/aside", {"text": text}, content_type="application/json", **extra
    )


async def body_of(response: Any) -> str:
    """Read a stream to its end."""
    async with asyncio.timeout(PATIENCE):
        return b"".join([piece async for piece in response.streaming_content]).decode()


def chunks_of(body: str) -> list[dict[str, Any]]:
    """Return the chunks of a whole stream, after making sure that it is one."""
    blocks = body.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks[:-1] if block[0] != ":")
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks[:-2] if block[0] != ":"]
    terminal = [chunk["type"] for chunk in chunks if chunk["type"] in ("finish", "error", "abort")]
    assert len(terminal) == 1, terminal
    assert chunks[-1]["type"] == terminal[0]
    assert chunks[0]["type"] == "start"
    kinds = [chunk["type"] for chunk in chunks]
    for kind in ("text", "reasoning"):
        assert kinds.count(f"{kind}-start") == kinds.count(f"{kind}-end")
    assert kinds.count("start-step") - kinds.count("finish-step") in (0, 1)
    assert not any(kind.startswith("tool-") for kind in kinds)
    return chunks


async def answer(client: AsyncClient, session: Session, text: str) -> list[dict[str, Any]]:
    """Ask a side question and return the chunks of its answer, after making sure that the session is as before."""
    before = await db(rows)
    response = await ask(client, session, text)
    assert response.status_code == 200, response.content
    chunks = chunks_of(await body_of(response))
    assert await db(rows) == before
    assert await db(invariants.check) == []
    return chunks


def text_of(chunks: list[dict[str, Any]]) -> str:
    """What the reader has seen."""
    return Transcript.of(list(enumerate(chunks, 1))).text
