"""Real workers, and a person who asks in the form of OpenAI's API."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.test import AsyncClient

from copilot.models import User
from tests.harness import PATIENCE, crew, hints

__all__ = ["crew", "hints"]

PATH = "/api/v1/openai/chat/completions"


class Asker:
    """Calls of one person."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    async def call(self, *said: str | dict[str, Any], headers: dict[str, str] | None = None, **fields: Any) -> Any:
        """Send a call and return the response. Texts are the user's and the assistant's, in turn."""
        messages = [
            each
            if isinstance(each, dict)
            else {"role": ("user", "assistant")[(len(said) - n) % 2], "content": each}
            for n, each in enumerate(said, 1)
        ]
        body = {"model": "demo/demo", "messages": messages, **fields}
        return await self.client.post(PATH, body, content_type="application/json", headers=headers or {})

    async def whole(self, *said: str | dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Return a whole answer."""
        async with asyncio.timeout(PATIENCE):
            response = await self.call(*said, **fields)
        assert response.status_code == 200, response.content
        answer: dict[str, Any] = response.json()
        return answer

    async def chunks(self, *said: str | dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
        """Return the chunks of a streamed answer, after making sure that it ends as it should."""
        response = await self.call(*said, stream=True, **fields)
        assert response.status_code == 200, response
        assert response["Content-Type"] == "text/event-stream"
        async with asyncio.timeout(PATIENCE):
            body = b"".join([piece async for piece in response.streaming_content]).decode()
        await asyncio.to_thread(response.close)
        blocks = [block for block in body.split("\n\n") if not block.startswith(":")]
        assert blocks[-2:] == ["data: [DONE]", ""]
        return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


@pytest.fixture
def asker(user: User) -> Asker:
    """The calls of the person that a test is about."""
    client = AsyncClient()
    client.force_login(user)
    return Asker(client)


def text_of(chunks: list[dict[str, Any]], field: str = "content") -> str:
    """Return what the chunks add up to."""
    return "".join(chunk["choices"][0]["delta"].get(field, "") for chunk in chunks if chunk["choices"])
