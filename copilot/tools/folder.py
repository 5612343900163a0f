"""A session's files, for tools: no path and no link leads out of their folder.

Every path is walked from the folder's own descriptor, one name at a time, and no link is followed: whatever is
swapped on the way, what is opened lies inside. The functions block for as long as the disk does: call them in a
thread.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from copilot.tools.base import ToolError

#: What the folder is called where commands run; paths may begin with it.
MOUNT = "workspace"
DEPTH_MAX = 64
#: Files beyond this are neither read nor searched.
READ_MAX = 10_000_000

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Without waiting for the other end of a pipe that lies there.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

#: Held while a file is read, changed and written back: calls of one step run at once.
changing = threading.Lock()


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder; ``size`` in bytes, of files."""

    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: int = 0


def names_of(path: str) -> tuple[str, ...]:
    """Return the names along a path in the workspace, none for the workspace itself.

    Raises:
        ToolError: it leads, or might lead, out of it.
    """
    if "\0" in path:
        raise ToolError("A path must not hold NUL characters.")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if path.startswith("/"):
        if not names or names[0] != MOUNT:
            raise ToolError(
                f"{path!r} is not in the workspace. Give a path relative to it, such as 'notes/a.txt'."
            )
        names = names[1:]
    if ".." in names:
        raise ToolError(f"{path!r} leads upwards. Give a path without '..', relative to the workspace.")
    if len(names) > DEPTH_MAX:
        raise ToolError(f"The path has more than {DEPTH_MAX} folders.")
    return tuple(names)


class Folder:
    """The folder of a session's files; it need not exist yet."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes:
        """Return what a file holds.

        Raises:
            ToolError: there is none, it is no regular file, or it is too large.
        """
        *folders, name = self._to_file(path)
        with _said(path), self._open(folders) as parent:
            return read_at(parent, name, path)

    def write(self, path: str, content: bytes) -> bool:
        """Write a file whole or not at all, with the folders it needs; return whether it is a new one.

        Raises:
            ToolError: something else is in its place, or the disk refuses.
        """
        *folders, name = self._to_file(path)
        with _said(path), self._open(folders, create=True) as parent:
            before = _look(parent, name)
            if before is not None and not stat.S_ISREG(before.st_mode):
                raise ToolError(f"{path!r} is there already and is no regular file.")
            # Whether it may be executed is all that is kept of the rights it had.
            _replace(parent, name, content, 0o600 | ((before.st_mode if before else 0) & 0o100))
            return before is None

    def entries(self, path: str) -> list[Entry]:
        """Return what is in a folder, by name; nothing while the workspace does not exist.

        Raises:
            ToolError: there is no such folder.
        """
        names = names_of(path)
        if not names and not self._root.exists():
            return []
        with _said(path), self._open(names) as folder:
            return entries_at(folder)

    def is_file(self, path: str) -> bool:
        """Whether a regular file is there, not a link to one."""
        *folders, name = self._to_file(path)
        with suppress(OSError), self._open(folders) as parent:
            found = _look(parent, name)
            return found is not None and stat.S_ISREG(found.st_mode)
        return False

    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """Hold a descriptor of a folder in here.

        Raises:
            ToolError: there is none.
        """
        with _said(path), self._open(names_of(path)) as folder:
            yield folder

    @staticmethod
    def _to_file(path: str) -> tuple[str, ...]:
        names = names_of(path)
        if not names or path.endswith("/"):
            raise ToolError(f"{path!r} names a folder. Give the path of a file.")
        return names

    @contextmanager
    def _open(self, names: Sequence[str], *, create: bool = False) -> Iterator[int]:
        if create:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        at = os.open(self._root, _FOLDER)
        try:
            for name in names:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=at)
                inner = open_folder_at(at, name)
                os.close(at)
                at = inner
            yield at
        finally:
            os.close(at)


def open_folder_at(parent: int, name: str) -> int:
    """Return a descriptor of a folder in a folder; a link to one is refused.

    Raises:
        OSError: there is none.
    """
    return os.open(name, _FOLDER, dir_fd=parent)


def read_at(parent: int, name: str, path: str, *, most: int = READ_MAX) -> bytes:
    """Return what a regular file in a folder holds.

    Raises:
        ToolError: it is something else, or holds more than ``most`` bytes.
        OSError: there is none.
    """
    descriptor = os.open(name, _READ, dir_fd=parent)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise ToolError(f"{path!r} is a folder. List it with list_files.")
        if not stat.S_ISREG(found.st_mode):
            raise ToolError(f"{path!r} is no regular file.")
        # Only now: of a folder no file can be made, and its descriptor would stay open.
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise ToolError(f"{path!r} holds {found.st_size:,} bytes; files up to {most:,} bytes can be read.")
    return content


def entries_at(folder: int) -> list[Entry]:
    """Return what is in an open folder, by name. Raises OSError."""
    found = []
    with os.scandir(folder) as listing:
        for item in listing:
            with suppress(FileNotFoundError):  # removed meanwhile
                found.append(_entry(item))
    return sorted(found, key=lambda entry: entry.name)


def _entry(item: os.DirEntry[str]) -> Entry:
    if item.is_symlink():
        return Entry(item.name, "link")
    if item.is_dir(follow_symlinks=False):
        return Entry(item.name, "folder")
    if item.is_file(follow_symlinks=False):
        return Entry(item.name, "file", item.stat(follow_symlinks=False).st_size)
    return Entry(item.name, "other")


def hand_over(root: Path, user: int) -> None:
    """Make everything in a folder, and itself, another user's; only root may."""
    for _, folders, files, at in os.fwalk(root, follow_symlinks=False):
        os.fchown(at, user, user)
        for name in (*folders, *files):
            with suppress(FileNotFoundError):  # removed meanwhile
                if os.stat(name, dir_fd=at, follow_symlinks=False).st_uid != user:
                    os.chown(name, user, user, dir_fd=at, follow_symlinks=False)


def _look(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _replace(parent: int, name: str, content: bytes, mode: int) -> None:
    """Put a file in the place of ``name`` at once: nobody reads half of it, and no link there is followed."""
    fresh = f".{uuid.uuid4().hex}.new"
    descriptor = os.open(fresh, _NEW, 0o600, dir_fd=parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        os.replace(fresh, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(fresh, dir_fd=parent)
        raise


_WORDS = {
    errno.ENOENT: "is not there. List the workspace with list_files",
    errno.ENOTDIR: "goes through something that is no folder; links are not followed",
    errno.ELOOP: "is a link; links are not followed",
    errno.EISDIR: "is a folder",
    errno.ENXIO: "is no regular file",
    errno.EACCES: "may not be opened",
    errno.ENAMETOOLONG: "has a name that is too long",
    errno.ENOSPC: "cannot be written: the disk is full",
    errno.EDQUOT: "cannot be written: the disk is full",
    errno.EROFS: "cannot be written: the disk is read-only",
}


@contextmanager
def _said(path: str) -> Iterator[None]:
    """Turn what the system says into words for the model."""
    try:
        yield
    except OSError as error:
        words = _WORDS.get(error.errno or 0, f"cannot be used: {os.strerror(error.errno or errno.EIO)}")
        raise ToolError(f"{path!r} {words}.") from error
    except ValueError as error:  # a name that no file system takes
        raise ToolError(f"{path!r} is not a path.") from error
