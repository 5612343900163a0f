"""One model call: the provider's stream becomes chunks on the log and, at its end, a step to keep."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from common.redaction import redact_json, redact_text
from common.redaction_stream import HOLD_SECONDS, StreamRedactor
from common.text import DEEPEST, storable, storable_json
from copilot.agent.called import measured_call
from copilot.agent.inputs import ShownInput
from copilot.agent.kept import kept
from copilot.agent.metering import Meter
from copilot.events import schema
from copilot.providers.base import (
    AnsweredBy,
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
from copilot.providers.wire import no_longer_than
from copilot.turns.progress import FinishedStep, PlannedCall

#: Characters of a call's id and name that are kept. Some gateways put whole signatures into ids; no tool of ours
#: has a name that is nearly as long.
ID_MAX, NAME_MAX = 256, 128
_fitting = no_longer_than(ID_MAX)

CUT_SHORT = "The call was not made: the user sent a new message first."


@dataclass(slots=True)
class _Call:
    id: uuid.UUID
    provider_id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    shown: ShownInput = field(default_factory=ShownInput)

    def arguments(self) -> Any:
        """The parsed object, or the raw text when it is not one: then the call is answered with an error."""
        text = "".join(self.pieces).strip()
        try:
            value = json.loads(text) if text else {}
            return storable_json(value, depth=DEEPEST) if isinstance(value, dict) else text
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

    def send_transient(self, chunk: schema.Chunk) -> None:
        """Have a chunk sent to whoever listens right now."""

    def new_part(self, kind: str) -> str:
        """Return an id for a part of the stream, unique within the answer."""

    def note_first_chunk(self, created_at: datetime) -> None:
        """Hear that the first sign of an answer to what was asked then goes out."""


class StepStream:
    """Collects one model call and emits it as it arrives.

    Args:
        model: ``provider/name`` that is asked: it alone gets back what it signed. Empty: there is no other.
    """

    def __init__(self, live: Output, created_at: datetime, *, model: str = "") -> None:
        self._live = live
        self._created_at = created_at
        self._model = model
        self._content: list[dict[str, Any]] = []
        self._open = ("", "")
        #: Of the open part: what the model said, what was shown of it, and what decides that.
        self._pieces: list[str] = []
        self._shown: list[str] = []
        self._redactor = StreamRedactor()
        self._lapsing: asyncio.TimerHandle | None = None
        self._calls: dict[int, _Call] = {}
        self._stop: Stop | None = None
        #: The call was made; what its provider said of what it used and of who answers; and what came.
        self.called = False
        self.usage: Usage | None = None
        self.answered_by: AnsweredBy | None = None
        self.heard = Meter(live.send_transient)

    @property
    def streamed(self) -> bool:
        """Whether anything was shown yet."""
        return bool(self._open[0] or self._content or self._calls)

    async def run(self, provider: Provider, request: ModelRequest, *, idle_seconds: float) -> Answer:
        """Call the model and return its whole answer.

        Raises:
            ProviderError: the call failed; what was shown until then is on the log.
        """
        with measured_call(self._model):
            return await self._run(provider, request, idle_seconds)

    async def _run(self, provider: Provider, request: ModelRequest, idle_seconds: float) -> Answer:
        self._live.emit(schema.start_step())
        self.called = True
        self.heard.pause = request.pause
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
        finally:
            self._show_rest()  # also of an answer that was cut off
        self._close()
        if self._stop is None:
            raise ProviderError("network", "The model's answer ended in the middle.")
        return self._answer(request.step, self._stop)

    def cut_short(self, number: int) -> Answer:
        """End the call where it is; what was said stands. A tool call that was being written is not made."""
        self._close()
        for call in self._calls.values():
            shown = redact_json(call.arguments()).shown
            self._live.emit(schema.tool_input_error(call.id, call.name, shown, CUT_SHORT))
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
                self.heard.count(arguments)
                if shown := call.shown.feed(arguments):
                    self._live.emit(schema.tool_input_delta(call.id, shown))
            case Usage():
                self.usage = part
            case AnsweredBy():
                self.answered_by = part
            case TitleHint(text=text):
                self._live.title = redact_text(storable(text)).strip()
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
        self.heard.count(delta)
        if kind == "reasoning":
            self.heard.thought += len(delta)
        self._pieces.append(delta)
        self._show(self._redactor.feed(delta))
        if self._lapsing is None and self._redactor.holds:
            self._lapsing = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._lapse)

    def _show(self, text: str) -> None:
        if text:
            self._shown.append(text)
            self._live.emit(schema.part_delta(*self._open, text))

    def _lapse(self) -> None:
        """Show what was held back as the possible beginning of a secret, and nothing came of it."""
        self._lapsing = None
        self._show(self._redactor.lapse())

    def _show_rest(self) -> None:
        if self._lapsing:
            self._lapsing.cancel()
            self._lapsing = None
        if self._open[0]:
            self._show(self._redactor.flush())

    def _close(self, extra: dict[str, Any] | None = None) -> None:
        kind, part = self._open
        if not kind:
            return
        self._show_rest()
        self._live.emit(schema.part_end(kind, part))
        item = {"type": kind, "text": "".join(self._pieces), **self._signed(extra)}
        self._content.append(kept(item, "".join(self._shown)))
        self._open, self._pieces, self._shown = ("", ""), [], []

    def _seal_reasoning(self, extra: dict[str, Any]) -> None:
        """Keep what the provider needs to get its own reasoning back; it belongs to the block that just ended."""
        extra = storable_json(extra)
        if self._open[0] == "reasoning":
            self._close(extra)
        else:
            self._close()  # it stands behind what was said before it
            self._content.append(kept({"type": "reasoning", "text": "", **self._signed(extra)}, ""))

    def _signed(self, extra: dict[str, Any] | None) -> dict[str, Any]:
        if not extra:
            return {}
        return {"extra": extra, "model": self._model} if self._model else {"extra": extra}

    def _begin_call(self, part: ToolCallStart) -> None:
        ident = _fitting(storable(part.id))
        if part.index in self._calls or any(ident and ident == call.provider_id for call in self._calls.values()):
            return  # announced again: one call has one card and one row, whatever is repeated
        self._close()
        call = _Call(uuid.uuid4(), ident, storable(part.name)[:NAME_MAX])
        self._calls[part.index] = call
        self._live.note_first_chunk(self._created_at)
        self._live.emit(schema.tool_input_start(call.id, call.name))

    def _answer(self, number: int, stop: Stop) -> Answer:
        calls = tuple(
            PlannedCall(call.id, call.provider_id, call.name, call.arguments()) for call in self._calls.values()
        )
        content = self._content + [
            {"type": "call", "id": call.provider_id, "name": call.name}  # its arguments are in its own row
            for call in calls
        ]
        return Answer(
            step=FinishedStep(number, stop.reason, content, calls),
            usage=self.usage,
            again=stop.again,
            has_text=any(item["type"] == "text" and item["text"].strip() for item in content),
            has_reasoning=any(item["type"] == "reasoning" for item in content),
        )
