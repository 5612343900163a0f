"""Collects a provider's answer, for comparison."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from copilot.providers.base import (
    ModelMessage,
    ModelRequest,
    ProviderError,
    Reasoning,
    Stop,
    StreamPart,
    Text,
    TextPart,
    ToolCallDelta,
    ToolCallStart,
    ToolSpec,
    Usage,
)

WEATHER = ToolSpec("get_weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})


def ask(text: str = "Hello", **fields: Any) -> ModelRequest:
    """Return a request with one user message."""
    message = ModelMessage("user", (TextPart(text),))
    return ModelRequest(**{"model": "m-1", "system": "Be brief.", "messages": (message,), **fields})


@dataclass
class Answer:
    """Everything that one call said."""

    text: str = ""
    reasoning: str = ""
    extras: list[dict[str, Any]] = field(default_factory=list)
    calls: dict[int, ToolCallStart] = field(default_factory=dict)
    arguments: dict[int, str] = field(default_factory=dict)
    usage: Usage | None = None
    stop: Stop | None = None
    error: ProviderError | None = None

    def called(self) -> list[tuple[str, str]]:
        """Return the calls as (name, JSON of the arguments), in order."""
        return [(call.name, self.arguments[index]) for index, call in sorted(self.calls.items())]


async def collect(stream: AsyncIterator[StreamPart]) -> Answer:
    """Read a stream to its end, or to its error; nothing may follow the stop."""
    answer = Answer()
    try:
        async for part in stream:
            assert answer.stop is None, f"{part} came after the stop"
            match part:
                case Text(delta):
                    answer.text += delta
                case Reasoning(delta, extra):
                    answer.reasoning += delta
                    if extra:
                        answer.extras.append(extra)
                case ToolCallStart(index):
                    assert index not in answer.calls
                    answer.calls[index] = part
                    answer.arguments[index] = ""
                case ToolCallDelta(index, arguments):
                    answer.arguments[index] += arguments
                case Usage():
                    answer.usage = part
                case Stop():
                    answer.stop = part
    except ProviderError as error:
        answer.error = error
    return answer
