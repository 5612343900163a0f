"""Uploaded files: storing, sending along, opening and removing them.

A row says whose a file is, ``DATA_DIR/files/<id>`` holds its content. The content is there before its row is, and
goes after it; what a crash leaves between the two, the sweep removes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from common.db import seconds_ago, transact
from common.errors import AppError, NotFound, TooLarge, invalid
from common.ids import as_uuid, new_id
from common.usertext import check_user_text
from copilot.media import HEAD, sniff
from copilot.models import File, Session

logger = logging.getLogger(__name__)

#: Bytes of an upload.
SIZE_MAX = 20 * 1024 * 1024
NAME_MAX = 255
#: Files that go with one message.
ATTACHMENTS_MAX = 10
#: Seconds after which an upload that was sent nowhere is deleted, and a content without a row.
UNSENT_SECONDS = 86_400
LEFTOVER_SECONDS = 3600
#: Files that one pass of the sweep deletes; contents that it compares with the rows at once.
AT_ONCE = 200
#: Files of one list.
LISTED_MAX = 500
URL = "/api/v1/files/"

Part = dict[str, Any]


def path_of(file_id: object) -> Path:
    """Return where a file's content is."""
    return _folder() / str(file_id)


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "files"


# --- storing -------------------------------------------------------------------------------------


class Incoming:
    """The content of a file while it arrives, under a name of its own until it is whole.

    Whoever makes one stores it (``store_file``) or discards it.
    """

    def __init__(self) -> None:
        _folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = _folder() / f"incoming-{uuid.uuid4().hex}"
        self._out = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._hash = hashlib.sha256()
        self._head = b""
        self.size = 0

    def write(self, piece: bytes) -> None:
        """Add to it.

        Raises:
            TooLarge: ``file_too_large``: with this it is over ``SIZE_MAX``. Nothing of it is kept.
        """
        self.size += len(piece)
        if self.size > SIZE_MAX:
            self.discard()
            raise too_large()
        if len(self._head) < HEAD:
            self._head += piece[: HEAD - len(self._head)]
        self._hash.update(piece)
        self._out.write(piece)

    def seal(self) -> tuple[str, str]:
        """Close it, unless it is; return its media type and its SHA-256.

        Raises:
            OSError: the last of it could not be written.
        """
        self._out.close()
        return sniff(self._head), self._hash.hexdigest()

    def discard(self) -> None:
        """Remove it, unless it was stored."""
        try:
            self._out.close()
        finally:
            self.path.unlink(missing_ok=True)


def too_large() -> TooLarge:
    """Return the refusal of a file over ``SIZE_MAX``."""
    most = SIZE_MAX // (1024 * 1024)
    return TooLarge(f"The file is larger than {most} MiB: send a smaller one, or a part.", code="file_too_large")


def store_file(*, user: Any, name: str, incoming: Incoming, session_id: object = None) -> File:
    """Keep an upload that has arrived, whoever called it what; the content is gone when this fails.

    Args:
        session_id: the session of ``user`` that it belongs to; None: the first one that it is sent in.

    Raises:
        NotFound: no such session of this user.
        Invalid: it is empty, or its name is refused (``refused_text``).
    """
    row_id = new_id()
    try:
        media_type, sha256 = incoming.seal()
        if not incoming.size:
            raise invalid({"file": "The file is empty: choose one with something in it."})
        row = File(
            id=row_id,
            user=user,
            name=check_user_text(clean_name(name), what="The name", most=NAME_MAX),
            media_type=media_type,
            size=incoming.size,
            sha256=sha256,
        )
        incoming.path.rename(path_of(row_id))
        return _insert(row, session_id)
    except BaseException:
        incoming.discard()
        path_of(row_id).unlink(missing_ok=True)
        raise


def clean_name(name: str) -> str:
    """Return a file's name as it is shown: without folders and invisible characters, cut before its ending."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(char if char.isprintable() else " " for char in last)
    shown = " ".join(shown.split())
    if len(shown) > NAME_MAX:
        stem, ending = os.path.splitext(shown)
        shown = stem[: NAME_MAX - len(ending[:20])] + ending[:20]
    return shown or "file"


@transact
def _insert(row: File, session_id: object) -> File:
    if session_id is not None:
        known = as_uuid(session_id)
        # Under its lock: whoever deletes the session sees the file, or the file sees that it is gone.
        row.session = Session.objects.visible_to(row.user_id).locked().filter(pk=known).first() if known else None
        if row.session is None:
            raise NotFound("There is no such session.")
    row.save(force_insert=True)
    return row


# --- sending along -------------------------------------------------------------------------------


def check_attachments(ids: object) -> list[uuid.UUID]:
    """Return the ids of the files that are to go with a message, each once, in order.

    Raises:
        Invalid: not a list of ids, or too many.
    """
    if not isinstance(ids, list | tuple):
        raise invalid({"attachments": "must be a list of ids of files."})
    known = list(dict.fromkeys(as_uuid(each) if isinstance(each, str | uuid.UUID) else None for each in ids))
    if len(known) > ATTACHMENTS_MAX:
        raise invalid({"attachments": f"At most {ATTACHMENTS_MAX} files go with a message."})
    found = [file_id for file_id in known if file_id is not None]
    if len(found) < len(known):
        raise _not_there()
    return found


def do_attach(session: Session, ids: Sequence[uuid.UUID]) -> list[Part]:
    """Make files the session's and return them as parts of a message. The caller holds the session lock.

    Raises:
        Invalid: one of them is not its owner's, or belongs to another session.
    """
    own = File.objects.visible_to(session.user_id).filter(Q(session=None) | Q(session=session.pk), pk__in=ids)
    if own.update(session=session) != len(ids):
        raise _not_there()
    found = File.objects.in_bulk(ids)
    return [_part(found[file_id]) for file_id in ids]


def _not_there() -> AppError:
    return invalid(
        {"attachments": "One of these files is not there, or belongs to another chat. Upload it again."}
    )


def _part(file: File) -> Part:
    return {"type": "file", "mediaType": file.media_type, "filename": file.name, "url": f"{URL}{file.pk}"}


def file_parts(parts: Iterable[Part]) -> list[Part]:
    """Return those parts of a message that are files."""
    return [part for part in parts if part.get("type") == "file"]


def file_id_of(part: Part) -> uuid.UUID | None:
    """Return which uploaded file a part of a message is; None: it is none of ours."""
    url = part.get("url")
    return as_uuid(url.removeprefix(URL)) if isinstance(url, str) and url.startswith(URL) else None


# --- reading -------------------------------------------------------------------------------------


def file_of(user: object, file_id: object) -> File:
    """Return the file; NotFound when it is unknown, somebody else's or not an id at all."""
    known = as_uuid(file_id)
    row = File.objects.visible_to(user).filter(pk=known).first() if known else None
    if row is None:
        raise NotFound("There is no such file.")
    return row


def uploads_of(user: object, session: Session | None) -> list[File]:
    """Return what was uploaded for a session, or, without one, all that ``user`` uploaded; newest first, at most
    ``LISTED_MAX``."""
    rows = File.objects.visible_to(user)
    if session is not None:
        rows = rows.filter(session=session)
    return list(rows.order_by("-created_at", "-id")[:LISTED_MAX])


def open_content(file_id: object) -> BinaryIO:
    """Open a file's content.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    return path_of(file_id).open("rb")


# --- removing ------------------------------------------------------------------------------------


def removal_of(files: Iterable[uuid.UUID]) -> Callable[[], None]:
    """Return what removes these contents, to be called after the commit that deletes their rows."""
    return partial(_remove, list(files))


def _remove(ids: Iterable[uuid.UUID]) -> None:
    for file_id in ids:
        try:
            path_of(file_id).unlink(missing_ok=True)
        except OSError as error:  # the sweep finds it
            logger.warning(
                "content not removed", extra={"action": "file_left", "file_id": file_id, "error": repr(error)}
            )


@transact
def delete_unsent(seconds: float = UNSENT_SECONDS) -> int:
    """Delete uploads that were sent nowhere for so long; return how many."""
    due = File.objects.unattached().filter(created_at__lt=seconds_ago(seconds)).order_by("created_at")
    # Locked: a message that attaches one of them right now keeps it.
    ids = [file.pk for file in due.select_for_update(skip_locked=True)[:AT_ONCE]]
    if ids:
        File.objects.filter(pk__in=ids).delete()
        transaction.on_commit(removal_of(ids), robust=True)
    return len(ids)


def delete_leftovers(seconds: float = LEFTOVER_SECONDS) -> int:
    """Remove contents, as old as this, that no row speaks of: of uploads and deletions that were cut off; return
    how many."""
    removed = 0
    old = _older_than(time.time() - seconds)
    while paths := list(islice(old, AT_ONCE)):
        ids = {path: as_uuid(path.name) for path in paths}
        known = set(File.objects.filter(pk__in=filter(None, ids.values())).values_list("pk", flat=True))
        for path in (path for path, file_id in ids.items() if file_id not in known):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _older_than(moment: float) -> Iterator[Path]:
    try:
        with os.scandir(_folder()) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < moment:
                    yield Path(entry.path)
    except FileNotFoundError:
        return  # nobody has uploaded anything yet
