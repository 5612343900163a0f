"""Tools for the demo model: they make waiting, failing and side effects visible."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from copilot.tools.base import Tool, ToolContext, ToolError, object_schema
from copilot.tools.folder import Folder, changing

TEXT = {"type": "string", "description": "One line of text."}


def _append_line(workspace: Path, name: str, text: str) -> int:
    folder = Folder(workspace)
    with changing:
        before = folder.read(name) if folder.is_file(name) else b""
        folder.write(name, before + " ".join(text.split()).encode() + b"\n")
    return before.count(b"\n") + 1


class DemoNote(Tool):
    """A side effect that a person approves first."""

    name = "demo_note"
    description = "Append a line to the session's notes.txt."
    parameters = object_schema(text=TEXT)
    idempotent = False
    asks = True
    decisions = ("approve", "edit", "reject", "respond")
    demo_only = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        lines = await asyncio.to_thread(_append_line, context.workspace, "notes.txt", arguments["text"])
        return {"file": "notes.txt", "lines": lines}


class DemoWait(Tool):
    """Something that takes a while and shows how far it is."""

    name = "demo_wait"
    description = "Wait for a number of seconds, printing progress."
    parameters = object_schema(seconds={"type": "number", "minimum": 0, "maximum": 3600})
    idempotent = True
    demo_only = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        seconds = float(arguments["seconds"])
        waited = 0.0
        while waited < seconds:
            pause = min(0.5, seconds - waited)
            await asyncio.sleep(pause)
            waited += pause
            context.progress(f"waited {waited:g} of {seconds:g} s")
        return {"waited_seconds": seconds}


class DemoBoom(Tool):
    """A tool with a bug."""

    name = "demo_boom"
    description = "Fail."
    parameters = object_schema()
    idempotent = True
    demo_only = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        raise ToolError("Boom: this tool always fails.")


class DemoOnce(Tool):
    """A side effect that must not happen twice."""

    name = "demo_once"
    description = "Append a line to the session's once.txt."
    parameters = object_schema(text=TEXT)
    idempotent = False
    demo_only = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        if arguments["text"].startswith("slow"):
            await asyncio.sleep(1)
        lines = await asyncio.to_thread(_append_line, context.workspace, "once.txt", arguments["text"])
        return {"file": "once.txt", "lines": lines}
