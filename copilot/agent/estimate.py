"""How many tokens something is, roughly: for calls whose provider never said, and to see a window fill up."""

from __future__ import annotations

import json
from typing import Any

from copilot.providers.base import (
    ImagePart,
    ModelRequest,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
)

CHARACTERS_A_TOKEN = 4
#: Providers count a picture by its size, from some hundred to about 1,600.
IMAGE_TOKENS = 1_000
#: What a message costs beside its words: its role and its borders.
MESSAGE_TOKENS = 4


def text_tokens(text: str) -> int:
    """Return the tokens of a text, at least one where there is any."""
    return characters_tokens(len(text))


def characters_tokens(characters: int) -> int:
    """Return the tokens of a text of so many characters."""
    return -(-characters // CHARACTERS_A_TOKEN)


def request_tokens(request: ModelRequest) -> int:
    """Return the tokens of all that a call sends: system prompt, tools and messages."""
    total = text_tokens(request.system) + sum(_tool_tokens(tool) for tool in request.tools)
    for message in request.messages:
        total += MESSAGE_TOKENS + sum(_part_tokens(part) for part in message.parts)
    return total


def _tool_tokens(tool: ToolSpec) -> int:
    return text_tokens(tool.name + tool.description + _json(tool.parameters))


def _part_tokens(part: Part) -> int:
    match part:
        case TextPart(text=text):
            return text_tokens(text)
        case ReasoningPart(text=text, extra=extra):
            return text_tokens(text + (_json(extra) if extra else ""))
        case ToolCallPart(name=name, arguments=arguments):
            return text_tokens(name + _json(arguments))
        case ToolResultPart(output=output):
            return text_tokens(output)
        case ImagePart():
            return IMAGE_TOKENS


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
