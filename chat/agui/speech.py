"""A turn's events in the words of AG-UI.

The client's own code (``@ag-ui/client`` 1.0) checks the order of what it is told: whatever was begun is ended
before a run is, and nothing comes after a run's end. What was said is taken back by telling all of it anew.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

from chat.agui.asking import interrupts_of
from chat.agui.conversation import Conversation
from chat.ui.told import chunks_of
from copilot.events.log import Row
from copilot.events.schema import Chunk

Json = dict[str, Any]

_START = {"text": "TEXT_MESSAGE_START", "reasoning": "REASONING_MESSAGE_START"}
_CONTENT = {"text": "TEXT_MESSAGE_CONTENT", "reasoning": "REASONING_MESSAGE_CONTENT"}
_END = {"text": "TEXT_MESSAGE_END", "reasoning": "REASONING_MESSAGE_END"}
_ROLE = {"text": "assistant", "reasoning": "reasoning"}
#: Ours that have no other words in AG-UI; a front end that knows them may show them.
_CUSTOM = frozenset({"data-status", "data-title", "data-compaction", "data-usage"})


class Speech:
    """Words the events of a turn, from its first, as they come.

    Args:
        turn_id: the turn, whose messages are named after it.
        about: the ``threadId`` and ``runId`` of the run.
        conversation: the client's messages; what is said becomes part of them.
    """

    def __init__(self, turn_id: uuid.UUID, about: Json, conversation: Conversation) -> None:
        self._turn_id = turn_id
        self._about = about
        self._conversation = conversation
        #: What the client has from an earlier run is only gone through.
        self._silent = False
        self._out: list[Json] = []
        #: Open texts and thoughts: their kind, the seq they began with, and whether the client was told of them.
        self._parts: dict[str, tuple[str, int, bool]] = {}
        #: Calls that the client was told of, and whether their input is still open.
        self._calls: dict[str, bool] = {}
        self._steps = 0
        self._in_step = False
        #: The message that the calls of this step belong to.
        self._parent = ""
        self._error: Json = {}

    def pass_over(self, rows: Iterable[Row]) -> None:
        """Go through the events of an earlier run, up to its end: the client has them."""
        self._silent = True
        for seq, chunk in rows:
            self._take(seq, chunk)
        self._close()
        self._silent = False

    def take(self, seq: int | None, chunk: Chunk) -> list[Json]:
        """Return what is said of an event."""
        self._take(seq or 0, chunk)
        return self._said()

    def ask(self, chunk: Chunk) -> list[Json]:
        """Return the end of a run whose turn waits for a person."""
        interrupts = interrupts_of(chunk["data"]["approval"])
        self._end({"type": "interrupt", "interrupts": interrupts})
        return self._said()

    def finish(self, usage: Json) -> list[Json]:
        """Return the end of a run whose turn completed.

        Args:
            usage: what the turn used, as turns have it.
        """
        self._end({"type": "success"}, usage=[_usage(usage)])
        return self._said()

    def fail(self, message: str, code: str) -> list[Json]:
        """Return the end of a run that failed; nothing may come after it."""
        self._fail(message, code)
        return self._said()

    def _said(self) -> list[Json]:
        out, self._out = self._out, []
        return out

    def _end(self, outcome: Json, **more: Any) -> None:
        self._close()
        self._say({"type": "RUN_FINISHED", **self._about, "outcome": outcome, **more})

    def _fail(self, message: str, code: str) -> None:
        self._close()
        self._say({"type": "RUN_ERROR", "message": message, "code": code})

    def _say(self, event: Json, began: int = 0) -> None:
        if not self._silent:
            self._conversation.apply(began, event)
            self._out.append(event)

    # --- events ------------------------------------------------------------------------------------

    def _take(self, seq: int, chunk: Chunk) -> None:
        kind = chunk["type"]
        first, _, what = kind.rpartition("-")
        if first in _START:
            self._take_part(first, what, seq, chunk)
        elif kind.startswith("tool-"):
            self._take_call(kind, seq, chunk)
        elif kind == "start-step":
            self._start_step()
        elif kind == "finish-step":
            self._end_step()
        elif kind == "data-rollback":
            self._take_back(chunk["data"]["to_seq"])
        elif kind == "data-pending":
            self._tell_message(seq, chunk["data"]["message"])
        elif kind == "data-reset":
            for told in chunks_of(chunk["data"]["parts"]):
                self._take(seq, told)
        elif kind == "data-error":
            self._error = chunk["data"]
        elif kind == "abort":
            self._end({"type": "cancelled"})
        elif kind == "error":
            self._fail(chunk["errorText"], self._error.get("code", "unknown"))
        elif kind in _CUSTOM:
            self._say({"type": "CUSTOM", "name": kind, "value": chunk["data"]})

    def _take_part(self, kind: str, what: str, seq: int, chunk: Chunk) -> None:
        part = chunk["id"]
        if what == "start":
            self._parts[part] = (kind, seq, False)
        elif what == "delta" and chunk["delta"] and part in self._parts:
            _, began, told = self._parts[part]
            if not told:
                self._parts[part] = (kind, began, True)
                self._begin_part(kind, part, began)
            self._say({"type": _CONTENT[kind], "messageId": self._name(part), "delta": chunk["delta"]})
        elif what == "end":
            self._end_part(part)

    def _begin_part(self, kind: str, part: str, began: int) -> None:
        name = self._name(part)
        if kind == "reasoning":
            self._say({"type": "REASONING_START", "messageId": name})
        else:
            self._parent = name
        self._say({"type": _START[kind], "messageId": name, "role": _ROLE[kind]}, began)

    def _end_part(self, part: str) -> None:
        kind, _, told = self._parts.pop(part, ("", 0, False))
        if told:
            self._say({"type": _END[kind], "messageId": self._name(part)})
            if kind == "reasoning":
                self._say({"type": "REASONING_END", "messageId": self._name(part)})

    def _name(self, part: str) -> str:
        return f"{self._turn_id}.{part}"

    def _take_call(self, kind: str, seq: int, chunk: Chunk) -> None:
        call = chunk["toolCallId"]
        if kind == "tool-input-start":
            self._begin_call(call, chunk["toolName"], seq)
        elif kind == "tool-input-available" and self._calls.get(call) is False:
            self._edit(call, chunk["input"])
        elif kind in ("tool-input-available", "tool-input-error"):
            if call not in self._calls:
                self._begin_call(call, chunk["toolName"], seq)
            self._end_input(call, chunk.get("input"))
            if kind == "tool-input-error":
                self._end_call(call, seq, chunk["errorText"], "error")
        elif kind == "tool-output-available" and not chunk.get("preliminary"):
            self._end_call(call, seq, chunk["output"])
        elif kind == "tool-output-error":
            self._end_call(call, seq, chunk["errorText"], "error")
        elif kind == "tool-output-denied":
            self._end_call(call, seq, chunk.get("reason") or "This call was refused.", "denied")

    def _begin_call(self, call: str, name: str, seq: int) -> None:
        self._calls[call] = True
        self._parent = self._parent or call
        about = {"toolCallId": call, "toolCallName": name, "parentMessageId": self._parent}
        self._say({"type": "TOOL_CALL_START", **about}, seq)

    def _end_input(self, call: str, arguments: Any) -> None:
        """Tell the arguments as a whole: what is shown of them while they come may leave things out."""
        if arguments is not None and arguments != "":
            self._say({"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": _text(arguments)})
        self._calls[call] = False
        self._say({"type": "TOOL_CALL_END", "toolCallId": call})

    def _end_call(self, call: str, seq: int, content: Any, outcome: str = "") -> None:
        about = {"messageId": f"{call}.result", "toolCallId": call, "content": _text(content), "role": "tool"}
        more = {"metadata": {"outcome": outcome}} if outcome else {}
        self._say({"type": "TOOL_CALL_RESULT", **about, **more}, seq)

    def _edit(self, call: str, arguments: Any) -> None:
        """Tell that a person let a call run with other arguments: by all messages, as no event says that."""
        if self._conversation.edit(call, _text(arguments)):
            self._say(self._conversation.snapshot())

    def _start_step(self) -> None:
        self._end_step()
        self._steps += 1
        self._in_step = True
        self._parent = ""
        self._say({"type": "STEP_STARTED", "stepName": f"step {self._steps}"})

    def _end_step(self) -> None:
        if self._in_step:
            self._in_step = False
            self._say({"type": "STEP_FINISHED", "stepName": f"step {self._steps}"})

    def _tell_message(self, seq: int, message: Json) -> None:
        """Tell of a message that was sent meanwhile, unless it came from this client."""
        name = message.get("client_id") or message["id"]
        if self._conversation.has(name):
            return
        text = "".join(part["text"] for part in message["parts"] if part["type"] == "text")
        self._say({"type": "TEXT_MESSAGE_START", "messageId": name, "role": "user"}, seq)
        self._say({"type": "TEXT_MESSAGE_CONTENT", "messageId": name, "delta": text})
        self._say({"type": "TEXT_MESSAGE_END", "messageId": name})

    def _take_back(self, to_seq: int) -> None:
        self._close()
        if self._conversation.forget(to_seq):
            self._say(self._conversation.snapshot())

    def _close(self) -> None:
        """End whatever is open."""
        for part in list(self._parts):
            self._end_part(part)
        for call, is_open in list(self._calls.items()):
            if is_open:
                self._end_input(call, None)
        self._end_step()


def told_ids(turn_id: uuid.UUID, rows: Iterable[Row], after: int) -> set[str]:
    """Return the ids of the messages that a client has which was told of the events behind ``after``."""
    rows = list(rows)
    speech = Speech(turn_id, {}, Conversation([]))
    speech.pass_over(row for row in rows if row[0] <= after)
    events = [event for seq, chunk in rows if seq > after for event in speech.take(seq, chunk)]
    return {event[name] for event in events for name in ("messageId", "parentMessageId") if name in event}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _usage(usage: Json) -> Json:
    read, said = usage["input_tokens"], usage["output_tokens"]
    return {
        "inputTokens": read,
        "outputTokens": said,
        "totalTokens": read + said,
        "reasoningTokens": usage["reasoning_tokens"],
        "cachedInputTokens": usage["cache_read_tokens"],
        "cacheWriteInputTokens": usage["cache_write_tokens"],
    }
