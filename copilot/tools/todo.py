"""The agent's list of what is to be done, kept as a file beside the session's others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from copilot.tools.base import Tool, ToolContext, ToolError, object_schema
from copilot.tools.folder import Folder, changing

FILE = ".todo.json"
STATUSES = ("pending", "in_progress", "completed", "cancelled")


class Todo(Tool):
    """The whole list is read, or replaced: there is no state between two calls to get wrong."""

    name = "todo"
    description = (
        "Keep a list of the steps of a longer task. Give todos to replace the whole list; "
        "leave them out to read it. Returns the list."
    )
    parameters = object_schema(
        [],
        todos={
            "type": "array",
            "maxItems": 100,
            "items": object_schema(
                content={"type": "string", "minLength": 1, "maxLength": 500},
                status={"type": "string", "enum": list(STATUSES)},
            ),
        },
    )
    idempotent = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        return await asyncio.to_thread(_todo, Folder(context.workspace), **arguments)


def _todo(folder: Folder, todos: list[dict[str, str]] | None = None) -> dict[str, Any]:
    with changing:
        if todos is None:
            todos = _kept(folder)
        else:
            folder.write(FILE, json.dumps(todos, ensure_ascii=False, indent=1).encode())
    return {"todos": todos, "open": sum(todo["status"] in ("pending", "in_progress") for todo in todos)}


def _kept(folder: Folder) -> list[dict[str, str]]:
    """Return the list of the last call; the file is within reach of other tools, so it may hold anything."""
    if not folder.is_file(FILE):
        return []
    try:
        return [
            {"content": str(item["content"]), "status": _status(item)} for item in json.loads(folder.read(FILE))
        ]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ToolError(f"{FILE} holds no list of things to do any more. Write the list anew.") from error


def _status(item: dict[str, str]) -> str:
    if item["status"] not in STATUSES:
        raise ValueError(item["status"])
    return item["status"]
