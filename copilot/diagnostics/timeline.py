"""A turn's history, from all its rows, in time order and without what people and models said.

Text is shown only on request: an operator who looks for a fault needs sizes and times, not conversations.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from django.db.models import Count, Max, Min

from approvals.models import Action
from copilot.events.log import read_events
from copilot.events.schema import Chunk
from copilot.models import Message, Turn, TurnEvent, TurnLog

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


#: Entries of the journal that end a call of the model, if one of the others came right before.
_ANSWERED = ("step", "completed", "failed")
_AT_WORK = ("claimed", "step", "call", "delivered", "compacted")


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: when, in which table it is written, and what it says."""

    at: datetime
    kind: str
    what: str
    #: Of what took time until then: since when, and what it went to (``queue``, ``model``, ``tool``, ``person``).
    since: datetime | None = None
    spent: str = ""


@dataclass(frozen=True, slots=True)
class Events:
    """A turn's event log, as far as it is still there."""

    #: How many there are, by type.
    kinds: dict[str, int]
    #: The first and the last seq; 0 when there are none.
    first: int
    last: int
    #: How many before the first were removed, long after the turn's end.
    pruned: int
    #: Those that were asked for: seq, and what it says.
    listed: list[tuple[int, str]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.kinds.values())

    @property
    def by_kind(self) -> str:
        """How many there are of each type, in words."""
        return _counts(self.kinds)


@dataclass(frozen=True, slots=True)
class Timeline:
    """A turn's history."""

    turn: Turn
    #: What its own row says: a name, and a text.
    about: list[tuple[str, str]]
    #: In time order.
    entries: list[Entry]
    events: Events


def timeline(
    turn_id: uuid.UUID, *, text: bool = False, events: bool = False, after: int = 0, limit: int | None = None
) -> Timeline | None:
    """Return a turn's history; None when there is no such turn.

    Args:
        text: show the beginnings of what was said, called and returned too.
        events: list the events, too: at most ``limit`` of them (None: all) with a seq above ``after``.
    """
    turn = Turn.objects.select_related("session", "user").filter(pk=turn_id).first()
    if turn is None:
        return None
    log = _events(turn)
    if events:
        log = replace(log, listed=_listed(turn, after=after, limit=limit, text=text))
    entries = sorted(_entries(turn, text=text), key=lambda one: one.at)
    return Timeline(turn, list(_about(turn, text=text)), entries, log)


def _events(turn: Turn) -> Events:
    # Counted by the database: a long turn has ten thousand of them.
    found = TurnEvent.objects.filter(turn_id=turn.pk).values_list("chunk__type")
    rows = list(found.annotate(Count("seq"), first=Min("seq"), last=Max("seq")).order_by("first"))
    first = min((row[2] for row in rows), default=0)
    last = max((row[3] for row in rows), default=0)
    return Events({row[0] or "?": row[1] for row in rows}, first, last, first - 1 if turn.pruned and first else 0)


def _listed(turn: Turn, *, after: int, limit: int | None, text: bool) -> list[tuple[int, str]]:
    rows = read_events(turn.pk, after, limit)
    return [(seq, json.dumps(chunk, ensure_ascii=False) if text else _plain_chunk(chunk)) for seq, chunk in rows]


def _about(turn: Turn, *, text: bool) -> Iterator[tuple[str, str]]:
    title = f" {_shown(turn.session.title)}" if text and turn.session.title else ""
    yield "session", f"{turn.session_id}{title}, user {turn.user} ({turn.user_id})"
    yield "model", f"{turn.model}, effort {turn.effort or 'default'}, origin {turn.origin}"
    holder = f"worker {turn.worker}, heartbeat {in_utc(turn.heartbeat_at)}" if turn.worker else "no worker"
    yield "holder", f"attempt {turn.attempt}, fence {turn.fence}, {holder}"
    newest = f", ended at event {turn.last_seq}" if turn.last_seq is not None else ""
    yield "progress", f"{turn.steps} steps, sealed up to event {turn.sealed_seq}{newest}"
    for name in ("created_at", "started_at", "claimed_at", "progress_at", "finished_at"):
        if value := getattr(turn, name):
            yield name.removesuffix("_at"), in_utc(value)
    yield "ran", f"{turn.running_ms / 1000:.3f} s, first chunk after {_milliseconds(turn.first_chunk_ms)}"
    if turn.not_before and turn.is_live:
        yield "waits", f"until {in_utc(turn.not_before)}"
    if turn.is_live and turn.status == Turn.Status.QUEUED:
        yield "hints", f"{turn.dispatches} repeated, next {in_utc(turn.redispatch_at)}"
    if turn.action_id:
        yield "asks", f"a person: approval {turn.action_id}"
    if turn.stop_requested_at:
        yield "stop", f"asked for at {in_utc(turn.stop_requested_at)} ({turn.stop_reason})"
    if turn.error:
        yield "error", f"{turn.outcome}: {_shown(str(turn.error.get('detail', '')))}"
    if turn.parent_id:
        yield "parent", f"turn {turn.parent_id}" + (", still to be told of the end" if turn.owed else "")
    if turn.awaits_child:
        yield "waits", "for a child; takes up no slot"
    if turn.next_turn_id:
        yield "next turn", str(turn.next_turn_id)


def _entries(turn: Turn, *, text: bool) -> Iterator[Entry]:
    before: TurnLog | None = None
    for log in turn.journal.all():
        spent = _spent_before(log.kind, before.kind if before else "")
        what = f"{log.kind} {_fields(log.data)}".rstrip()
        yield Entry(log.at, "journal", what, since=before.at if before and spent else None, spent=spent)
        before = log
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
            spent = "tool" if call.started_at else ""
            what = f"{name}: {call.state}{result}"
            yield Entry(call.finished_at, "tool call", what, since=call.started_at, spent=spent)
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


def _spent_before(kind: str, before: str) -> str:
    """Say what the time between two entries of the journal went to, where that is known."""
    if kind == "claimed" and before:
        return "queue"
    return "model" if kind in _ANSWERED and before in _AT_WORK else ""


def _approvals(turn: Turn, *, text: bool) -> Iterator[Entry]:
    for action in Action.objects.select_related("user", "decided_by").filter(turn=turn.pk).order_by("pk"):
        names = _counts(request.get("name", "?") for request in action.readable_requests)
        question = f": {_shown(action.question)}" if text and action.question else ""
        until = f"until {in_utc(action.expires_at)}"
        yield Entry(action.created_at, "approval", f"{action.pk} asks {action.user}, {until}: {names}{question}")
        if action.resolved_at is not None:
            what = f"{action.pk} {_resolved(action, text=text)}"
            yield Entry(action.resolved_at, "approval", what, since=action.created_at, spent="person")


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


def in_utc(value: datetime | None) -> str:
    """Write a moment down as people and programs read it; ``never`` when there is none."""
    return value.astimezone(UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z") if value else "never"
