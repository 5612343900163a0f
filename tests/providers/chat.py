"""Chat completions as servers stream them, and what the provider makes of them."""

from __future__ import annotations

from typing import Any

from copilot.providers.openai import OpenAIProvider
from tests.providers.answers import Answer, ask, collect
from tests.providers.server import Reply, serve, split


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    """Return one chunk of a stream."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "choices": [choice], **more}


def call(arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """Return the delta of a tool call."""
    name = fields.pop("name", None)
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"tool_calls": [{**fields, "type": "function", "function": function}]}


async def answer_to(body: bytes, size: int = 0, **fields: Any) -> Answer:
    """Return what the provider makes of a stream, sent in pieces of ``size`` bytes, or whole."""
    async with serve(Reply(split(body, size))) as server:
        provider = OpenAIProvider(api_key="sk-test-0123456789", base_url=f"{server.url}/v1")
        return await collect(provider.stream(ask(**fields)))
