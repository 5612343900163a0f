"""The Messages API, of Anthropic and of servers that speak it."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from anthropic import AnthropicError, AsyncAnthropic, DefaultAioHttpClient

from copilot.providers.anthropic_fold import MessagesFold
from copilot.providers.base import (
    ImagePart,
    ModelMessage,
    ModelRequest,
    Part,
    ReasoningPart,
    StreamPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from copilot.providers.transport import IDLE_SECONDS, http_client, http_timeout, pooled, stream_answer
from copilot.providers.wire import ToolNames, clean_name, object_schema, with_distinct_calls

_OFFICIAL = "https://api.anthropic.com"
#: How long the parts that stay the same are kept by the provider, and what it is told.
CACHES: dict[str, dict[str, Any]] = {
    "5m": {"cache_control": {"type": "ephemeral"}},
    "1h": {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
    "off": {},
}
_MAX_OUTPUT = 8192
#: What every model that takes a budget of thinking can put out.
_MOST_OUTPUT = 32_000
_BUDGETS = {"low": 2048, "medium": 8192, "high": 24576}
_THOUGHTS = ("thinking", "redacted_thinking")
#: Versions that think when asked to, and those that take an effort: later ones refuse a budget of tokens.
_FIRST_TO_THINK = (3, 7)
_FIRST_ADAPTIVE = (4, 6)
_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2})(?!\d))?")


class AnthropicProvider:
    """A server that speaks the Messages API.

    Args:
        api_key: the key; a server that needs none takes any text.
        base_url: without ``/v1``; empty for Anthropic itself.
        cache: how long system prompt and tools are cached: ``5m``, ``1h`` or ``off``.
        idle_seconds: silence after which a stream counts as dead.
    """

    def __init__(
        self, *, api_key: str, base_url: str = "", cache: str = "5m", idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._key = api_key
        self._cached = CACHES[cache]
        # The SDK adds /v1 itself; a base URL that ends in it is a common slip.
        self._base_url = (base_url or _OFFICIAL).rstrip("/").removesuffix("/v1")
        self._idle = idle_seconds

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart]:
        """Call the model; see ``Provider.stream``."""
        names = ToolNames(tool.name for tool in request.tools)
        body = messages_body(request, names, self._cached)
        return stream_answer(
            lambda: self._send(body),
            MessagesFold(names, secret=self._key),
            pause=request.pause,
            secret=self._key,
            sdk_error=AnthropicError,
        )

    @asynccontextmanager
    async def _send(self, body: dict[str, Any]) -> AsyncIterator[httpx2.Response]:
        async with self._client().messages.with_streaming_response.create(**body) as response:
            yield response.http_response

    def _client(self) -> AsyncAnthropic:
        return pooled(("anthropic", self._base_url, self._key, self._idle), self._make_client)

    def _make_client(self) -> AsyncAnthropic:
        return AsyncAnthropic(
            api_key=self._key,
            base_url=self._base_url,
            max_retries=0,
            timeout=http_timeout(self._idle),
            http_client=http_client(DefaultAioHttpClient, self._idle),
        )


def messages_body(request: ModelRequest, names: ToolNames, cached: dict[str, Any]) -> dict[str, Any]:
    """Return the body of the call.

    Args:
        cached: marks the end of what stays the same from call to call: the tools and the system prompt.
    """
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(request.messages, names),
        "stream": True,
        **_thinking(request),
    }
    if request.system:
        body["system"] = [{"type": "text", "text": request.system, **cached}]
    if request.tools:
        body["tools"] = [
            {
                "name": names.wire(tool.name),
                "description": tool.description,
                "input_schema": object_schema(tool.parameters),
            }
            for tool in request.tools
        ]
        body["tools"][-1] |= cached
    elif called := {
        part.name for each in request.messages for part in each.parts if isinstance(part, ToolCallPart)
    }:
        # A conversation with calls is refused when it declares no tools.
        body["tools"] = [
            {"name": names.wire(name), "description": "Not on offer now.", "input_schema": object_schema({})}
            for name in sorted(called)
        ]
        body["tool_choice"] = {"type": "none"}
    return body


def _thinking(request: ModelRequest) -> dict[str, Any]:
    """Return the fields about thinking, and a limit of output that leaves room for it."""
    version = _version(request.model)
    budget = _BUDGETS.get(request.effort, 0) if version is None or version >= _FIRST_TO_THINK else 0
    if version is not None and version >= _FIRST_ADAPTIVE:
        # These think unasked, within the limit of output; what they think is left out unless asked for.
        limit = request.max_output_tokens or _MAX_OUTPUT + _BUDGETS["high"]
        effort = {"output_config": {"effort": request.effort}} if budget else {}
        shown = {"thinking": {"type": "adaptive", "display": "summarized"}} if budget else {}
        return {"max_tokens": limit, **shown, **effort}
    if not budget or _lacks_thinking(request.messages):
        return {"max_tokens": request.max_output_tokens or _MAX_OUTPUT}
    limit = (
        request.max_output_tokens + budget
        if request.max_output_tokens
        else min(_MAX_OUTPUT + budget, _MOST_OUTPUT)
    )
    return {"max_tokens": limit, "thinking": {"type": "enabled", "budget_tokens": budget}}


def _version(model: str) -> tuple[int, int] | None:
    """Return the version in a model's name; None for models of others that speak this API too."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _lacks_thinking(messages: tuple[ModelMessage, ...]) -> bool:
    """Tell whether the running tool loop began without thinking: then it cannot be turned on in its middle."""
    first: ModelMessage | None = None
    for message in reversed(messages):
        if message.role == "user":
            break
        if message.role == "assistant":
            first = message
    return first is not None and not any(
        isinstance(part, ReasoningPart) and not part.extra.keys().isdisjoint(("signature", "redacted"))
        for part in first.parts
    )


def _messages(messages: tuple[ModelMessage, ...], names: ToolNames) -> list[dict[str, Any]]:
    """Return the messages with alternating roles: tool results belong to the user here."""
    merged: list[dict[str, Any]] = []
    # An id that comes twice is refused here.
    for message in with_distinct_calls(messages, clean_name):
        role = "assistant" if message.role == "assistant" else "user"
        content = [block for part in message.parts if (block := _block(part, names))]
        if not content:
            continue
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += content
        else:
            merged.append({"role": role, "content": content})
    for sent in merged:
        while sent["role"] == "assistant" and sent["content"] and sent["content"][-1]["type"] in _THOUGHTS:
            sent["content"].pop()  # refused when nothing follows that it led to
    return [sent for sent in merged if sent["content"]]


def _block(part: Part, names: ToolNames) -> dict[str, Any] | None:
    match part:
        case TextPart():
            # A block of blanks is refused.
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case ImagePart():
            data = base64.b64encode(part.data).decode()
            return {"type": "image", "source": {"type": "base64", "media_type": part.media_type, "data": data}}
        case ReasoningPart():
            return _reasoning_block(part)
        case ToolCallPart():
            return {
                "type": "tool_use",
                "id": part.id,
                "name": names.wire(part.name),
                "input": part.arguments,
            }
        case ToolResultPart():
            result = {"type": "tool_result", "tool_use_id": part.id, "content": part.output}
            return {**result, "is_error": True} if part.is_error else result


def _reasoning_block(part: ReasoningPart) -> dict[str, Any] | None:
    """Return signed reasoning as it came, and blocks that only the provider understands.

    Unsigned reasoning is another provider's and stays here.
    """
    if block := part.extra.get("block"):
        kept: dict[str, Any] = block
        return kept
    if redacted := part.extra.get("redacted"):
        return {"type": "redacted_thinking", "data": redacted}
    if signature := part.extra.get("signature"):
        return {"type": "thinking", "thinking": part.text, "signature": signature}
    return None
