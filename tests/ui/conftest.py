"""A front end's calls, as its wire has them; turns are run by real workers."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any
from urllib.parse import quote

import pytest
from django.test import AsyncClient

from copilot.models import User
from tests.approvals.asking import people
from tests.harness import PATIENCE, Crew, crew, hints

__all__ = ["crew", "hints", "people"]

Chunk = dict[str, Any]


class Answer:
    """A response: its status, and its body as JSON or as the chunks of a stream, without comments."""

    def __init__(self, response: Any, body: bytes) -> None:
        self.status: int = response.status_code
        self.headers = response.headers
        self.body = body.decode()
        self.chunks: list[Chunk] = []
        if self.headers.get("Content-Type") == "text/event-stream":
            *events, done, rest = [event for event in self.body.split("\n\n") if not event.startswith(":")]
            assert (done, rest) == ("data: [DONE]", "")
            self.chunks = [json.loads(event.removeprefix("data: ")) for event in events]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kinds(self) -> list[str]:
        """The types of the chunks, without news that every turn may have."""
        return [chunk["type"] for chunk in self.chunks if not chunk["type"].startswith("data-")]

    def of(self, kind: str) -> list[Chunk]:
        """Return the chunks of this type."""
        return [chunk for chunk in self.chunks if chunk["type"] == kind]

    @property
    def text(self) -> str:
        return "".join(chunk["delta"] for chunk in self.of("text-delta"))

    @property
    def message_id(self) -> str:
        assert self.chunks[0]["type"] == "start"
        return str(self.chunks[0]["messageId"])


class Front:
    """A front end: it knows the calls of a chat, and keeps nothing."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    async def call(self, body: Any, query: str = "", **extra: Any) -> Answer:
        """``POST ui/chat`` and read the whole answer."""
        response = await self.client.post(
            f"/api/v1/ui/chat{query}", data=body, content_type="application/json", **extra
        )
        return await read(response)

    async def say(self, chat: str, text: str, *, query: str = "", **over: Any) -> Answer:
        """Send a message as ``sendMessage`` does."""
        return await self.call(saying(chat, text, **over), query)

    async def resume(self, chat: str, query: str = "") -> Answer:
        """``GET ui/chat/{id}/stream``, read to its end."""
        path = f"/api/v1/ui/chat/{quote(chat, safe='')}/stream{query}"
        return await read(await self.client.get(path))

    async def stop(self, chat: str) -> Answer:
        path = f"/api/v1/ui/chat/{quote(chat, safe='')}/stop"
        return await read(await self.client.post(path, content_type="application/json"))


def saying(chat: str, text: str, *, message_id: str = "", files: Any = (), **over: Any) -> Any:
    """Return the body with which a new message is sent."""
    parts = [*files, {"type": "text", "text": text}]
    message = {"id": message_id or uuid.uuid4().hex, "role": "user", "parts": parts}
    return {"id": chat, "messages": [message], "trigger": "submit-message", **over}


def answering(chat: str, message_id: str, *parts: Any) -> Any:
    """Return the body with which an assistant's message with these parts is sent back."""
    message = {"id": message_id, "role": "assistant", "parts": [{"type": "step-start"}, *parts]}
    return {"id": chat, "messages": [message], "trigger": "submit-message", "messageId": message_id}


def responded(request: Chunk, approved: Any, **over: Any) -> Any:
    """Return a call's part once a person answered its ``tool-approval-request``."""
    return {
        "type": "dynamic-tool",
        "toolName": "demo_note",
        "toolCallId": request["toolCallId"],
        "state": "approval-responded",
        "input": {},
        "approval": {"id": request["approvalId"], "approved": approved, **over},
    }


async def read(response: Any) -> Answer:
    """Read a response to its end."""
    if not response.streaming:
        return Answer(response, response.content)
    async with asyncio.timeout(PATIENCE):
        return Answer(response, b"".join([piece async for piece in response.streaming_content]))


@pytest.fixture
async def worker(crew: Crew) -> Crew:
    """Somebody who runs turns."""
    await crew.hire()
    return crew


@pytest.fixture
def front(user: User) -> Front:
    """The front end of the person that a test is about."""
    return _front(user)


@pytest.fixture
def other_front(other_user: User) -> Front:
    return _front(other_user)


def _front(user: User) -> Front:
    client = AsyncClient()
    client.force_login(user)
    return Front(client)
