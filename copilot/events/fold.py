"""From a turn's events to what they show: the parts of its messages, and what is still open.

The stored message is made by this fold, so what is stored is what was streamed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from copilot.events import schema
from copilot.events.schema import Chunk

Event = tuple[int, Chunk]
#: Begins what stands for a secret (``common.redaction``).
HIDDEN = "⟦hidden:"
#: States of the part of a call that has its input and no outcome yet.
WITHOUT_OUTCOME = ("input-available", "approval-requested", "approval-responded")


def standing(events: Iterable[Event]) -> list[Event]:
    """Return the events that no later rollback took back, without the rollbacks themselves."""
    kept: list[Event] = []
    for seq, chunk in events:
        if chunk["type"] == "data-rollback":
            to_seq = chunk["data"]["to_seq"]
            while kept and kept[-1][0] > to_seq:
                kept.pop()
        else:
            kept.append((seq, chunk))
    return kept


@dataclass
class Transcript:
    """The state that a turn's standing events add up to."""

    #: Parts by message id, in order of the messages.
    messages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    terminal: Chunk | None = None
    _parts: list[dict[str, Any]] = field(default_factory=list)
    _open: dict[str, tuple[str, dict[str, Any], list[str]]] = field(default_factory=dict)
    _inputs: dict[str, tuple[dict[str, Any], list[str]]] = field(default_factory=dict)
    _calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    _in_step: bool = False

    @classmethod
    def of(cls, events: Iterable[Event]) -> Transcript:
        """Fold a turn's events, from its first."""
        transcript = cls()
        for _, chunk in standing(events):
            transcript.apply(chunk)
        return transcript

    def apply(self, chunk: Chunk) -> None:
        """Take one more chunk into account; unknown ones show nothing."""
        kind = chunk["type"]
        if kind.endswith("-delta"):
            self._delta(kind, chunk)
        elif kind == "start":
            self._parts = self.messages.setdefault(chunk["messageId"], [])
        elif kind == "data-pending":
            self._parts = self.messages.setdefault(chunk["data"]["next_message_id"], [])
        elif kind == "start-step":
            self._in_step = True
            self._parts.append({"type": "step-start"})
        elif kind == "finish-step":
            self._in_step = False
        elif kind in ("text-start", "reasoning-start"):
            part = {"type": kind.removesuffix("-start"), "text": "", "state": "streaming"}
            self._parts.append(part)
            self._open[chunk["id"]] = (part["type"], part, [])
        elif kind in ("text-end", "reasoning-end"):
            self._close(chunk["id"])
        elif kind.startswith("tool-"):
            self._tool(kind, chunk)
        elif kind in ("data-approval", "data-approval-decided"):
            self._approval(chunk["data"]["approval"])
        elif kind == "data-compaction":
            self._parts.append({"type": kind, "data": chunk["data"]})
        elif schema.is_terminal(chunk):
            self.terminal = chunk

    def _delta(self, kind: str, chunk: Chunk) -> None:
        if kind == "tool-input-delta":
            if chunk["toolCallId"] in self._inputs:
                self._inputs[chunk["toolCallId"]][1].append(chunk["inputTextDelta"])
        elif chunk["id"] in self._open:
            self._open[chunk["id"]][2].append(chunk["delta"])

    def _close(self, part_id: str) -> None:
        _, part, texts = self._open.pop(part_id)
        part["text"] = "".join(texts)
        part["state"] = "done"

    def _tool(self, kind: str, chunk: Chunk) -> None:
        call = chunk["toolCallId"]
        if kind == "tool-input-start":
            self._inputs[call] = self._begin_call(chunk), []
        elif kind == "tool-input-available" and call in self._calls:
            self._calls[call]["input"] = chunk["input"]  # as a person edited it
        elif kind == "tool-input-available":
            self._calls[call] = self._end_input(chunk)
            self._calls[call]["state"] = "input-available"
        elif kind == "tool-input-error":
            self._end_input(chunk).update(state="output-error", errorText=chunk["errorText"])
        elif call in self._calls:
            self._settle(kind, self._calls[call], chunk)

    def _begin_call(self, chunk: Chunk) -> dict[str, Any]:
        part = {
            "type": "dynamic-tool",
            "toolName": chunk["toolName"],
            "toolCallId": chunk["toolCallId"],
            "state": "input-streaming",
        }
        self._parts.append(part)
        return part

    def _end_input(self, chunk: Chunk) -> dict[str, Any]:
        known = self._inputs.pop(chunk["toolCallId"], None)
        part = known[0] if known else self._begin_call(chunk)
        part.update(toolName=chunk["toolName"], input=chunk["input"])
        return part

    def _approval(self, approval: dict[str, Any]) -> None:
        """Note on the calls that a person is asked about them, or what was decided; outcomes follow by themselves.

        A question is no approval: its call waits for its output like any other.
        """
        if approval["kind"] != "tool_approval":
            return
        decided = {each["tool_call_id"]: each["type"] for each in approval.get("decisions", ())}
        for request in approval["requests"]:
            part = self._calls.get(request["tool_call_id"])
            if part is None:
                continue
            about = part["approval"] = {"id": f"{approval['id']}.{request['tool_call_id']}"}
            if approval["status"] == "pending":
                part["state"] = "approval-requested"
            elif approval["status"] == "decided":
                about["approved"] = decided.get(request["tool_call_id"]) != "reject"
                part["state"] = "approval-responded"
            else:
                part["state"] = "input-available"
                del part["approval"]

    @staticmethod
    def _settle(kind: str, part: dict[str, Any], chunk: Chunk) -> None:
        if kind == "tool-output-available":
            part["state"] = "input-available" if chunk.get("preliminary") else "output-available"
            part["output"] = chunk["output"]
            part["preliminary"] = bool(chunk.get("preliminary"))
            if not part["preliminary"]:
                del part["preliminary"]
        elif kind == "tool-output-error":
            part["state"] = "output-error"
            part["errorText"] = chunk["errorText"]
        elif kind == "tool-output-denied":
            part["state"] = "output-denied"
            reason = {"reason": chunk["reason"]} if "reason" in chunk else {}
            known = part.get("approval", {"id": chunk["toolCallId"]})
            part["approval"] = {**known, "approved": False, **reason}

    def closing(self, *, tool_error: str) -> list[Chunk]:
        """Return the chunks that end whatever is still open.

        Every start gets its end, a call's input too, and every call that had its input an outcome, also on errors.

        Args:
            tool_error: what a call without an outcome is said to have met.
        """
        chunks = [schema.part_end(kind, part_id) for part_id, (kind, _, _) in self._open.items()]
        chunks += [
            schema.tool_input_error(call, part["toolName"], "".join(pieces), tool_error)
            for call, (part, pieces) in self._inputs.items()
        ]
        chunks += [
            schema.tool_output_error(call, tool_error)
            for call, part in self._calls.items()
            if part["state"] in WITHOUT_OUTCOME
        ]
        return chunks

    def parts_of(self, message_id: object) -> list[dict[str, Any]]:
        """Return the parts of one message; one without its end shows the text so far, a call nothing yet."""
        for _, part, texts in self._open.values():
            part["text"] = "".join(texts)
        parts = self.messages.get(str(message_id), [])
        return [part for part in parts if part.get("state") != "input-streaming"]

    @property
    def calls(self) -> dict[str, dict[str, Any]]:
        """The parts of the calls that had their input, by id; others never came to be."""
        return self._calls

    @property
    def hides_something(self) -> bool:
        """Whether a secret stands hidden in what was said or thought."""
        return any(HIDDEN in part.get("text", "") for parts in self.messages.values() for part in parts)

    @property
    def text(self) -> str:
        """All text of all messages, joined with nothing between."""
        return "".join(
            part["text"] for message in self.messages for part in self.parts_of(message) if part["type"] == "text"
        )
