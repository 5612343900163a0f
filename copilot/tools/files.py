"""Reading and changing the files of a session."""

from __future__ import annotations

import asyncio
import io
from typing import Any

from copilot.tools.base import Tool, ToolContext, ToolError, object_schema
from copilot.tools.folder import Folder, changing

PATH = {
    "type": "string",
    "minLength": 1,
    "maxLength": 4096,
    "description": "Relative to the workspace, such as notes/a.txt.",
}
WRITE_MAX = 2_000_000
ENTRIES_MAX = 1000
#: What one call reads at most.
LINES_MAX = 2000
CHARACTERS_MAX = 50_000


class ListFiles(Tool):
    """What is in a folder."""

    name = "list_files"
    description = (
        "List the files and folders of a folder in the workspace, of the workspace itself without a path."
    )
    parameters = object_schema([], path={**PATH, "description": "A folder, relative to the workspace."})
    idempotent = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        path = arguments.get("path", ".")
        found = await asyncio.to_thread(Folder(context.workspace).entries, path)
        entries = [
            {"name": entry.name, "type": entry.kind, **({"size": entry.size} if entry.kind == "file" else {})}
            for entry in found[:ENTRIES_MAX]
        ]
        more = len(found) - len(entries)
        return {"path": path, "entries": entries, **({"not_listed": more} if more else {})}


class ReadFile(Tool):
    """A text file, or some lines of it."""

    name = "read_file"
    description = (
        f"Read a text file of the workspace, at most {LINES_MAX} lines or {CHARACTERS_MAX} characters at once. "
        "Give offset, the first line to read, for the rest of a long one."
    )
    parameters = object_schema(
        ["path"],
        path=PATH,
        offset={"type": "integer", "minimum": 1, "description": "The first line to read, from 1."},
        limit={"type": "integer", "minimum": 1, "maximum": LINES_MAX, "description": "How many lines to read."},
    )
    idempotent = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        return await asyncio.to_thread(_read, Folder(context.workspace), **arguments)


class WriteFile(Tool):
    """A new file, or another content for one."""

    name = "write_file"
    description = "Write a text file in the workspace; one that is there already is replaced. Folders are made."
    parameters = object_schema(path=PATH, content={"type": "string", "maxLength": WRITE_MAX})
    idempotent = True
    asks = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        return await asyncio.to_thread(_write, Folder(context.workspace), **arguments)


class EditFile(Tool):
    """Another text in one place of a file."""

    name = "edit_file"
    description = (
        "Replace a text in a file of the workspace. It must occur exactly once: copy it from the file exactly, "
        "with enough lines around it."
    )
    parameters = object_schema(
        path=PATH,
        old={"type": "string", "minLength": 1, "maxLength": WRITE_MAX, "description": "The text as it is."},
        new={"type": "string", "maxLength": WRITE_MAX, "description": "The text to put in its place."},
    )
    idempotent = False
    asks = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        return await asyncio.to_thread(_edit, Folder(context.workspace), **arguments)


def text_of(content: bytes, path: str) -> str:
    """Return the text in a file.

    Raises:
        ToolError: there is none.
    """
    try:
        if b"\0" in content[:8192]:
            raise UnicodeError
        return content.decode("utf-8-sig")
    except UnicodeError as error:
        raise ToolError(f"{path!r} is a binary file of {len(content):,} bytes: it holds no UTF-8 text.") from error


def lines_of(text: str) -> list[str]:
    """Return the lines of a text with their ends; only a line feed ends one."""
    return list(io.StringIO(text, newline="\n"))


def _read(folder: Folder, path: str, offset: int = 1, limit: int = LINES_MAX) -> dict[str, Any]:
    lines = lines_of(text_of(folder.read(path), path))
    if offset > max(len(lines), 1):
        raise ToolError(f"{path!r} has {len(lines)} lines; there is no line {offset}.")
    taken: list[str] = []
    left = CHARACTERS_MAX
    for line in lines[offset - 1 : offset - 1 + limit]:
        if len(line) > left:
            break
        taken.append(line)
        left -= len(line)
    cut = not taken and bool(lines)
    if cut:  # one line that is too long by itself
        taken = [lines[offset - 1][:CHARACTERS_MAX]]
    result = {
        "path": path,
        "text": "".join(taken),
        "offset": offset,
        "lines": len(taken),
        "total_lines": len(lines),
    }
    if cut:
        result["note"] = f"Line {offset} has {len(lines[offset - 1]):,} characters and was cut."
    elif offset - 1 + len(taken) < len(lines):
        result["note"] = f"There is more: go on with offset {offset + len(taken)}."
    return result


def _write(folder: Folder, path: str, content: str) -> dict[str, Any]:
    data = _encoded(content)
    with changing:
        created = folder.write(path, data)
    return {"path": path, "bytes": len(data), "created": created}


def _edit(folder: Folder, path: str, old: str, new: str) -> dict[str, Any]:
    if old == new:
        raise ToolError("The old and the new text are the same: there is nothing to do.")
    with changing:
        text = _exact_text(folder.read(path), path)
        found = text.count(old)
        if found != 1:
            raise ToolError(_misses(text, old, path) if not found else _repeats(found, path))
        where = text.index(old)
        data = _encoded(text[:where] + new + text[where + len(old) :])
        folder.write(path, data)
    return {"path": path, "line": text.count("\n", 0, where) + 1, "bytes": len(data)}


def _exact_text(content: bytes, path: str) -> str:
    text = text_of(content, path)
    return f"\ufeff{text}" if content.startswith(b"\xef\xbb\xbf") else text


def _encoded(text: str) -> bytes:
    data = text.encode()
    if len(data) > WRITE_MAX:
        raise ToolError(f"A file of {len(data):,} bytes is too large: at most {WRITE_MAX:,} are written.")
    return data


def _repeats(times: int, path: str) -> str:
    return f"The old text occurs {times} times in {path!r}. Add lines around it until it occurs once."


def _misses(text: str, old: str, path: str) -> str:
    if " ".join(old.split()) in " ".join(text.split()):
        return (
            f"The old text occurs in {path!r} only with other white space or line ends. "
            "Read the file and copy it exactly."
        )
    return f"The old text does not occur in {path!r}. Read the file and copy it exactly."
