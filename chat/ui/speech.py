"""A turn's events in the words of one response of the UI message stream.

A response of the AI SDK is one message, from a ``start`` to a ``finish``. A turn is that and more: it pauses for
days, takes back what it said, and goes on after messages that were sent meanwhile. Each is said here in the chunks
that the client's own code (``ai`` 6 and 7) makes the right thing of.
"""

from __future__ import annotations

from typing import Any

from chat.ui.told import chunks_of
from copilot.events import schema
from copilot.events.fold import Transcript
from copilot.events.schema import Chunk
from copilot.tools.ask_user import AskUser

#: From this version of the AI SDK on a client can be told that a step begins anew.
KNOWS_RESET = 7
TAKEN_BACK = "Taken back: the answer began anew before this call was made."
BEGINS_ANEW = "(The answer was cut off here and begins anew.)"


def approval_id(action_id: object, call_id: object) -> str:
    """Return what a client knows as the approval of one call."""
    return f"{action_id}.{call_id}"


class Speech:
    """Words the events of a turn, from its first, as they come.

    Args:
        sdk: the major version of the AI SDK that listens.
        message_id: what the message is called where the events do not say so.
    """

    def __init__(self, sdk: int, message_id: str = "") -> None:
        self._sdk = sdk
        self._message_id = message_id
        self._begun = False
        self._in_step = False
        #: The seq that the step began with, and what the client knows of it.
        self._step_seq = 0
        self._step = Transcript()
        self._said_in_step = False
        #: The step was taken back and begins anew: its beginning is not told twice.
        self._anew = False
        #: All was told from what is stored: what is left of the events is a part of it.
        self._whole = False
        #: News from before the beginning.
        self._early: list[Chunk] = []
        #: Calls that ask the person, until they are asked.
        self._kept: dict[str, list[Chunk]] = {}
        #: The client was told of calls that the person answers, and of no step since.
        self._asked = False

    def begin(self, message_id: str) -> list[Chunk]:
        """Return what goes on with a message that the client has already, or begins one of this name."""
        self._begun = True
        early, self._early = self._early, []
        return [schema.start(message_id), *early]

    def take(self, seq: int | None, chunk: Chunk) -> list[Chunk]:
        """Return what a response says of an event; often the event itself."""
        if self._begun or chunk["type"] in ("start", "data-reset", "data-rollback"):
            return self._take(seq, chunk)
        self._early += self._take(seq, chunk)
        if not schema.is_terminal(chunk):
            return []
        early, self._early = self._early, []
        return early  # it ended before it began to answer

    def _take(self, seq: int | None, chunk: Chunk) -> list[Chunk]:
        kind = chunk["type"]
        if self._whole and not schema.is_terminal(chunk):
            return []
        if kind == "start":
            return [] if self._begun else self.begin(chunk["messageId"])
        if kind == "start-step":
            return self._start_step(seq or 0, chunk)
        if kind == "finish-step":
            return [] if self._anew or not self._in_step else self._finish_step()
        if kind == "data-rollback":
            return self._take_back(chunk["data"]["to_seq"], seq or 0)
        if kind == "data-reset":
            return self._told(chunk["data"]["parts"])
        if kind == "data-pending" and self._sdk >= KNOWS_RESET:
            message = chunk["data"]["message"]
            return [{"type": "steering-message", "id": message["id"], "parts": message["parts"]}]
        if kind in ("data-approval", "data-approval-decided"):
            return [_as_one(chunk)]
        if kind == "abort" and self._asked:
            # A client sends by itself what ends with the outcomes of its own calls, each time it is told of them.
            end = self._finish_step() if self._in_step else []
            # And it keeps a step only when something comes with it that it writes down.
            written = {"type": "message-metadata", "messageMetadata": {}}
            return [*end, schema.start_step(), schema.finish_step(), written, chunk]
        return self._known(self._of_call(kind, chunk) if kind.startswith("tool-") else [chunk])

    def ask(self, chunk: Chunk) -> list[Chunk]:
        """Return the end of a response with which the turn waits for a person; ``chunk`` says for what."""
        approval = chunk["data"]["approval"]
        calls = [request["tool_call_id"] for request in approval["requests"]]
        if approval["kind"] == "tool_approval":
            asked = [
                {
                    "type": "tool-approval-request",
                    "approvalId": approval_id(approval["id"], call),
                    "toolCallId": call,
                }
                for call in calls
            ]
        else:
            asked = self._known([kept for call in calls for kept in self._tell_kept(call)])
        end = self._finish_step() if self._in_step else []
        return [*asked, _as_one(chunk), *end, schema.finish("tool-calls")]

    def _start_step(self, seq: int, chunk: Chunk) -> list[Chunk]:
        anew, self._anew = self._anew, False
        self._in_step, self._step_seq, self._said_in_step = True, seq, False
        self._step = Transcript()
        self._kept = {}
        self._asked = False
        return [] if anew else [chunk]

    def _finish_step(self) -> list[Chunk]:
        self._in_step = False
        return [schema.finish_step()]

    def _take_back(self, to_seq: int, seq: int) -> list[Chunk]:
        """Forget the open step, if it is one that is taken back: nothing before it ever is."""
        if not self._in_step or self._step_seq <= to_seq:
            return []
        self._kept = {}
        if not self._said_in_step:
            self._anew = True
            return []
        if self._sdk >= KNOWS_RESET:
            self._anew = True
            return [{"type": "reset-step"}]
        part = f"anew-{seq}"
        line = [
            schema.part_start("text", part),
            schema.part_delta("text", part, BEGINS_ANEW),
            schema.part_end("text", part),
        ]
        return [*self._step.closing(tool_error=TAKEN_BACK), *line, *self._finish_step()]

    def _of_call(self, kind: str, chunk: Chunk) -> list[Chunk]:
        """Return what is said of a call. One that asks the person is told when they are asked, and not before: a
        client waits for the outcomes of all calls that it knows of before it sends any answer."""
        call = chunk["toolCallId"]
        if chunk.get("toolName") == AskUser.name and kind in ("tool-input-start", "tool-input-available"):
            self._kept.setdefault(call, []).append(chunk)
            return []
        if call in self._kept:
            if kind == "tool-input-delta":
                self._kept[call].append(chunk)
                return []
            return [*self._tell_kept(call), chunk]
        if "toolName" in chunk:
            # Nothing that the client has to run: it may wait only for what a person answers.
            return [{**chunk, "providerExecuted": True}]
        if kind == "tool-output-denied":
            return [{"type": kind, "toolCallId": call}]
        return [chunk]

    def _tell_kept(self, call: str) -> list[Chunk]:
        self._asked |= call in self._kept
        return self._kept.pop(call, [])

    def _known(self, chunks: list[Chunk]) -> list[Chunk]:
        for chunk in chunks:
            if not chunk["type"].startswith("data-"):
                self._step.apply(chunk)
                self._said_in_step = True
        return chunks

    def _told(self, parts: list[dict[str, Any]]) -> list[Chunk]:
        """Return what stands in for events that are not kept any more."""
        self._whole = True
        start = [] if self._begun else self.begin(self._message_id)
        return [*start, *chunks_of(parts)]


def _as_one(chunk: Chunk) -> Chunk:
    """Return what is told of an approval as a part that a client keeps once, however often it hears of it."""
    return {**chunk, "id": chunk["data"]["approval"]["id"]}
