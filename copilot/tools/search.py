"""Finding a text in the files of a session."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from copilot.tools.base import Tool, ToolContext, ToolError, object_schema
from copilot.tools.files import PATH, lines_of, text_of
from copilot.tools.folder import Folder, entries_at, names_of, open_folder_at, read_at

MATCHES_MAX = 200
LINE_MAX = 300
#: Bytes of a file that is searched; larger ones are left out, and counted.
FILE_MAX = 2_000_000
SECONDS_MAX = 5.0
DEPTH_MAX = 32


class SearchFiles(Tool):
    """Lines with a text in them. The text is taken literally: a pattern can keep a thread busy for ever."""

    name = "search_files"
    description = (
        "Find the lines of the workspace's text files that contain a text, whatever its case. "
        "It is a plain text, not a regular expression."
    )
    parameters = object_schema(
        ["query"],
        query={"type": "string", "minLength": 1, "maxLength": 1000},
        path={**PATH, "description": "The folder or file to search, relative to the workspace."},
    )
    idempotent = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        return await asyncio.to_thread(_search, Folder(context.workspace), **arguments)


class _Search:
    """What was found so far, and whether to go on."""

    def __init__(self, query: str) -> None:
        self.query = query.casefold()
        self.matches: list[dict[str, Any]] = []
        self.files = 0
        self.skipped = 0
        self.until = time.monotonic() + SECONDS_MAX

    @property
    def over(self) -> bool:
        return len(self.matches) >= MATCHES_MAX or time.monotonic() > self.until

    def look(self, content: bytes, path: str) -> None:
        try:
            text = text_of(content, path)
        except ToolError:
            return
        self.files += 1
        if self.query not in text.casefold():
            return
        for number, line in enumerate(lines_of(text), start=1):
            where = line.casefold().find(self.query)
            if where < 0:
                continue
            start = max(0, where - LINE_MAX // 3)
            self.matches.append(
                {"path": path, "line": number, "text": line[start : start + LINE_MAX].rstrip("\r\n")}
            )
            if self.over:
                return

    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = {"matches": self.matches, "files_searched": self.files}
        if self.skipped:
            result["files_too_large"] = self.skipped
        if self.over:
            result["note"] = "The search ended early: there may be more. Search a folder, or for a longer text."
        return result


def _search(folder: Folder, query: str, path: str = ".") -> dict[str, Any]:
    search = _Search(query)
    prefix = "/".join(names_of(path))
    if prefix and folder.is_file(path):
        search.look(folder.read(path), prefix)
    elif prefix or folder.entries("."):
        with folder.opened(path) as opened:
            _search_folder(search, os.dup(opened), prefix, DEPTH_MAX)
    return search.result()


def _search_folder(search: _Search, folder: int, prefix: str, depth: int) -> None:
    """Search an open folder, and close it."""
    try:
        for name, kind, size in _contents(folder):
            path = f"{prefix}/{name}" if prefix else name
            if search.over:
                return
            with suppress(OSError, ToolError):  # removed or replaced meanwhile
                if kind == "folder" and depth:
                    _search_folder(search, open_folder_at(folder, name), path, depth - 1)
                elif kind == "file" and size > FILE_MAX:
                    search.skipped += 1
                elif kind == "file":
                    search.look(read_at(folder, name, path, most=FILE_MAX), path)
    finally:
        os.close(folder)


def _contents(folder: int) -> Iterator[tuple[str, str, int]]:
    for entry in entries_at(folder):
        if entry.name != ".git":  # its files are packed, and many
            yield entry.name, entry.kind, entry.size
