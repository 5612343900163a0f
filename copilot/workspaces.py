"""The folders in which the tools of a session keep its files."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

logger = logging.getLogger(__name__)


def workspace_of(session_id: object) -> Path:
    """Return the folder of a session's files; it may not exist yet."""
    return _folder() / str(session_id)


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "workspaces"


def workspaces_before(moment: float) -> Iterator[str]:
    """Yield the names of the folders in which nothing was made or removed since ``moment``, in Unix seconds."""
    try:
        with os.scandir(_folder()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < moment:
                    yield entry.name
    except FileNotFoundError:
        return  # no tool has written anything yet


def remove_workspace(session_id: object) -> None:
    """Remove the folder of a session that was deleted, after the transaction that did."""
    try:
        shutil.rmtree(workspace_of(session_id))
    except FileNotFoundError:
        return  # none of its tools ever wrote anything
    except OSError as error:
        logger.warning(
            "workspace not removed",
            extra={"action": "workspace_left", "session_id": session_id, "error": repr(error)},
        )
