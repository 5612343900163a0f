"""Collects a provider's answer, for comparison."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from copilot.providers.base import (
    ModelMessage,
    ModelRequest,
    Part,
    ProviderError,
    Reasoning,
    ReasoningPart,
    Stop,
    StreamPart,
    Text,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    ToolCallStart,
    ToolResultPart,
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
    #: Text and reasoning in the order in which they came, as the agent loop keeps them.
    said: list[Part] = field(default_factory=list)

    def say(self, part: Text | Reasoning) -> None:
        """Take more text or reasoning; what closes a block of reasoning is kept with it."""
        last = self.said[-1] if self.said else None
        if isinstance(part, Text):
            self.text += part.delta
            if isinstance(last, TextPart):
                self.said[-1] = TextPart(last.text + part.delta)
            else:
                self.said.append(TextPart(part.delta))
            return
        self.reasoning += part.delta
        if part.extra:
            self.extras.append(part.extra)
        if isinstance(last, ReasoningPart) and not last.extra:
            self.said[-1] = ReasoningPart(last.text + part.delta, part.extra)
        else:
            self.said.append(ReasoningPart(part.delta, part.extra))

    def as_step(self, output: str) -> list[ModelMessage]:
        """Return the answer as the next request has it, its calls answered with ``output``."""
        starts = [start for _, start in sorted(self.calls.items())]
        # Reasoning goes back only where its provider needs it.
        said = [part for part in self.said if not isinstance(part, ReasoningPart) or part.extra]
        calls = [
            ToolCallPart(start.id, start.name, json.loads(self.arguments[start.index] or "{}")) for start in starts
        ]
        results = tuple(ToolResultPart(start.id, start.name, output) for start in starts)
        step = [ModelMessage("assistant", (*said, *calls))]
        return [*step, ModelMessage("tool", results)] if results else step

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
                case Text() | Reasoning():
                    answer.say(part)
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
