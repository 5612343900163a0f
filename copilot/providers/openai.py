"""Chat completions, as OpenAI and most other servers offer them."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient, OpenAIError, RequestOptions

from copilot.providers.base import (
    ImagePart,
    ModelMessage,
    ModelRequest,
    ReasoningPart,
    StreamPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from copilot.providers.dialects import Dialect, dialect_of, effort_fields
from copilot.providers.openai_fold import ChatFold
from copilot.providers.transport import IDLE_SECONDS, http_client, http_timeout, pooled, stream_answer
from copilot.providers.wire import ToolNames, digest, dump, no_longer_than, object_schema, with_distinct_calls

OFFICIAL = "https://api.openai.com/v1"
_ALPHANUMERIC = re.compile(r"[a-zA-Z0-9]+")


class OpenAIProvider:
    """A server that speaks chat completions.

    Args:
        api_key: the key; a server that needs none takes any text.
        base_url: with ``/v1``; empty for OpenAI itself.
        name: what the operator calls the provider, which may tell its dialect.
        idle_seconds: silence after which a stream counts as dead.
    """

    def __init__(
        self, *, api_key: str, base_url: str = "", name: str = "", idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._key = api_key
        self._base_url = base_url or OFFICIAL
        self._dialect = dialect_of(self._base_url, name)
        self._idle = idle_seconds

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart]:
        """Call the model; see ``Provider.stream``."""
        names = ToolNames(tool.name for tool in request.tools)
        body = chat_body(request, names, self._dialect)
        return stream_answer(
            lambda: posted(openai_client(self._key, self._base_url, self._idle), "/chat/completions", body),
            ChatFold(names, tools=request.tools, dialect=self._dialect, secret=self._key),
            pause=request.pause,
            secret=self._key,
            sdk_error=OpenAIError,
        )


def openai_client(api_key: str, base_url: str, idle_seconds: float) -> AsyncOpenAI:
    """Return the running loop's client of a server; both of its APIs share its connections."""

    def make() -> AsyncOpenAI:
        return AsyncOpenAI(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=http_timeout(idle_seconds),
            http_client=http_client(DefaultAioHttpClient, idle_seconds),
        )

    return pooled(("openai", base_url, api_key, idle_seconds), make)


@asynccontextmanager
async def posted(client: AsyncOpenAI, path: str, body: dict[str, Any]) -> AsyncIterator[httpx2.Response]:
    """Send ``body`` and give its answer, of which nothing was read yet.

    By the SDK's call for any path: that of each API first walks through typed arguments value by value, and ours
    are in their wire form already.
    """
    # As each API says itself: without it, the admin key that the environment may hold would do as well.
    options: RequestOptions = {"security": {"bearer_auth": True}}
    response = await client.post(path, cast_to=httpx2.Response, body=body, options=options, stream=True)
    try:
        yield response
    finally:
        await response.aclose()


def chat_body(request: ModelRequest, names: ToolNames, dialect: Dialect) -> dict[str, Any]:
    """Return the body of the call."""
    body: dict[str, Any] = {"model": request.model, "messages": _messages(request, names, dialect), "stream": True}
    if dialect.asks_usage:
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": names.wire(tool.name),
                    "description": tool.description,
                    "parameters": object_schema(tool.parameters),
                },
            }
            for tool in request.tools
        ]
    if request.max_output_tokens:
        body[dialect.limit] = request.max_output_tokens
    return {**body, **effort_fields(dialect, request.model, request.effort)}


def _messages(request: ModelRequest, names: ToolNames, dialect: Dialect) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if request.system:
        messages.append({"role": "system", "content": request.system})
    for message in with_distinct_calls(request.messages, _fitting(dialect)):
        if message.role == "tool":
            messages += [
                {"role": "tool", "tool_call_id": part.id, "content": part.output}
                for part in message.parts
                if isinstance(part, ToolResultPart)
            ]
        elif message.role == "user":
            if not dialect.user_after_results and messages and messages[-1]["role"] == "tool":
                messages.append({"role": "assistant", "content": "Noted."})
            messages.append({"role": "user", "content": _user_content(message)})
        elif calls := _calls(message, names):
            messages.append(_with_calls(message, calls, dialect))
        elif text := message.text():
            messages.append({"role": "assistant", "content": text})
    return messages


def _with_calls(message: ModelMessage, calls: list[dict[str, Any]], dialect: Dialect) -> dict[str, Any]:
    """Return a message with calls, and with what its own server wants to get back with them."""
    sent: dict[str, Any] = {"role": "assistant", "content": message.text() or None, "tool_calls": calls}
    if dialect.required:
        sent[dialect.required] = ""
    for part in message.parts:
        if isinstance(part, ReasoningPart) and part.extra.get("chat") == dialect.name:
            sent |= part.extra["fields"]
            for place, call in enumerate(calls):
                call |= part.extra["calls"].get(str(place), {})
    return sent


def _fitting(dialect: Dialect) -> Callable[[str], str]:
    if length := dialect.id_length:
        return lambda ident: (
            ident if len(ident) == length and _ALPHANUMERIC.fullmatch(ident) else digest(ident, length)
        )
    # Other servers want their own ids back as they were.
    return no_longer_than(dialect.longest_id) if dialect.longest_id else str


def _user_content(message: ModelMessage) -> str | list[dict[str, Any]]:
    """Return text as a string, which every server takes, and a list of parts only where there are pictures."""
    if not any(isinstance(part, ImagePart) for part in message.parts):
        return message.text()
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content += [{"type": "text", "text": part.text}] if part.text.strip() else []
        elif isinstance(part, ImagePart):
            url = f"data:{part.media_type};base64,{base64.b64encode(part.data).decode()}"
            content.append({"type": "image_url", "image_url": {"url": url}})
    return content


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
