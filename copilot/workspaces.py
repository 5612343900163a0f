"""The folders in which the tools of a session keep its files."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from django.conf import settings

logger = logging.getLogger(__name__)


def workspace_of(session_id: object) -> Path:
    """Return the folder of a session's files; it may not exist yet."""
    return Path(settings.DATA_DIR) / "workspaces" / str(session_id)


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
