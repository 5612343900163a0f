"""The Responses API, of OpenAI and of servers that speak it.

Nothing is stored with the provider: each request carries the whole conversation, and the reasoning of the running
tool loop goes back as it came, encrypted.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from typing import Any

from openai import OpenAIError

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
from copilot.providers.dialects import OPENAI
from copilot.providers.openai import OFFICIAL, openai_client, posted
from copilot.providers.responses_fold import ResponsesFold
from copilot.providers.transport import IDLE_SECONDS, stream_answer
from copilot.providers.wire import ToolNames, dump, no_longer_than, object_schema, with_distinct_calls

#: What OpenAI takes as a limit of output at least, and as an id at most.
_LEAST_OUTPUT = 16
_LONGEST_ID = 64


class ResponsesProvider:
    """A server that speaks the Responses API.

    Args:
        api_key: the key; a server that needs none takes any text.
        base_url: with ``/v1``; empty for OpenAI itself.
        idle_seconds: silence after which a stream counts as dead.
    """

    def __init__(self, *, api_key: str, base_url: str = "", idle_seconds: float = IDLE_SECONDS) -> None:
        self._key = api_key
        self._base_url = base_url or OFFICIAL
        self._idle = idle_seconds

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart]:
        """Call the model; see ``Provider.stream``."""
        names = ToolNames(tool.name for tool in request.tools)
        body = responses_body(request, names)
        return stream_answer(
            lambda: posted(openai_client(self._key, self._base_url, self._idle), "/responses", body),
            ResponsesFold(names, secret=self._key),
            pause=request.pause,
            secret=self._key,
            sdk_error=OpenAIError,
        )


def responses_body(request: ModelRequest, names: ToolNames) -> dict[str, Any]:
    """Return the body of the call."""
    body: dict[str, Any] = {
        "model": request.model,
        "input": _input(request, names),
        "stream": True,
        "store": False,
    }
    if request.system:
        body["instructions"] = request.system
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": names.wire(tool.name),
                "description": tool.description,
                "parameters": object_schema(tool.parameters),
                # Strict is the API's default, and wants schemas that few tools have.
                "strict": False,
            }
            for tool in request.tools
        ]
    if OPENAI.thinkers.search(request.model):
        body["include"] = ["reasoning.encrypted_content"]
        if request.effort not in ("", "none"):
            body["reasoning"] = {"effort": request.effort, "summary": "auto"}
    if request.max_output_tokens:
        body["max_output_tokens"] = max(request.max_output_tokens, _LEAST_OUTPUT)
    return body


def _input(request: ModelRequest, names: ToolNames) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for message in with_distinct_calls(request.messages, no_longer_than(_LONGEST_ID)):
        if message.role == "tool":
            items += [
                {"type": "function_call_output", "call_id": part.id, "output": part.output}
                for part in message.parts
                if isinstance(part, ToolResultPart)
            ]
        elif message.role == "user":
            items.append({"role": "user", "content": _user_content(message)})
        else:
            items += _assistant_items(message, names)
    return items


def _user_content(message: ModelMessage) -> str | list[dict[str, Any]]:
    if not any(isinstance(part, ImagePart) for part in message.parts):
        return message.text()
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content += [{"type": "input_text", "text": part.text}] if part.text.strip() else []
        elif isinstance(part, ImagePart):
            url = f"data:{part.media_type};base64,{base64.b64encode(part.data).decode()}"
            content.append({"type": "input_image", "detail": "auto", "image_url": url})
    return content


def _assistant_items(message: ModelMessage, names: ToolNames) -> list[dict[str, Any]]:
    """Return a step's items in the order in which they came: reasoning must stand before what it led to."""
    calls = [
        {
            "type": "function_call",
            "call_id": part.id,
            "name": names.wire(part.name),
            "arguments": dump(part.arguments),
        }
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]
    items: list[dict[str, Any]] = []
    placed = 0
    for part in message.parts:
        if isinstance(part, TextPart) and part.text.strip():
            items.append({"role": "assistant", "content": part.text})
        elif not isinstance(part, ReasoningPart):
            continue
        elif item := part.extra.get("openai_item"):
            after = part.extra.get("after_calls", 0)
            items += [*calls[placed:after], item]
            placed = max(placed, after)
        elif (phase := part.extra.get("openai_phase")) and items and items[-1].get("role") == "assistant":
            # Some models say whether a message is a remark on the way or the answer, and want to hear it again.
            items[-1]["phase"] = phase
    items += calls[placed:]
    while items and items[-1].get("type") == "reasoning":
        items.pop()  # refused when nothing follows that it led to
    return items
