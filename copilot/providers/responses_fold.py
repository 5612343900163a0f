"""Puts the events of the Responses API together."""

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
    stated_cost,
)

_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
}
#: The events that repeat a whole text, and the field that it is in.
_WHOLES = {
    "response.output_text.done": ("text", "text"),
    "response.refusal.done": ("refusal", "refusal"),
    "response.reasoning_text.done": ("reasoning", "text"),
    "response.reasoning_summary_text.done": ("reasoning", "text"),
}
_ENDS = ("response.completed", "response.incomplete", "response.done")


@dataclass(slots=True)
class _Item:
    """One item of the output while it arrives; ``call`` is its place among the calls, -1 for others."""

    kind: str
    call: int = -1
    arguments: str = ""
    #: The piece of text or summary that was said last: another one begins a paragraph.
    piece: Any = None
    said: bool = False
    ended: bool = False


class ResponsesFold:
    """Folds the events of one response into parts.

    Items are told apart by their place in the output: the ids of some servers change from event to event.
    """

    def __init__(self, names: ToolNames, *, secret: str = "") -> None:
        self._names = names
        self._secret = secret
        self._items: dict[int, _Item] = {}
        self._ids: list[str] = []
        self._arguments: list[_Item] = []
        self._end = ""
        self._reason = ""
        self._refused = False
        self._spoke = False
        self._usage: Usage | None = None
        self._said: Usage | None = None
        self.done = False

    @property
    def complete(self) -> bool:
        """Whether the response's end was read."""
        return bool(self._end)

    def feed(self, event: str, data: str) -> list[StreamPart]:
        """Return the parts of one event; unknown kinds of events and items are passed over."""
        if data.strip() == "[DONE]":
            self.done = True
            return []
        payload = load_object(data)
        try:
            return list(self._event(str(payload.get("type") or event), payload))
        except (AttributeError, KeyError, TypeError) as error:
            raise broken_stream() from error

    def whole(self, body: str) -> list[StreamPart]:
        """Return the parts of a response that was not streamed; anything else is an error."""
        if not body.lstrip().startswith("{"):
            raise errors.from_body(body, status=None, secret=self._secret)
        answer = load_object(body)
        if answer.get("error") or not isinstance(answer.get("output"), list):
            raise errors.from_payload(answer, secret=self._secret)
        try:
            parts = list(self._ended("response.completed", answer))
        except (AttributeError, KeyError, TypeError) as error:
            raise broken_stream() from error
        self.done = True
        return parts

    def finish(self) -> list[StreamPart]:
        """Return the usage and the stop."""
        if not self.done and not self._end:
            raise cut_stream()
        return [*self.unsent(), Stop(self._stop_reason())]

    def unsent(self) -> list[StreamPart]:
        """Return the newest usage unless it was a part already."""
        if self._usage is None or self._usage == self._said:
            return []
        self._said = self._usage
        return [self._usage]

    def _event(self, kind: str, payload: dict[str, Any]) -> Iterator[StreamPart]:
        if said := _DELTAS.get(kind):
            yield from self._say(said, self._item(payload, said), _piece(payload), payload["delta"])
        elif kind == "response.function_call_arguments.delta":
            yield from self._argue(self._item(payload, "function_call"), payload["delta"])
        elif kind == "response.function_call_arguments.done":
            yield from self._argue_whole(self._item(payload, "function_call"), payload.get("arguments"))
        elif kind == "response.output_item.added":
            yield from self._begin(self._place(payload), payload["item"])
        elif kind == "response.output_item.done":
            yield from self._complete_item(self._place(payload), payload["item"])
        elif kind in _WHOLES:
            said, name = _WHOLES[kind]
            item = self._item(payload, said)
            if item.piece != _piece(payload):
                yield from self._say(said, item, _piece(payload), payload.get(name) or "")
        elif kind == "response.created":
            # A server that runs tools of its own may answer in several responses.
            self._items, self._end = {}, ""
            if model := payload["response"].get("model"):
                yield AnsweredBy(str(model))
        elif kind in _ENDS:
            yield from self._ended(kind, payload["response"])
        elif kind in ("error", "response.failed", "response.cancelled"):
            response = payload.get("response")
            if isinstance(response, dict):
                self._use(response)
            raise errors.from_payload(_problem(payload), secret=self._secret)

    def _place(self, payload: dict[str, Any]) -> int:
        place = payload.get("output_index")
        return place if isinstance(place, int) else max(self._items, default=-1) + 1

    def _item(self, payload: dict[str, Any], kind: str) -> _Item:
        """Return the item that an event belongs to; without a place that is the newest."""
        place = payload.get("output_index")
        if not isinstance(place, int):
            place = max(self._items, default=0)
        return self._items.setdefault(place, _Item(kind))

    def _begin(self, place: int, item: dict[str, Any]) -> Iterator[StreamPart]:
        if place in self._items and not self._items[place].ended:
            return  # said twice
        entry = self._items[place] = _Item(item["type"])
        if entry.kind == "function_call" and item.get("name"):
            yield from self._start_call(entry, item)

    def _start_call(self, entry: _Item, item: dict[str, Any]) -> Iterator[StreamPart]:
        entry.call = len(self._arguments)
        self._arguments.append(entry)
        ident = fresh_call_id(str(item.get("call_id") or item.get("id") or ""), self._ids)
        self._ids.append(ident)
        yield ToolCallStart(entry.call, ident, self._names.original(item["name"]))
        if entry.arguments:
            yield ToolCallDelta(entry.call, entry.arguments)
        elif arguments := item.get("arguments"):
            yield from self._argue_whole(entry, arguments)

    def _argue(self, entry: _Item, delta: str) -> Iterator[StreamPart]:
        entry.arguments += delta
        if entry.call >= 0 and delta:
            yield ToolCallDelta(entry.call, delta)

    def _argue_whole(self, entry: _Item, arguments: Any) -> Iterator[StreamPart]:
        if not entry.arguments and arguments:
            yield from self._argue(entry, arguments if isinstance(arguments, str) else dump(arguments))

    def _say(self, kind: str, item: _Item, piece: Any, delta: str) -> Iterator[StreamPart]:
        if not delta:
            return
        if kind == "reasoning":
            # A summary's parts have titles of their own.
            between = "\n\n" if item.said and item.piece != piece else ""
            yield Reasoning(between + delta)
        else:
            self._refused = self._refused or kind == "refusal"
            self._spoke = True
            yield Text(delta)
        item.piece, item.said = piece, True

    def _complete_item(self, place: int, item: dict[str, Any]) -> Iterator[StreamPart]:
        """Say what of a whole item was not said yet, and keep of it what the server needs to get back."""
        entry = self._items.setdefault(place, _Item(item["type"]))
        if entry.ended:
            return
        entry.ended = True
        match item["type"]:
            case "function_call":
                if entry.call < 0:
                    yield from self._start_call(entry, item)
                yield from self._argue_whole(entry, item.get("arguments"))
            case "message":
                if not entry.said:
                    for number, part in enumerate(item.get("content") or ()):
                        refusal = part.get("refusal")
                        kind = "refusal" if refusal else "text"
                        yield from self._say(kind, entry, number, refusal or part.get("text") or "")
                if phase := item.get("phase"):
                    yield Reasoning("", {"openai_phase": phase})
            case "reasoning":
                if not entry.said:
                    for number, part in enumerate([*(item.get("summary") or ()), *(item.get("content") or ())]):
                        yield from self._say("reasoning", entry, number, part.get("text") or "")
                if _returnable(item):
                    given = {name: value for name, value in item.items() if value is not None}
                    yield Reasoning("", {"openai_item": given, "after_calls": len(self._arguments)})

    def _ended(self, kind: str, response: dict[str, Any]) -> Iterator[StreamPart]:
        self._use(response)
        status = response.get("status")
        if status in ("failed", "cancelled"):
            raise errors.from_payload(_problem({"response": response}), secret=self._secret)
        if not self._items:
            # Some proxies say everything in the last event.
            for place, item in enumerate(response.get("output") or ()):
                yield from self._complete_item(place, item)
        details = response.get("incomplete_details")
        self._end = "incomplete" if kind == "response.incomplete" or status == "incomplete" else "completed"
        self._reason = str(details.get("reason") or "") if isinstance(details, dict) else ""
        # After tools of the server's own another response follows in the same stream.
        self.done = self._spoke or bool(self._arguments) or self._end == "incomplete"

    def _use(self, response: dict[str, Any]) -> None:
        if isinstance(raw := response.get("usage"), dict):
            self._usage = read_usage(raw)

    def _stop_reason(self) -> FinishReason:
        if self._refused or self._reason == "content_filter":
            return "content-filter"
        if self._end == "incomplete":
            return "length" if self._reason in ("max_output_tokens", "max_tokens", "") else "other"
        if self._arguments and (self._end or all(is_object(call.arguments) for call in self._arguments)):
            return "tool-calls"
        return "stop" if self._end else "other"


def _piece(payload: dict[str, Any]) -> Any:
    return payload.get("summary_index", payload.get("content_index", 0))


def _returnable(item: dict[str, Any]) -> bool:
    """Tell whether a server can make something of its reasoning without having stored it."""
    return bool(item.get("encrypted_content")) or bool(item.get("content"))


def _problem(payload: dict[str, Any]) -> Any:
    response = payload.get("response")
    if not isinstance(response, dict):
        return payload
    status = str(response.get("status") or "failed")
    return response.get("error") or {"message": f"The provider ended the response as {status}."}


def read_usage(raw: dict[str, Any]) -> Usage:
    """Return a usage object in our convention, which is nearly the API's own."""
    read_details, written_details = raw.get("input_tokens_details"), raw.get("output_tokens_details")
    details = read_details if isinstance(read_details, dict) else {}
    output_details = written_details if isinstance(written_details, dict) else {}
    given, put_out = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    # Some servers count reasoning beside the output; the total tells.
    missing = max(count(raw.get("total_tokens")) - given - put_out, 0)
    return Usage(
        input_tokens=given,
        output_tokens=put_out + missing,
        reasoning_tokens=count(output_details.get("reasoning_tokens")),
        cache_read_tokens=count(details.get("cached_tokens")),
        cache_write_tokens=count(details.get("cache_write_tokens")),
        cost_microdollars=stated_cost(raw),
    )
