"""Puts the events of the Messages API together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from copilot.providers import errors
from copilot.providers.base import (
    AnsweredBy,
    FinishReason,
    Reasoning,
    Stop,
    StreamPart,
    Text,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from copilot.providers.wire import (
    ToolNames,
    broken_stream,
    count,
    cut_stream,
    dump,
    fresh_call_id,
    is_object,
    load_object,
)

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool-calls",
    "refusal": "content-filter",
}
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@dataclass(slots=True)
class _Block:
    """One content block while it arrives."""

    kind: str
    call: int = -1
    #: Input that came whole with the block's start; deltas win over it.
    input: Any = None
    signature: str = ""
    #: A block that only the provider understands, and the JSON of its input so far: it goes back as it came.
    content: dict[str, Any] | None = None
    pieces: str = ""


class MessagesFold:
    """Folds the events of one message into parts."""

    def __init__(self, names: ToolNames, *, secret: str = "") -> None:
        self._names = names
        self._secret = secret
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._reason = ""
        self._usage: dict[str, Any] = {}
        self.done = False

    @property
    def complete(self) -> bool:
        """Whether the end marker was read: a reason to stop alone does not end a message."""
        return self.done

    def feed(self, event: str, data: str) -> list[StreamPart]:
        """Return the parts of one event; unknown kinds of events and blocks are passed over."""
        payload = load_object(data)
        try:
            return list(self._event(str(payload.get("type") or event), payload))
        except (AttributeError, KeyError, TypeError) as error:
            raise broken_stream() from error

    def whole(self, body: str) -> list[StreamPart]:
        """Return the parts of a message that was not streamed; anything else is an error."""
        if not body.lstrip().startswith("{"):
            raise errors.from_body(body, status=None, secret=self._secret)
        message = load_object(body)
        if message.get("type") == "error" or not isinstance(message.get("content"), list):
            raise errors.from_payload(message, secret=self._secret)
        try:
            return list(self._message(message))
        except (AttributeError, KeyError, TypeError) as error:
            raise broken_stream() from error

    def finish(self) -> list[StreamPart]:
        """Return the stop."""
        if not self.done:
            raise cut_stream()
        reason = _FINISH.get(self._reason, "other")
        if self._calls and reason == "stop":
            reason = "tool-calls"
        return [Stop(reason, again=self._reason == "pause_turn")]

    def unsent(self) -> list[StreamPart]:
        """Return nothing: all is said as soon as it is known."""
        return []

    def _message(self, message: dict[str, Any]) -> Iterator[StreamPart]:
        for index, content in enumerate(message["content"]):
            yield from self._block_start(index, content)
            yield from self._block_stop(index)
        yield from self._use(message.get("usage"))
        self._reason = str(message.get("stop_reason") or "")
        self.done = True

    def _event(self, kind: str, payload: dict[str, Any]) -> Iterator[StreamPart]:
        match kind:
            case "content_block_delta":
                yield from self._delta(payload)
            case "content_block_start":
                yield from self._block_start(payload["index"], payload["content_block"])
            case "content_block_stop":
                yield from self._block_stop(payload["index"])
            case "message_start":
                # Again in the middle of a message: a proxy began anew, and counts its blocks anew.
                yield from self._close_blocks()
                if model := payload["message"].get("model"):
                    yield AnsweredBy(str(model))
                yield from self._use(payload["message"].get("usage"))
            case "message_delta":
                if reason := (payload.get("delta") or {}).get("stop_reason"):
                    self._reason = str(reason)
                yield from self._use(payload.get("usage"))
            case "message_stop":
                yield from self._close_blocks()
                self.done = True
            case "error":
                raise errors.from_payload(payload, secret=self._secret)

    def _delta(self, payload: dict[str, Any]) -> Iterator[StreamPart]:
        delta = payload["delta"]
        match delta["type"]:
            case "text_delta":
                if text := delta["text"]:
                    yield Text(text)
            case "thinking_delta":
                if thinking := delta["thinking"]:
                    yield Reasoning(thinking)
            case "input_json_delta":
                block = self._blocks.get(payload["index"])
                if block and (arguments := delta.get("partial_json")):
                    block.pieces += arguments if block.content else ""
                    if block.call >= 0:
                        block.input = None
                        yield ToolCallDelta(block.call, arguments)
            case "signature_delta":
                if block := self._blocks.get(payload["index"]):
                    block.signature += delta["signature"]

    def _block_start(self, index: int, content: dict[str, Any]) -> Iterator[StreamPart]:
        block = self._blocks[index] = _Block(content["type"])
        match block.kind:
            case "text":
                if text := content.get("text"):
                    yield Text(text)
            case "thinking":
                block.signature = content.get("signature") or ""
                if thinking := content.get("thinking"):
                    yield Reasoning(thinking)
            case "redacted_thinking":
                yield Reasoning("", {"redacted": content["data"]})
            case "tool_use":
                block.call, self._calls = self._calls, self._calls + 1
                block.input = content.get("input")
                ident = content.get("id") or fresh_call_id("", ())
                yield ToolCallStart(block.call, ident, self._names.original(content["name"]))
            case _:
                # Calls of the provider's own tools and their results are not ours to run, nor to show.
                block.content = content

    def _block_stop(self, index: int) -> Iterator[StreamPart]:
        block = self._blocks.pop(index, None)
        if block and block.kind == "thinking" and block.signature:
            yield Reasoning("", {"signature": block.signature})
        elif block and block.call >= 0 and block.input:
            yield ToolCallDelta(block.call, dump(block.input))
        elif block and block.content and is_object(block.pieces):
            given = {"input": load_object(block.pieces)} if block.pieces else {}
            yield Reasoning("", {"block": {**block.content, **given}})

    def _close_blocks(self) -> Iterator[StreamPart]:
        for index in sorted(self._blocks):
            yield from self._block_stop(index)

    def _use(self, usage: dict[str, Any] | None) -> Iterator[StreamPart]:
        # Later figures are totals of the message: they replace, and do not add.
        known = {name: value for name, value in (usage or {}).items() if value is not None}
        if known:
            self._usage.update(known)
            yield read_usage(self._usage)


def read_usage(raw: dict[str, Any]) -> Usage:
    """Return a usage object in our convention: the input includes what was read from and written to a cache.

    A message that took several billed runs (compaction, an advisor, a fallback) lists them as ``iterations``;
    the totals beside them leave some out.
    """
    totals = {name: count(raw.get(name)) for name in _COUNTS}
    iterations = raw.get("iterations")
    if isinstance(iterations, list):
        runs = [run for run in iterations if isinstance(run, dict)]
        totals = {name: max(totals[name], sum(count(run.get(name)) for run in runs)) for name in _COUNTS}
    details = raw.get("output_tokens_details")
    return Usage(
        input_tokens=totals["input_tokens"]
        + totals["cache_read_input_tokens"]
        + totals["cache_creation_input_tokens"],
        output_tokens=totals["output_tokens"],
        reasoning_tokens=count(details.get("thinking_tokens")) if isinstance(details, dict) else 0,
        cache_read_tokens=totals["cache_read_input_tokens"],
        cache_write_tokens=totals["cache_creation_input_tokens"],
    )
