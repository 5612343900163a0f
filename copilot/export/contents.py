"""The contents of a person's files in an export: uploads, and what tools left in the workspaces of their sessions.

Nothing of a name is trusted: an archive may be opened by a program that follows whatever path it finds there.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from copilot.export.tables import CHUNK
from copilot.files import open_content
from copilot.models import File, Session, User
from copilot.workspace_files import walk_workspace

#: Bytes of one file, and of all together; what is over is left out, and named.
FILE_MAX = 50 * 1024 * 1024
TOTAL_MAX = 200 * 1024 * 1024
_PIECE = 256 * 1024
#: What no file system likes in a name, and what means something in a path.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\/]')
_NAME_MAX = 150
#: Already as small as they get.
_PACKED = ("image/", "video/", "audio/", "application/zip", "application/pdf")


@dataclass
class Contents:
    """What was written of contents so far; ``left_out`` says what was not, and why."""

    archive: ZipFile
    count: int = 0
    total: int = 0
    left_out: list[dict[str, Any]] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def add(self, path: str, content: BinaryIO, size: int, media_type: str = "") -> None:
        """Write one file, or note why not; another file of the same name gets a number."""
        if size > FILE_MAX:
            self._leave_out(path, size, f"larger than {FILE_MAX:,} bytes")
            return
        if self.total + size > TOTAL_MAX:
            self._leave_out(path, size, f"over {TOTAL_MAX:,} bytes of files in all")
            return
        info = ZipInfo(self._free(path))
        info.compress_type = ZIP_STORED if media_type.startswith(_PACKED) else ZIP_DEFLATED
        left = size  # a file of a tool may grow meanwhile
        with self.archive.open(info, "w") as target:
            while left > 0 and (piece := content.read(min(_PIECE, left))):
                target.write(piece)
                left -= len(piece)
        self.count += 1
        self.total += size - left

    def miss(self, path: str, size: int) -> None:
        """Note a file whose content cannot be read."""
        self._leave_out(path, size, "its content is gone")

    def _leave_out(self, path: str, size: int, reason: str) -> None:
        self.left_out.append({"path": path, "size": size, "reason": reason})

    def _free(self, path: str) -> str:
        stem, ending = os.path.splitext(path)
        free, number = path, 1
        while free.casefold() in self._taken:  # some file systems know no case
            number += 1
            free = f"{stem} ({number}){ending}"
        self._taken.add(free.casefold())
        return free


def write_contents(archive: ZipFile, user: User) -> Contents:
    """Write the contents of all of a person's files, as far as they have room."""
    contents = Contents(archive)
    for file in File.objects.filter(user=user).order_by("created_at", "pk").iterator(chunk_size=CHUNK):
        path = f"files/{safe_name(file.name)}"
        try:
            with open_content(file.pk) as content:
                contents.add(path, content, file.size, file.media_type)
        except OSError:
            contents.miss(path, file.size)
    for session_id in _sessions_of(user):
        for path, content in walk_workspace(session_id):
            with content:
                place = "/".join(safe_name(part) for part in path.split("/"))
                size = os.fstat(content.fileno()).st_size
                contents.add(f"workspaces/{session_id}/{place}", content, size)
    return contents


def _sessions_of(user: User) -> Iterator[uuid.UUID]:
    sessions = Session.objects.filter(user=user).order_by("pk")
    yield from sessions.values_list("pk", flat=True).iterator(chunk_size=CHUNK)


def safe_name(name: str) -> str:
    """Return a name that stays in its folder wherever it is unpacked."""
    safe = _UNSAFE.sub("_", name).strip(" .")
    if len(safe) > _NAME_MAX:
        stem, ending = os.path.splitext(safe)
        safe = stem[: _NAME_MAX - len(ending[:20])] + ending[:20]
    return safe or "file"
