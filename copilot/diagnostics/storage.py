"""Do all processes see the same files? Each worker leaves a probe in ``DATA_DIR`` that every other must find.

Files of tools and people are in ``DATA_DIR``. On a host where it is another directory, not the shared one, they
would be missing, and nobody would notice before a person does.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from pathlib import Path

from django.conf import settings

from common.db import seconds_ago
from copilot.models import Worker

logger = logging.getLogger(__name__)

#: Only workers that reported within so many seconds must have a probe.
SEEN_SECONDS = 30
#: Probes of workers that nobody knows are deleted when they are as old as this.
FORGOTTEN_SECONDS = 86400


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "probes"


def write_probe(worker_id: uuid.UUID) -> None:
    """Leave the probe of a worker, before it makes itself known. A failure is logged, and found by others."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        (_folder() / str(worker_id)).write_text("ok")
        _delete_forgotten()
    except OSError as error:
        logger.warning("probe not written", extra={"action": "probe_failed", "error": repr(error)})


def remove_probe(worker_id: uuid.UUID) -> None:
    """Take the probe of a worker away that stops in good order."""
    with contextlib.suppress(OSError):
        (_folder() / str(worker_id)).unlink(missing_ok=True)


def _delete_forgotten() -> None:
    known = {str(pk) for pk in Worker.objects.values_list("pk", flat=True)}
    for probe in _folder().iterdir():
        if probe.name not in known and time.time() - probe.stat().st_mtime > FORGOTTEN_SECONDS:
            probe.unlink(missing_ok=True)


def workers_elsewhere() -> list[str]:
    """Return the living workers whose probe cannot be read here, as host:pid."""
    living = Worker.objects.filter(seen_at__gt=seconds_ago(SEEN_SECONDS)).order_by("host", "pid")
    return [str(worker) for worker in living if not _readable(worker.pk)]


def _readable(worker_id: uuid.UUID) -> bool:
    try:
        return bool((_folder() / str(worker_id)).read_text())
    except OSError:
        return False


def storage_problem() -> str:
    """Return what is wrong with the shared storage as seen from here, or an empty string."""
    if elsewhere := workers_elsewhere():
        return f"DATA_DIR ({settings.DATA_DIR}) is not the one of these workers: {', '.join(elsewhere)}."
    return ""
