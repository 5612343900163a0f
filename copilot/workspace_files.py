"""The files in a session's workspace as people see them: listed, and opened by ids made of their places.

Programs write there, and may write while it is read: every step into a folder is taken from the folder before it
and follows no link, so that nothing outside is ever listed or opened.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, BinaryIO

from django.core import signing

from common.errors import NotFound
from common.ids import as_uuid
from copilot.media import HEAD, sniff
from copilot.models import Session
from copilot.workspaces import workspace_of

#: Files of one list; more are not looked for. Neither are more names in a folder, more folders, or deeper ones.
LISTED_MAX = 500
NAMES_MAX = 2000
DEPTH_MAX = 20
_SALT = "workspace file"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
#: Not blocking: a pipe would be waited for.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class WorkspaceFile:
    """A file that a tool left; ``path`` is within the workspace."""

    id: str
    path: str
    media_type: str
    size: int
    changed_at: datetime


def list_workspace(session_id: uuid.UUID) -> list[WorkspaceFile]:
    """Return the files of a session's workspace by path, at most ``LISTED_MAX``; links and pipes are no files."""
    found = []
    for path, handle in islice(walk_workspace(session_id), LISTED_MAX):
        with handle:
            state = os.fstat(handle.fileno())
            head = handle.read(HEAD)
        changed = datetime.fromtimestamp(state.st_mtime, UTC)
        found.append(WorkspaceFile(_id_of(session_id, path), path, sniff(head), state.st_size, changed))
    return sorted(found, key=lambda file: file.path)


def walk_workspace(session_id: uuid.UUID) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the files of a session with their paths, those of a folder before those of the folders in it.

    Links and pipes are no files. The caller closes what it gets.
    """
    waiting: list[list[str]] = [[]]
    for place in waiting:  # grows meanwhile
        folder = _open_folder(session_id, place)
        if folder is None:
            continue
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in islice(entries, NAMES_MAX) if _is_text(entry.name))
            for name in names:
                if handle := _open_at(folder, name):
                    yield "/".join([*place, name]), handle
                elif len(place) < DEPTH_MAX and len(waiting) < NAMES_MAX:
                    waiting.append([*place, name])  # if it is no folder it does not open
        finally:
            os.close(folder)


def _is_text(name: str) -> bool:
    """Whether a name can be told to a client: it may be any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _id_of(session_id: uuid.UUID, path: str) -> str:
    """Return the same id for the same place each time; nobody else can make one."""
    return signing.Signer(salt=_SALT).sign_object([session_id.hex, path], compress=True)


def open_workspace_file(user: Any, file_id: str) -> tuple[str, BinaryIO]:
    """Open a file by an id of the list; return its name and content.

    Raises:
        NotFound: not such an id, not a session of ``user``, or nothing that can be read there any more.
    """
    try:
        session_hex, path = signing.Signer(salt=_SALT).unsign_object(file_id)
    except (signing.BadSignature, ValueError) as error:
        raise NotFound("There is no such file.") from error
    session_id = as_uuid(session_hex)
    if session_id is None or not Session.objects.visible_to(user).filter(pk=session_id).exists():
        raise NotFound("There is no such file.")
    handle = _open_inside(session_id, path)
    if handle is None:
        raise NotFound("There is no such file any more.")
    return os.path.basename(path), handle


def _open_inside(session_id: uuid.UUID, path: str) -> BinaryIO | None:
    *place, name = path.split("/")
    if any(each in ("", ".", "..") for each in (*place, name)):
        return None
    folder = _open_folder(session_id, place)
    if folder is None:
        return None
    try:
        return _open_at(folder, name)
    finally:
        os.close(folder)


def _open_folder(session_id: uuid.UUID, place: Sequence[str]) -> int | None:
    """Open a folder, step by step; None when there is none, or a link on the way."""
    try:
        at = os.open(workspace_of(session_id), _FOLDER)
    except OSError:
        return None
    for name in place:
        try:
            inner = os.open(name, _FOLDER, dir_fd=at)
        except OSError:
            return None
        finally:
            os.close(at)
        at = inner
    return at


def _open_at(folder: int, name: str) -> BinaryIO | None:
    """Open a regular file of a folder; None for anything else, and for what cannot be read."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")
