"""A turn's history, from all its rows, in time order and without what people and models said.

Text is shown only on request: an operator who looks for a fault needs sizes and times, not conversations.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from approvals.models import Action
from copilot.events.log import Row, read_events
from copilot.events.schema import Chunk
from copilot.models import Message, Turn

#: Characters of one text, where texts are shown.
TEXT_MAX = 500
#: Fields of a chunk that hold nothing that anybody said.
_PLAIN = ("id", "messageId", "toolCallId", "toolName", "preliminary", "finishReason", "reason")
#: Fields that do.
_SAID = {"delta", "inputTextDelta", "input", "output", "errorText"}
_PLAIN_DATA = {
    "data-rollback": ("to_seq",),
    "data-status": ("state", "attempt", "reason"),
    "data-error": ("code",),
    "data-usage": ("input_tokens", "output_tokens"),
    "data-compaction": ("kind", "tokens_before", "tokens_after"),
    "data-pending": ("message", "next_message_id"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: when, in which table it is written, and what it says."""

    at: datetime
    kind: str
    what: str


def explain(turn_id: uuid.UUID, *, events: bool = False, text: bool = False) -> list[str] | None:
    """Return the lines that tell a turn's history; None when there is no such turn.

    Args:
        events: list every event instead of their number by type.
        text: show the beginnings of what was said, called and returned too.
    """
    turn = Turn.objects.select_related("session", "user").filter(pk=turn_id).first()
    if turn is None:
        return None
    rows = read_events(turn.pk)
    return [
        *_header(turn, text=text),
        "",
        f"History (seconds since {_time(turn.created_at)}):",
        *(_line(entry, turn.created_at) for entry in sorted(_entries(turn, text=text), key=lambda one: one.at)),
        "",
        *(_every_event(rows, text=text) if events else _summary(turn, rows)),
    ]


def _header(turn: Turn, *, text: bool) -> Iterator[str]:
    yield f"Turn {turn.pk}: {turn.status}" + (f" ({turn.outcome})" if turn.outcome else "")
    title = f" {_shown(turn.session.title)}" if text and turn.session.title else ""
    yield f"  session   {turn.session_id}{title}, user {turn.user} ({turn.user_id})"
    yield f"  model     {turn.model}, effort {turn.effort or 'default'}, origin {turn.origin}"
    holder = f"worker {turn.worker}, heartbeat {_time(turn.heartbeat_at)}" if turn.worker else "no worker"
    yield f"  holder    attempt {turn.attempt}, fence {turn.fence}, {holder}"
    newest = f", ended at event {turn.last_seq}" if turn.last_seq is not None else ""
    yield f"  progress  {turn.steps} steps, sealed up to event {turn.sealed_seq}{newest}"
    for name in ("created_at", "started_at", "claimed_at", "progress_at", "finished_at"):
        if value := getattr(turn, name):
            yield f"  {name.removesuffix('_at'):<9} {_time(value)}"
    yield f"  ran       {turn.running_ms / 1000:.3f} s, first chunk after {_milliseconds(turn.first_chunk_ms)}"
    if turn.not_before and turn.is_live:
        yield f"  waits     until {_time(turn.not_before)}"
    if turn.is_live and turn.status == Turn.Status.QUEUED:
        yield f"  hints     {turn.dispatches} repeated, next {_time(turn.redispatch_at)}"
    if turn.action_id:
        yield f"  asks      a person: approval {turn.action_id}"
    if turn.stop_requested_at:
        yield f"  stop      asked for at {_time(turn.stop_requested_at)} ({turn.stop_reason})"
    if turn.error:
        yield f"  error     {turn.outcome}: {_shown(str(turn.error.get('detail', '')))}"
    if turn.parent_id:
        yield f"  parent    turn {turn.parent_id}" + (", still to be told of the end" if turn.owed else "")
    if turn.awaits_child:
        yield "  waits     for a child; takes up no slot"
    if turn.next_turn_id:
        yield f"  next turn {turn.next_turn_id}"


def _entries(turn: Turn, *, text: bool) -> Iterator[Entry]:
    for log in turn.journal.all():
        yield Entry(log.at, "journal", f"{log.kind} {_fields(log.data)}".rstrip())
    for message in turn.messages.order_by("seq"):
        yield Entry(message.created_at, "message", _message(message, text=text))
    for step in turn.step_rows.order_by("number"):
        kinds = Counter(item["type"] for item in step.content)
        shown = [{name: value for name, value in item.items() if name != "sealed"} for item in step.content]
        said = f": {_shown(json.dumps(shown, ensure_ascii=False))}" if text else ""
        yield Entry(step.created_at, "step", f"{step.number} {step.finish_reason}, {_counts(kinds)}{said}")
    for call in turn.tool_calls.order_by("step", "position"):
        name = f"{call.pk} {call.name}, step {call.step}"
        given = f" {_shown(json.dumps(call.arguments, ensure_ascii=False))}" if text else ""
        if call.started_at:
            yield Entry(call.started_at, "tool call", f"{name}: began{given}")
        result = f": {_shown(call.error or json.dumps(call.output, ensure_ascii=False))}" if text else ""
        if call.finished_at:
            yield Entry(call.finished_at, "tool call", f"{name}: {call.state}{result}")
        elif not call.started_at:
            yield Entry(turn.progress_at or turn.created_at, "tool call", f"{name}: {call.state}{given}")
    yield from _approvals(turn, text=text)
    for used in turn.usage_records.order_by("pk"):
        cost = "unknown cost" if used.cost_microdollars is None else f"{used.cost_microdollars} microdollars"
        about = "about " if used.estimated else ""
        tokens = f"{about}{used.input_tokens} tokens in, {used.output_tokens} out"
        who = f"{used.model}, answered by {used.answered_by}" if used.answered_by else used.model
        what = f"step {used.step} under fence {used.fence}, {who}: {tokens}, {cost} ({used.cost_source})"
        yield Entry(used.created_at, "usage", what)


def _approvals(turn: Turn, *, text: bool) -> Iterator[Entry]:
    for action in Action.objects.select_related("user", "decided_by").filter(turn=turn.pk).order_by("pk"):
        names = _counts(request.get("name", "?") for request in action.readable_requests)
        question = f": {_shown(action.question)}" if text and action.question else ""
        until = f"until {_time(action.expires_at)}"
        yield Entry(action.created_at, "approval", f"{action.pk} asks {action.user}, {until}: {names}{question}")
        if action.resolved_at is not None:
            yield Entry(action.resolved_at, "approval", f"{action.pk} {_resolved(action, text=text)}")


def _resolved(action: Action, *, text: bool) -> str:
    if action.status != Action.Status.DECIDED:
        return action.status
    decisions = action.decisions or []
    said = "".join(f" {_shown(words)}" for each in decisions if (words := each.get("reason") or each.get("text")))
    kinds = _counts(decision.get("type", "?") for decision in decisions)
    who = f"decided by {action.decided_by} on {action.surface}, {action.scope}"
    return f"{who}: {kinds}{said if text else ''}"


def _message(message: Message, *, text: bool) -> str:
    kinds = Counter(part.get("type", "?") for part in message.parts)
    place = f"place {message.seq}" if message.seq is not None else "no place"
    place += "" if message.shown else " (not shown)"
    told = f"{message.pk} of {message.role}, {place}, {message.state}: {_counts(kinds)}"
    size = len(message.text)
    return f"{told}, {size} characters" + (f": {_shown(message.text)}" if text and size else "")


def _summary(turn: Turn, rows: list[Row]) -> Iterator[str]:
    if not rows:
        yield "Events: none."
        return
    pruned = f" (the {rows[0][0] - 1} before them were pruned)" if turn.pruned else ""
    types = Counter(chunk.get("type", "?") for _, chunk in rows)
    yield f"Events: {len(rows)}, from {rows[0][0]} to {rows[-1][0]}{pruned}."
    yield f"  {_counts(types)}"


def _every_event(rows: list[Row], *, text: bool) -> Iterator[str]:
    yield f"Events: {len(rows)}."
    for seq, chunk in rows:
        yield f"  {seq:>6}  {json.dumps(chunk, ensure_ascii=False) if text else _plain_chunk(chunk)}"


def _plain_chunk(chunk: Chunk) -> str:
    """Name a chunk with its ids, reasons and sizes."""
    kind = chunk.get("type", "?")
    said = _SAID | ({"reason"} if kind == "tool-output-denied" else set())  # a person's or the policy's words
    fields = {name: chunk[name] for name in _PLAIN if name in chunk and name not in said}
    payload: dict[str, Any] = chunk.get("data") or {}
    if isinstance(asked := payload.get("approval"), dict):
        fields |= {"approval": asked.get("id"), "status": asked.get("status")}
    fields |= {name: payload[name] for name in _PLAIN_DATA.get(kind, ()) if name in payload}
    sizes = [f"{len(str(value))} characters" for name, value in chunk.items() if name in said]
    return " ".join([kind, _fields(fields), *sizes]).replace("  ", " ").rstrip()


def _line(entry: Entry, since: datetime) -> str:
    return f"  {(entry.at - since).total_seconds():>9.3f}  {entry.kind:<9}  {entry.what}"


def _fields(data: dict[str, Any]) -> str:
    shown = {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in data.items()}
    return " ".join(f"{key}={value}" for key, value in shown.items())


def _counts(kinds: Iterable[str] | Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in Counter(kinds).items()) or "empty"


def _milliseconds(value: int | None) -> str:
    return "unknown time" if value is None else f"{value} ms"


def _shown(text: str) -> str:
    """One line of a text, cut; control characters would garble a terminal."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= TEXT_MAX else f"{line[:TEXT_MAX]}… ({len(line)} characters)"


def _time(value: datetime | None) -> str:
    return value.astimezone(UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z") if value else "never"
