"""The Messages API, of Anthropic and of servers that speak it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Any

from anthropic import AnthropicError, AsyncAnthropic, DefaultAioHttpClient

from copilot.providers.anthropic_fold import MessagesFold
from copilot.providers.base import (
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
from copilot.providers.wire import ToolNames, clean_name

_OFFICIAL = "https://api.anthropic.com"
_CACHED = {"type": "ephemeral"}
_MAX_OUTPUT = 8192
#: What every model that takes a budget of thinking can put out.
_MOST_OUTPUT = 32_000
_BUDGETS = {"low": 2048, "medium": 8192, "high": 24576}
_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2})(?!\d))?")


class AnthropicProvider:
    """A server that speaks the Messages API.

    Args:
        api_key: the key; a server that needs none takes any text.
        base_url: without ``/v1``; empty for Anthropic itself.
        idle_seconds: silence after which a stream counts as dead.
    """

    def __init__(self, *, api_key: str, base_url: str = "", idle_seconds: float = IDLE_SECONDS) -> None:
        self._key = api_key
        # The SDK adds /v1 itself; a base URL that ends in it is a common slip.
        self._base_url = (base_url or _OFFICIAL).rstrip("/").removesuffix("/v1")
        self._idle = idle_seconds

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart]:
        """Call the model; see ``Provider.stream``."""
        names = ToolNames(tool.name for tool in request.tools)
        body = messages_body(request, names)
        return stream_answer(
            lambda: self._client().messages.with_streaming_response.create(**body),
            MessagesFold(names, secret=self._key),
            pause=request.pause,
            secret=self._key,
            sdk_error=AnthropicError,
        )

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


def messages_body(request: ModelRequest, names: ToolNames) -> dict[str, Any]:
    """Return the body of the call; the parts that stay the same from call to call are marked to be cached."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(request.messages, names),
        "stream": True,
        **_thinking(request),
    }
    if request.system:
        body["system"] = [{"type": "text", "text": request.system, "cache_control": _CACHED}]
    if request.tools:
        body["tools"] = [
            {
                "name": names.wire(tool.name),
                "description": tool.description,
                "input_schema": {"type": "object", **tool.parameters},
            }
            for tool in request.tools
        ]
        body["tools"][-1]["cache_control"] = _CACHED
    return body


def _thinking(request: ModelRequest) -> dict[str, Any]:
    """Return the fields about thinking, and a limit of output that leaves room for it."""
    budget = _BUDGETS.get(request.effort, 0)
    if _thinks_adaptively(request.model):
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


def _thinks_adaptively(model: str) -> bool:
    """Tell whether ``model`` takes an effort: from version 4.6 on; 4.7 and later refuse a budget of tokens."""
    found = _VERSION.search(model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= (4, 6)


def _lacks_thinking(messages: tuple[ModelMessage, ...]) -> bool:
    """Tell whether the running tool loop began without thinking: then it cannot be turned on in its middle."""
    first: ModelMessage | None = None
    for message in reversed(messages):
        if message.role == "user":
            break
        if message.role == "assistant":
            first = message
    return first is not None and not any(isinstance(part, ReasoningPart) and part.extra for part in first.parts)


def _messages(messages: tuple[ModelMessage, ...], names: ToolNames) -> list[dict[str, Any]]:
    """Return the messages with alternating roles: tool results belong to the user here."""
    merged: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        content = [block for part in message.parts if (block := _block(part, names))]
        if not content:
            continue
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += content
        else:
            merged.append({"role": role, "content": content})
    return merged


def _block(part: Part, names: ToolNames) -> dict[str, Any] | None:
    match part:
        case TextPart():
            # A block of blanks is refused.
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case ReasoningPart():
            return _reasoning_block(part)
        case ToolCallPart():
            return {
                "type": "tool_use",
                "id": clean_name(part.id),
                "name": names.wire(part.name),
                "input": part.arguments,
            }
        case ToolResultPart():
            result = {"type": "tool_result", "tool_use_id": clean_name(part.id), "content": part.output}
            return {**result, "is_error": True} if part.is_error else result


def _reasoning_block(part: ReasoningPart) -> dict[str, Any] | None:
    """Return signed reasoning as it came; unsigned reasoning is another provider's and stays here."""
    if redacted := part.extra.get("redacted"):
        return {"type": "redacted_thinking", "data": redacted}
    if signature := part.extra.get("signature"):
        return {"type": "thinking", "thinking": part.text, "signature": signature}
    return None
