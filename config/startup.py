"""What must be there before a process serves or works."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError

from common import metrics
from common.db import release_connections
from config.env import BadSetting
from copilot.diagnostics.doctor import connect_once


def require_secret_key() -> None:
    """Stop the start when there is no SECRET_KEY: sessions and sealed values depend on all having the same."""
    if settings.SECRET_KEY_MISSING:
        raise BadSetting(
            "SECRET_KEY", "is not set. Set the same long random value for every web and worker process."
        )


def require_redis() -> None:
    """Stop the start of a worker by itself when there is no broker from which it could hear of turns."""
    if settings.EMBEDDED:
        raise BadSetting("REDIS_URL", "is not set. A worker needs it; `manage.py up` is server and worker in one.")


def require_database() -> None:
    """Stop the start when the database does not let us in, or is not migrated. Takes two seconds at most."""
    try:
        connect_once()
        get_user_model()._default_manager.exists()
    except DatabaseError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        mend = "Start it, correct DATABASE_URL, or run `manage.py migrate`."
        raise BadSetting("DATABASE_URL", f"the database cannot be used ({reason}). {mend}") from error
    finally:
        release_connections()


def serve_metrics() -> None:
    """Answer with this process's metrics where the settings say; for processes that serve no pages."""
    if not settings.METRICS_PORT:
        return
    address = f"{settings.METRICS_HOST}:{settings.METRICS_PORT}"
    try:
        metrics.serve(settings.METRICS_PORT, settings.METRICS_HOST)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadSetting(
            "METRICS_PORT",
            f"cannot listen on {address} ({reason}). Give each worker process of a host a port of its own.",
        ) from error


def prepare_data_dir(path: Path) -> None:
    """Create the data directory and make sure that it can be written.

    Raises:
        BadSetting: it cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.write_text("ok")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or "it cannot be used"
        raise BadSetting("DATA_DIR", f"{path} cannot be written ({reason}). Choose another directory.") from error


def ensure_secret_key(path: Path) -> None:
    """Make a secret key in the data directory, readable by its owner only, unless there is one."""
    if not settings.SECRET_KEY_MISSING:
        return
    file = path / "secret_key"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        settings.SECRET_KEY = file.read_text().strip()
    else:
        settings.SECRET_KEY = secrets.token_urlsafe(50)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(settings.SECRET_KEY)
    settings.SECRET_KEY_MISSING = False
