"""Chat completions, as OpenAI and most other servers offer them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

from openai import AsyncOpenAI, DefaultAioHttpClient, OpenAIError

from copilot.providers.base import (
    ModelMessage,
    ModelRequest,
    StreamPart,
    ToolCallPart,
    ToolResultPart,
)
from copilot.providers.openai_fold import ChatFold
from copilot.providers.transport import IDLE_SECONDS, http_client, http_timeout, pooled, stream_answer
from copilot.providers.wire import ToolNames, digest, dump

_OFFICIAL = "https://api.openai.com/v1"
#: OpenAI itself refuses longer ids; other servers want their own ids back as they were.
_LONGEST_ID = 40


class OpenAIProvider:
    """A server that speaks chat completions.

    Args:
        api_key: the key; a server that needs none takes any text.
        base_url: with ``/v1``; empty for OpenAI itself.
        idle_seconds: silence after which a stream counts as dead.
    """

    def __init__(self, *, api_key: str, base_url: str = "", idle_seconds: float = IDLE_SECONDS) -> None:
        self._key = api_key
        self._base_url = base_url or _OFFICIAL
        self._official = urlsplit(self._base_url).hostname == "api.openai.com"
        self._idle = idle_seconds

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart]:
        """Call the model; see ``Provider.stream``."""
        names = ToolNames(tool.name for tool in request.tools)
        body = chat_body(request, names, official=self._official)
        return stream_answer(
            lambda: self._send(body),
            ChatFold(names, secret=self._key),
            pause=request.pause,
            secret=self._key,
            sdk_error=OpenAIError,
        )

    def _send(self, body: dict[str, Any]) -> Any:
        # The SDK walks through typed arguments value by value; ours are in their wire form already.
        given = {"model": body["model"], "messages": [], "stream": True}
        return self._client().chat.completions.with_streaming_response.create(**given, extra_body=body)

    def _client(self) -> AsyncOpenAI:
        return pooled(("openai", self._base_url, self._key, self._idle), self._make_client)

    def _make_client(self) -> AsyncOpenAI:
        return AsyncOpenAI(
            api_key=self._key,
            base_url=self._base_url,
            max_retries=0,
            timeout=http_timeout(self._idle),
            http_client=http_client(DefaultAioHttpClient, self._idle),
        )


def chat_body(request: ModelRequest, names: ToolNames, *, official: bool) -> dict[str, Any]:
    """Return the body of the call.

    Args:
        official: whether OpenAI itself is called, which wants newer names of some fields.
    """
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(request, names, official=official),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": names.wire(tool.name),
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in request.tools
        ]
    if request.effort not in ("", "none"):
        body["reasoning_effort"] = request.effort
    if request.max_output_tokens:
        body["max_completion_tokens" if official else "max_tokens"] = request.max_output_tokens
    return body


def _messages(request: ModelRequest, names: ToolNames, *, official: bool) -> list[dict[str, Any]]:
    def wire_id(ident: str) -> str:
        return f"call_{digest(ident)}" if official and len(ident) > _LONGEST_ID else ident

    messages: list[dict[str, Any]] = []
    if request.system:
        messages.append({"role": "system", "content": request.system})
    for message in request.messages:
        if message.role == "tool":
            messages += [
                {"role": "tool", "tool_call_id": wire_id(part.id), "content": part.output}
                for part in message.parts
                if isinstance(part, ToolResultPart)
            ]
        elif message.role == "user":
            messages.append({"role": "user", "content": message.text()})
        else:
            calls = _calls(message, names)
            for call in calls:
                call["id"] = wire_id(call["id"])
            if calls:
                messages.append({"role": "assistant", "content": message.text() or None, "tool_calls": calls})
            elif text := message.text():
                messages.append({"role": "assistant", "content": text})
    return messages


def _calls(message: ModelMessage, names: ToolNames) -> list[dict[str, Any]]:
    return [
        {
            "id": part.id,
            "type": "function",
            "function": {"name": names.wire(part.name), "arguments": dump(part.arguments)},
        }
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]
