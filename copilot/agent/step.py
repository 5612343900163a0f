"""One model call: the provider's stream becomes chunks on the log and, at its end, a step to keep."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from common.text import storable, storable_json
from copilot.events import schema
from copilot.providers.base import (
    ModelRequest,
    Provider,
    ProviderError,
    Reasoning,
    Stop,
    StreamPart,
    Text,
    TitleHint,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from copilot.turns.progress import FinishedStep, PlannedCall

CUT_SHORT = "The call was not made: the user sent a new message first."


@dataclass(slots=True)
class _Call:
    id: uuid.UUID
    provider_id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    def arguments(self) -> Any:
        """The parsed object, or the raw text when it is not one: then the call is answered with an error."""
        text = "".join(self.pieces).strip()
        try:
            value = json.loads(text) if text else {}
            return storable_json(value) if isinstance(value, dict) else text
        except (ValueError, RecursionError):
            return text


@dataclass(slots=True)
class Answer:
    """What a model call came to."""

    step: FinishedStep
    usage: Usage | None
    #: The provider paused and wants to be called again.
    again: bool
    has_text: bool
    has_reasoning: bool
    #: It was cut short for a message of the person's.
    cut: bool = False


class Output(Protocol):
    """Where a model's answer goes: to a turn's log, or to whoever asked aside."""

    title: str

    def emit(self, chunk: schema.Chunk) -> None:
        """Have a chunk sent."""

    def new_part(self, kind: str) -> str:
        """Return an id for a part of the stream, unique within the answer."""

    def note_first_chunk(self, created_at: datetime) -> None:
        """Hear that the first sign of an answer to what was asked then goes out."""


class StepStream:
    """Collects one model call and emits it as it arrives."""

    def __init__(self, live: Output, created_at: datetime) -> None:
        self._live = live
        self._created_at = created_at
        self._content: list[dict[str, Any]] = []
        self._open = ("", "")
        self._pieces: list[str] = []
        self._calls: dict[int, _Call] = {}
        self.usage: Usage | None = None
        self._stop: Stop | None = None

    @property
    def streamed(self) -> bool:
        """Whether anything was shown yet."""
        return bool(self._open[0] or self._content or self._calls)

    async def run(self, provider: Provider, request: ModelRequest, *, idle_seconds: float) -> Answer:
        """Call the model and return its whole answer.

        Raises:
            ProviderError: the call failed; what was shown until then is on the log.
        """
        self._live.emit(schema.start_step())
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(idle_seconds) as idle, aclosing(provider.stream(request)) as stream:
                async for part in stream:
                    self._take(part)
                    idle.reschedule(clock() + idle_seconds)
        except TimeoutError as error:
            if not idle.expired():
                raise
            raise ProviderError("timeout", f"The model sent nothing for {idle_seconds:g} seconds.") from error
        self._close()
        if self._stop is None:
            raise ProviderError("network", "The model's answer ended in the middle.")
        return self._answer(request.step, self._stop)

    def cut_short(self, number: int) -> Answer:
        """End the call where it is; what was said stands. A tool call that was being written is not made."""
        self._close()
        for call in self._calls.values():
            self._live.emit(schema.tool_input_error(call.id, call.name, call.arguments(), CUT_SHORT))
        self._calls = {}
        while self._content and self._content[-1]["type"] == "reasoning":
            self._content.pop()  # thoughts without what they led to are nothing that a model takes back
        return replace(self._answer(number, Stop("other")), cut=True)

    def _take(self, part: StreamPart) -> None:
        match part:
            case Text(delta=delta):
                self._say("text", delta)
            case Reasoning(delta=delta, extra=extra):
                self._say("reasoning", delta)
                if extra:
                    self._seal_reasoning(extra)
            case ToolCallStart():
                self._begin_call(part)
            case ToolCallDelta(index=index, arguments=arguments) if index in self._calls:
                call = self._calls[index]
                arguments = storable(arguments)
                call.pieces.append(arguments)
                self._live.emit(schema.tool_input_delta(call.id, arguments))
            case Usage():
                self.usage = part
            case TitleHint(text=text):
                self._live.title = storable(text).strip()
            case Stop():
                self._stop = part

    def _say(self, kind: str, delta: str) -> None:
        delta = storable(delta)
        if not delta:
            return
        if self._open[0] != kind:
            self._close()
            self._open = (kind, self._live.new_part(kind))
            self._live.emit(schema.part_start(*self._open))
            self._live.note_first_chunk(self._created_at)
        self._pieces.append(delta)
        self._live.emit(schema.part_delta(*self._open, delta))

    def _close(self) -> None:
        kind, part = self._open
        if not kind:
            return
        self._live.emit(schema.part_end(kind, part))
        self._content.append({"type": kind, "text": "".join(self._pieces)})
        self._open, self._pieces = ("", ""), []

    def _seal_reasoning(self, extra: dict[str, Any]) -> None:
        """Keep what the provider needs to get its own reasoning back; it belongs to the block that just ended."""
        if self._open[0] == "reasoning":
            self._close()
            self._content[-1]["extra"] = extra
        else:
            self._content.append({"type": "reasoning", "text": "", "extra": extra})

    def _begin_call(self, part: ToolCallStart) -> None:
        self._close()
        call = _Call(uuid.uuid4(), part.id, storable(part.name))
        self._calls[part.index] = call
        self._live.note_first_chunk(self._created_at)
        self._live.emit(schema.tool_input_start(call.id, call.name))

    def _answer(self, number: int, stop: Stop) -> Answer:
        calls = tuple(
            PlannedCall(call.id, call.provider_id, call.name, call.arguments()) for call in self._calls.values()
        )
        content = self._content + [
            {"type": "call", "id": call.provider_id, "name": call.name, "arguments": call.arguments}
            for call in calls
        ]
        return Answer(
            step=FinishedStep(number, stop.reason, content, calls),
            usage=self.usage,
            again=stop.again,
            has_text=any(item["type"] == "text" and item["text"].strip() for item in content),
            has_reasoning=any(item["type"] == "reasoning" for item in content),
        )
