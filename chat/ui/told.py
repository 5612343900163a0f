"""From the parts of a stored message back to chunks that tell them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from copilot.events import schema
from copilot.events.schema import Chunk

Part = dict[str, Any]


def chunks_of(parts: list[Part]) -> list[Chunk]:
    """Return chunks from which a client makes these parts; every step that begins ends."""
    chunks: list[Chunk] = []
    in_step = False
    for number, part in enumerate(parts, 1):
        kind = part["type"]
        if kind == "step-start":
            chunks += [schema.finish_step()] if in_step else []
            chunks.append(schema.start_step())
            in_step = True
        elif kind in ("text", "reasoning"):
            name = f"told-{number}"
            chunks += [
                schema.part_start(kind, name),
                schema.part_delta(kind, name, part["text"]),
                schema.part_end(kind, name),
            ]
        elif kind == "dynamic-tool":
            chunks += _of_call(part)
        elif kind == "file":
            chunks.append({"type": "file", "url": part["url"], "mediaType": part["mediaType"]})
        elif kind.startswith("data-"):
            chunks.append({"type": kind, "data": part["data"]})
    return [*chunks, schema.finish_step()] if in_step else chunks


def _of_call(part: Part) -> Iterator[Chunk]:
    call = part["toolCallId"]
    yield {
        **schema.tool_input_available(call, part["toolName"], part.get("input")),
        "providerExecuted": True,
    }
    if part["state"] == "output-available":
        yield schema.tool_output_available(call, part["output"])
    elif part["state"] == "output-error":
        yield schema.tool_output_error(call, part["errorText"])
    elif part["state"] == "output-denied":
        yield schema.tool_output_denied(call)
