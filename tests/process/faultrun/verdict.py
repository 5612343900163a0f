"""What a fault run must leave behind. Each check gets plain data and yields a sentence for each broken promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.process.clients import ENDED, TERMINAL, Row, text_of

#: What may become of a turn that nobody stopped and whose script does not fail.
_LOSSES = {"worker_lost"}


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was accepted. ``says`` is what a turn that answers it alone says, None when that varies."""

    id: str
    says: str | None
    fails: bool = False


@dataclass(slots=True)
class Evidence:
    """Everything about one session after a run: what its person did, what is stored, and what followers saw."""

    session: str
    sent: list[Sent] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    queued: list[dict[str, Any]] = field(default_factory=list)
    turns: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, list[Row]] = field(default_factory=dict)
    #: By turn, what each follower of it was given.
    seen: dict[str, list[list[Row]]] = field(default_factory=dict)
    #: Whether the person ever asked for a stop; an answer may be lost, and the request is repeated then.
    asked_to_stop: bool = False
    #: Turns of which a person was told that they were stopped.
    stopped: set[str] = field(default_factory=set)
    #: Lines of the file that ``demo_once`` appends to.
    lines: list[str] = field(default_factory=list)
    #: Every approval that a turn asked for, as it is in the end, by id.
    approvals: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: What the person was told has been decided: by approval, the type of decision by call.
    decided: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Lines of the file that ``demo_note`` appends to.
    notes: list[str] = field(default_factory=list)


def problems(evidence: Evidence) -> list[str]:
    """Return everything that is wrong with a session."""
    found = [*delivery_problems(evidence), *line_problems(evidence), *approval_problems(evidence)]
    for turn in evidence.turns:
        found += ending_problems(evidence, turn)
        found += log_problems(evidence.logs[turn])
        for seen in evidence.seen.get(turn, []):
            found += transcript_problems(evidence, turn, seen)
    return [f"session {evidence.session}: {sentence}" for sentence in found]


def delivery_problems(evidence: Evidence) -> Iterator[str]:
    """Every accepted message is delivered once, in typing order, or is held; nothing else is there."""
    typed = [sent.id for sent in evidence.sent]
    delivered = [message["id"] for message in evidence.messages if message["role"] == "user"]
    waiting = [message["id"] for message in evidence.queued]
    for message, times in Counter([*delivered, *waiting]).items():
        if times > 1:
            yield f"message {message} is there {times} times"
        if message not in typed:
            yield f"message {message} was never accepted"
    for message in typed:
        if message not in delivered and message not in waiting:
            yield f"message {message} was accepted and is lost"
    if [message for message in typed if message in delivered] != delivered:
        yield "messages were not delivered in typing order"
    for message in evidence.queued:
        if not message.get("held"):
            yield f"message {message['id']} waits in an idle session and is not held"
    places = [message["seq"] for message in evidence.messages]
    if places != sorted(set(places)):
        yield "places in the transcript are not in order"


def ending_problems(evidence: Evidence, turn: str) -> Iterator[str]:
    """A turn has ended, for a reason that there was, and a completed one said all of what it was asked for."""
    stored = evidence.turns[turn]
    status, code = stored["status"], (stored.get("error") or {}).get("code")
    if status not in ENDED:
        yield f"turn {turn} is {status}"
        return
    if turn in evidence.stopped and status != "cancelled":
        yield f"turn {turn} was said to be stopped, but is {status}"
    if code == "approval_expired":
        if "expired" not in [each["status"] for each in evidence.approvals.values() if each["turn"] == turn]:
            yield f"turn {turn} is cancelled as expired, but no approval of it is"
    elif status == "cancelled" and not evidence.asked_to_stop:
        yield f"turn {turn} is cancelled, but nobody stopped it"
    asked = {
        message["id"] for message in evidence.messages if message["role"] == "user" and message["turn"] == turn
    }
    questions = [sent for sent in evidence.sent if sent.id in asked]
    if not questions:
        yield f"turn {turn} answers nothing"
    if status == "failed" and code not in _LOSSES and not any(sent.fails for sent in questions):
        yield f"turn {turn} failed as {code}"
    if status == "completed" and len(questions) == 1 and questions[0].says not in (None, stored["text"]):
        yield f"turn {turn} said {stored['text'][:60]!r}, asked for was {(questions[0].says or '')[:60]!r}"


def log_problems(rows: Sequence[Row]) -> Iterator[str]:
    """Events are dense, and the last one and no other is terminal."""
    if [seq for seq, _ in rows] != list(range(1, len(rows) + 1)):
        yield f"the log of {len(rows)} events is not dense"
    terminal = [seq for seq, chunk in rows if chunk["type"] in TERMINAL]
    if terminal != [len(rows)]:
        yield f"terminal events at {terminal} of {len(rows)}"


def transcript_problems(evidence: Evidence, turn: str, seen: list[Row]) -> Iterator[str]:
    """A follower was given every event once, in order, and shows the stored text."""
    if seen != evidence.logs[turn]:
        stored = len(evidence.logs[turn])
        yield f"a follower of turn {turn} was given {len(seen)} events, stored are {stored}, or others"
    if text_of(seen) != evidence.turns[turn]["text"]:
        yield f"a follower of turn {turn} shows another text than is stored"


def line_problems(evidence: Evidence) -> Iterator[str]:
    """What must not happen twice did not; and what is stored as done was done."""
    for line, times in Counter(evidence.lines).items():
        if times > 1:
            yield f"{line!r} was written {times} times"
    for line in calls_done(evidence):
        if line not in evidence.lines:
            yield f"{line!r} is stored as done, but was not written"


def approval_problems(evidence: Evidence) -> Iterator[str]:
    """What a person decided is what is stored and what happened, and nothing else did."""
    allowed: list[str] = []
    for approval in evidence.approvals.values():
        name, status = f"approval {approval['id']}", approval["status"]
        if status == "pending":
            yield f"{name} is pending, but its turn has ended"
        stored = {each["tool_call_id"]: each["type"] for each in approval.get("decisions", ())}
        if evidence.decided.get(approval["id"], {}) != stored:
            yield f"{name} is {status} as {stored}, its person was told otherwise"
        told = _decided_in_log(evidence, approval)
        if told != 1:
            yield f"the end of {name} is in the log {told} times"
        for text, part in _approved(approval, evidence):
            allowed.append(text)
            yield from _outcome_problems(evidence, approval["turn"], text, part)
    for line in evidence.notes:
        if line not in allowed:
            yield f"{line!r} was written, but nobody approved it"


def _decided_in_log(evidence: Evidence, approval: dict[str, Any]) -> int:
    log = evidence.logs.get(approval["turn"], [])
    ends = [chunk["data"]["approval"] for _, chunk in log if chunk["type"] == "data-approval-decided"]
    return sum(end["id"] == approval["id"] for end in ends)


def _approved(approval: dict[str, Any], evidence: Evidence) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the text with which each call may run that was approved, and how the transcript shows it."""
    shown = {
        part["toolCallId"]: part for message in evidence.messages for part in message["parts"] if _is_call(part)
    }
    asked = {request["tool_call_id"]: request["arguments"] for request in approval["requests"]}
    for decision in approval.get("decisions", ()):
        call = decision["tool_call_id"]
        if decision["type"] in ("approve", "edit"):
            yield (decision.get("arguments") or asked[call])["text"], shown.get(call, {})


def _is_call(part: dict[str, Any]) -> bool:
    return part.get("type") == "dynamic-tool"


def _outcome_problems(evidence: Evidence, turn: str, text: str, part: dict[str, Any]) -> Iterator[str]:
    times = evidence.notes.count(text)
    if times > 1:
        yield f"{text!r} was approved once and written {times} times"
    known = part.get("state") != "output-error" or "not known" not in part["errorText"]
    if evidence.turns[turn]["status"] == "completed" and known and times != 1:
        yield f"{text!r} was approved, but written {times} times in a completed turn"


def calls_done(evidence: Evidence) -> list[str]:
    """Return the lines that calls of ``demo_once`` are said to have written."""
    parts = [part for message in evidence.messages for part in message["parts"]]
    return [
        part["input"]["text"]
        for part in parts
        if part.get("toolName") == "demo_once" and part["state"] == "output-available"
    ]
