"""Puts the chunks of a chat completion together, in the many dialects that servers speak of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from copilot.providers import errors
from copilot.providers.base import (
    FinishReason,
    Reasoning,
    Stop,
    StreamPart,
    Text,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from copilot.providers.wire import ToolNames, broken_stream, count, cut_stream, dump, is_object, load_object

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


class ChatFold:
    """Folds the chunks of choice 0 into parts."""

    def __init__(self, names: ToolNames, *, secret: str = "") -> None:
        self._names = names
        self._secret = secret
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._reason = ""
        self._refused = False
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
        if event == "error" or chunk.get("error"):
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
        parts: list[StreamPart] = []
        for call in self._calls:
            if not call.id:
                parts += self._start(call)
        if usage := self.unsent_usage():
            parts.append(usage)
        parts.append(Stop(self._stop_reason()))
        return parts

    def unsent_usage(self) -> Usage | None:
        """Return the newest usage unless it was a part already."""
        if self._usage == self._said:
            return None
        self._said = self._usage
        return self._usage

    def _chunk(self, chunk: dict[str, Any]) -> list[StreamPart]:
        parts: list[StreamPart] = []
        try:
            for choice in chunk.get("choices") or ():
                if choice.get("index"):
                    continue  # a second choice is not ours to show
                if delta := choice.get("delta") or choice.get("message"):
                    self._delta(delta, parts)
                if reason := choice.get("finish_reason"):
                    self._reason = str(reason)
            raw = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        except (AttributeError, TypeError) as error:
            raise broken_stream() from error
        if isinstance(raw, dict):
            first = self._usage is None
            self._usage = read_usage(raw)
            # Some servers count along in every chunk: the first and the last are enough.
            if first and (usage := self.unsent_usage()):
                parts.append(usage)
        return parts

    def _delta(self, delta: dict[str, Any], parts: list[StreamPart]) -> None:
        get = delta.get
        reasoning = get("reasoning_content") or get("reasoning")
        if reasoning:
            if isinstance(reasoning, str):
                parts.append(Reasoning(reasoning))
        elif details := get("reasoning_details"):
            parts.extend(_reasoning_details(details))
        content = get("content")
        if content:
            if isinstance(content, str):
                parts.append(Text(content))
            else:
                parts.extend(_content_list(content))
        if refusal := get("refusal"):
            self._refused = True
            parts.append(Text(str(refusal)))
        if calls := get("tool_calls"):
            for position, item in enumerate(calls):
                parts.extend(self._call_delta(position if len(calls) > 1 else -1, item))

    def _call_delta(self, position: int, item: dict[str, Any]) -> Iterator[StreamPart]:
        function = item.get("function") or {}
        name, ident = function.get("name") or "", str(item.get("id") or "")
        call = self._find(item.get("index"), position, ident, name)
        # A name or id that comes again is the same one again, never a continuation.
        call.name = call.name or name
        call.wire_id = call.wire_id or ident
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
        taken = {other.id for other in self._calls}
        fresh = call.wire_id and call.wire_id not in taken
        call.id = call.wire_id if fresh else f"call_{uuid.uuid4().hex[:24]}"
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


def _reasoning_details(details: list[dict[str, Any]]) -> Iterator[StreamPart]:
    for item in details:
        if text := item.get("text") or item.get("summary"):
            yield Reasoning(str(text))


def _content_list(content: list[Any]) -> Iterator[StreamPart]:
    for item in content:
        if isinstance(item, str):
            yield Text(item)
        elif item.get("type") == "thinking":
            for piece in item.get("thinking") or ():
                if text := piece if isinstance(piece, str) else piece.get("text"):
                    yield Reasoning(text)
        elif text := item.get("text"):
            yield Text(str(text))


def read_usage(raw: dict[str, Any]) -> Usage:
    """Return a usage object in our convention, whichever of the server's conventions it follows.

    Cache tokens belong to the input and reasoning to the output here; where a server leaves either out, its
    total tells.
    """
    prompt, completion = count(raw.get("prompt_tokens")), count(raw.get("completion_tokens"))
    prompt_details = raw.get("prompt_tokens_details") or {}
    completion_details = raw.get("completion_tokens_details") or {}
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
        cost_microdollars=_cost(raw),
    )


def _cost(raw: dict[str, Any]) -> int | None:
    """Return the provider's own figure: dollars, an object with a total, or ticks of 10^-10 dollars."""
    cost, unit = raw.get("cost"), Decimal(1_000_000)
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if cost is None:
        cost, unit = raw.get("cost_in_usd_ticks"), Decimal("0.0001")
    if isinstance(cost, bool) or not isinstance(cost, int | float | str):
        return None
    try:
        micros = Decimal(str(cost)) * unit
        return int(micros.to_integral_value(rounding="ROUND_HALF_UP")) if 0 <= micros < 10**15 else None
    except InvalidOperation:
        return None
