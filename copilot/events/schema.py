"""The chunks of a turn's stream: the AI SDK UI message stream v1 set, and ours as ``data-*``.

Optional fields are absent, never null. Values are JSON-safe.
"""

from __future__ import annotations

from typing import Any

Chunk = dict[str, Any]

TERMINAL = frozenset({"finish", "error", "abort"})
#: Chunks whose neighbours of the same part may be stored as one: the field that is joined.
MERGEABLE = {"text-delta": "delta", "reasoning-delta": "delta", "tool-input-delta": "inputTextDelta"}


def is_terminal(chunk: Chunk) -> bool:
    """Whether this chunk ends its turn."""
    return chunk["type"] in TERMINAL


def is_transient(chunk: Chunk) -> bool:
    """Whether this chunk is only for those who listen right now: not stored, without a seq."""
    return bool(chunk.get("transient"))


def start(message_id: object) -> Chunk:
    return {"type": "start", "messageId": str(message_id)}


def start_step() -> Chunk:
    return {"type": "start-step"}


def finish_step() -> Chunk:
    return {"type": "finish-step"}


def part_start(kind: str, part: str) -> Chunk:
    """``kind`` is text or reasoning; ``part`` the id that its deltas and its end repeat."""
    return {"type": f"{kind}-start", "id": part}


def part_delta(kind: str, part: str, delta: str) -> Chunk:
    return {"type": f"{kind}-delta", "id": part, "delta": delta}


def part_end(kind: str, part: str) -> Chunk:
    return {"type": f"{kind}-end", "id": part}


def tool_input_start(call: object, name: str) -> Chunk:
    return {"type": "tool-input-start", "toolCallId": str(call), "toolName": name, "dynamic": True}


def tool_input_delta(call: object, delta: str) -> Chunk:
    return {"type": "tool-input-delta", "toolCallId": str(call), "inputTextDelta": delta}


def tool_input_available(call: object, name: str, arguments: Any) -> Chunk:
    return {
        "type": "tool-input-available",
        "toolCallId": str(call),
        "toolName": name,
        "input": arguments,
        "dynamic": True,
    }


def tool_input_error(call: object, name: str, arguments: Any, text: str) -> Chunk:
    """The input was never complete, or is none: the call is not made."""
    return {
        "type": "tool-input-error",
        "toolCallId": str(call),
        "toolName": name,
        "input": arguments,
        "errorText": text,
        "dynamic": True,
    }


def tool_output_available(call: object, output: Any, *, preliminary: bool = False) -> Chunk:
    chunk = {"type": "tool-output-available", "toolCallId": str(call), "output": output, "dynamic": True}
    return {**chunk, "preliminary": True} if preliminary else chunk


def tool_output_error(call: object, text: str) -> Chunk:
    return {"type": "tool-output-error", "toolCallId": str(call), "errorText": text, "dynamic": True}


def tool_output_denied(call: object, reason: str = "") -> Chunk:
    """``reason`` is ours: AI SDK has it in the part only, where ``fold`` puts it."""
    chunk = {"type": "tool-output-denied", "toolCallId": str(call)}
    return {**chunk, "reason": reason} if reason else chunk


def finish(reason: str) -> Chunk:
    return {"type": "finish", "finishReason": reason}


def error(text: str) -> Chunk:
    return {"type": "error", "errorText": text}


def abort(reason: str) -> Chunk:
    return {"type": "abort", "reason": reason}


def data(name: str, payload: dict[str, Any], *, transient: bool = False) -> Chunk:
    """One of our own chunks, ``data-{name}``."""
    chunk: Chunk = {"type": f"data-{name}", "data": payload}
    return {**chunk, "transient": True} if transient else chunk


def rollback(to_seq: int) -> Chunk:
    """Forget every part opened after ``to_seq``."""
    return data("rollback", {"to_seq": to_seq})


def metering(output_tokens: int, seconds: float) -> Chunk:
    """How fast an answer comes: estimated from its characters, for those who listen right now."""
    tps = round(output_tokens / seconds, 1)
    return data("metering", {"tps": tps, "output_tokens": output_tokens, "estimated": True}, transient=True)


def status(state: str, **fields: Any) -> Chunk:
    """``state`` is retrying, recovered, compacting, compacted or waiting_limit."""
    return data("status", {"state": state, **fields})
