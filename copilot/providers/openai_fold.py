"""Puts the chunks of a chat completion together, in the many dialects that servers speak of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from copilot.providers import errors
from copilot.providers.base import (
    AnsweredBy,
    FinishReason,
    ProviderError,
    Reasoning,
    Stop,
    StreamPart,
    Text,
    ToolCallDelta,
    ToolCallStart,
    ToolSpec,
    Usage,
)
from copilot.providers.dialects import GENERIC, Dialect
from copilot.providers.reasoning import FIELDS, ReasoningFields
from copilot.providers.thinking import InlineThinking
from copilot.providers.wire import (
    ToolNames,
    broken_stream,
    count,
    cut_stream,
    dump,
    fresh_call_id,
    is_object,
    load_object,
    stated_cost,
)
from copilot.providers.written_calls import WrittenCalls

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "tool_use": "tool-calls",
    "function_call": "tool-calls",
    "error": "error",
}


@dataclass(slots=True)
class _Call:
    """One tool call while it arrives. ``id`` is ours when the server sent none."""

    index: int
    wire_id: str = ""
    name: str = ""
    arguments: str = ""
    id: str = ""
    #: Fields that must come back with it.
    extra: dict[str, Any] = field(default_factory=dict)


class ChatFold:
    """Folds the chunks of choice 0 into parts."""

    def __init__(
        self, names: ToolNames, *, tools: Sequence[ToolSpec] = (), dialect: Dialect = GENERIC, secret: str = ""
    ) -> None:
        self._names = names
        self._secret = secret
        self._dialect = dialect
        self._thinking = InlineThinking()
        self._written = WrittenCalls(tools, names)
        self._reasoning = ReasoningFields(keep=dialect.returns_reasoning)
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._reason = ""
        self._refused = False
        self._named = False
        self._usage: Usage | None = None
        self._said: Usage | None = None
        self.done = False

    @property
    def complete(self) -> bool:
        """Whether the model said why it ended: then nothing but usage can be missing."""
        return bool(self._reason)

    def feed(self, event: str, data: str) -> list[StreamPart]:
        """Return the parts of one chunk."""
        if data == "[DONE]" or data.strip() == "[DONE]":
            self.done = True
            return []
        chunk = load_object(data)
        if event == "error" or chunk.get("error") or chunk.get("object") == "error":
            raise errors.from_payload(chunk, secret=self._secret)
        return self._chunk(chunk)

    def whole(self, body: str) -> list[StreamPart]:
        """Return the parts of a completion that was not streamed; anything else is an error."""
        if not body.lstrip().startswith("{"):
            raise errors.from_body(body, status=None, secret=self._secret)
        answer = load_object(body)
        if answer.get("error") or not isinstance(answer.get("choices"), list):
            raise errors.from_payload(answer, secret=self._secret)
        self.done = True
        return self._chunk(answer)

    def finish(self) -> list[StreamPart]:
        """Return the calls that never got a name, the usage and the stop."""
        if not self.done and not self._reason:
            raise cut_stream()
        if self._reason == "insufficient_system_resource":
            raise ProviderError("overloaded", "The provider ran out of capacity.", hint=errors.HINTS["overloaded"])
        parts = self._held()
        self._calls = [call for call in self._calls if call.id or call.arguments]
        for call in self._calls:
            if not call.id:
                parts += self._start(call)
        if not self._calls:
            for name, arguments in self._written.calls:
                call = self._new()
                call.name, call.arguments = name, arguments
                parts += self._start(call)
        if self._calls and (extra := self._kept()):
            parts.append(Reasoning("", extra))
        return [*parts, *self._unsaid(), Stop(self._stop_reason())]

    def unsent(self) -> list[StreamPart]:
        """Return the text that was held back, and the newest usage unless it was a part already."""
        return [*self._held(), *self._unsaid()]

    def _unsaid(self) -> list[StreamPart]:
        if self._usage is None or self._usage == self._said:
            return []
        self._said = self._usage
        return [self._usage]

    def _held(self) -> list[StreamPart]:
        """Return what was held back as the possible beginning of markup."""
        parts: list[StreamPart] = []
        for part in self._thinking.rest():
            self._show(part, parts)
        if text := self._written.rest():
            parts.append(Text(text))
        return parts

    def _kept(self) -> dict[str, Any]:
        """Return what the server needs to get back with the calls of this answer, and only this server."""
        fields = self._reasoning.fields()
        signed = {str(place): call.extra for place, call in enumerate(self._calls) if call.extra}
        return {"chat": self._dialect.name, "fields": fields, "calls": signed} if fields or signed else {}

    def _chunk(self, chunk: dict[str, Any]) -> list[StreamPart]:
        parts: list[StreamPart] = []
        if not self._named and (model := chunk.get("model")):
            self._named = True
            parts.append(AnsweredBy(str(model), str(chunk.get("provider") or "")))
        try:
            for choice in chunk.get("choices") or ():
                if choice.get("index"):
                    continue  # a second choice is not ours to show
                if delta := choice.get("delta") or choice.get("message"):
                    self._delta(delta, parts)
                if problem := choice.get("error"):
                    raise errors.from_payload({"error": problem}, secret=self._secret)
                if reason := choice.get("finish_reason"):
                    self._reason = str(reason)
            raw = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        except (AttributeError, TypeError) as error:
            raise broken_stream() from error
        if isinstance(raw, dict):
            first = self._usage is None
            self._usage = read_usage(raw)
            # Some servers count along in every chunk: the first and the last are enough.
            if first:
                parts += self._unsaid()
        return parts

    def _delta(self, delta: dict[str, Any], parts: list[StreamPart]) -> None:
        get = delta.get
        if not FIELDS.isdisjoint(delta) and (reasoning := self._reasoning.read(delta)):
            parts.append(Reasoning(reasoning))
        content = get("content")
        if content:
            if isinstance(content, str):
                if self._thinking.over and self._written.passes(content):
                    parts.append(Text(content))  # nearly all of them
                else:
                    self._content(content, parts)
            elif isinstance(content, list):
                parts.extend(_content_list(content))
        if refusal := get("refusal"):
            self._refused = True
            parts.append(Text(str(refusal)))
        if calls := get("tool_calls"):
            parts += self._held()
            for position, item in enumerate(calls):
                parts.extend(self._call_delta(position if len(calls) > 1 else -1, item))

    def _content(self, content: str, parts: list[StreamPart]) -> None:
        for part in self._thinking.feed(content):
            self._show(part, parts)

    def _show(self, part: Text | Reasoning, parts: list[StreamPart]) -> None:
        if isinstance(part, Reasoning):
            parts.append(part)
        elif text := self._written.feed(part.delta):
            parts.append(Text(text))

    def _call_delta(self, position: int, item: dict[str, Any]) -> Iterator[StreamPart]:
        function = item.get("function") or {}
        name, ident = function.get("name") or "", str(item.get("id") or "")
        call = self._find(item.get("index"), position, ident, name)
        # A name or id that comes again is the same one again, never a continuation.
        call.name = call.name or name
        call.wire_id = call.wire_id or ident
        if self._dialect.signs_calls and isinstance(signature := item.get("extra_content"), dict):
            call.extra = {"extra_content": signature}
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = dump(arguments)
        call.arguments += arguments
        if not call.id and call.name:
            yield from self._start(call)
        elif call.id and arguments:
            yield ToolCallDelta(call.index, arguments)

    def _find(self, index: Any, position: int, ident: str, name: str) -> _Call:
        if isinstance(index, int):
            call = self._by_index.get(index)
            if call is None or _is_another(call, ident, name):
                call = self._by_index[index] = self._new()
            return call
        if ident:
            return next((call for call in self._calls if call.wire_id == ident), None) or self._new()
        if name or not self._calls:
            return self._new()
        return self._calls[position] if position < len(self._calls) else self._new()

    def _new(self) -> _Call:
        call = _Call(len(self._calls))
        self._calls.append(call)
        return call

    def _start(self, call: _Call) -> Iterator[StreamPart]:
        call.id = fresh_call_id(call.wire_id, [other.id for other in self._calls])
        yield ToolCallStart(call.index, call.id, self._names.original(call.name))
        if call.arguments:
            yield ToolCallDelta(call.index, call.arguments)

    def _stop_reason(self) -> FinishReason:
        if self._refused:
            return "content-filter"
        reason = _FINISH.get(self._reason, "other")
        if self._calls and reason == "stop":
            return "tool-calls"
        # Without a reason, calls that arrived whole are still meant to run.
        if self._calls and not self._reason and all(is_object(call.arguments) for call in self._calls):
            return "tool-calls"
        return reason


def _is_another(call: _Call, ident: str, name: str) -> bool:
    """Tell whether a delta with the same index begins another call: some servers give all of them index 0."""
    differs = bool(ident and name and call.wire_id and ident != call.wire_id)
    return differs and is_object(call.arguments)


def _content_list(content: list[Any]) -> Iterator[StreamPart]:
    for item in content:
        if isinstance(item, str):
            yield Text(item)
        elif not isinstance(item, dict):
            continue
        elif item.get("type") == "thinking":
            for piece in item.get("thinking") or ():
                if text := piece if isinstance(piece, str) else piece.get("text"):
                    yield Reasoning(str(text))
        elif text := item.get("text"):
            yield Text(str(text))


def read_usage(raw: dict[str, Any]) -> Usage:
    """Return a usage object in our convention, whichever of the server's conventions it follows.

    Cache tokens belong to the input and reasoning to the output here; where a server leaves either out, its
    total tells.
    """
    prompt, completion = count(raw.get("prompt_tokens")), count(raw.get("completion_tokens"))
    read_details, written_details = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    prompt_details = read_details if isinstance(read_details, dict) else {}
    completion_details = written_details if isinstance(written_details, dict) else {}
    reasoning = count(completion_details.get("reasoning_tokens")) or count(raw.get("reasoning_tokens"))
    read = (
        count(prompt_details.get("cached_tokens"))
        or count(raw.get("prompt_cache_hit_tokens"))
        or count(raw.get("cached_tokens"))
    )
    write = count(prompt_details.get("cache_write_tokens")) or count(prompt_details.get("cache_creation_tokens"))
    missing = count(raw.get("total_tokens")) - prompt - completion
    if missing > 0 and missing == read + write:
        prompt += missing
    elif missing > 0:
        completion += missing
        reasoning = max(reasoning, missing)
    return Usage(
        input_tokens=max(prompt, read + write),
        output_tokens=completion,
        reasoning_tokens=reasoning,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cost_microdollars=stated_cost(raw),
    )
