"""The sweep's part in deleting people: some steps on each pass, so that nothing else has to wait."""

from __future__ import annotations

import logging
import time
import uuid

from django.db import InterfaceError, OperationalError

from copilot.retention.deletion import Progress, being_deleted, go_on

logger = logging.getLogger(__name__)

#: People with whose deletion one pass goes on, and the seconds that it has for it.
PEOPLE_AT_ONCE = 20
SECONDS = 0.5


def leaving_people() -> int:
    """People who are being deleted, with everything of theirs."""
    end = time.monotonic() + SECONDS
    steps = 0
    for user_id in being_deleted(PEOPLE_AT_ONCE):
        while _step(user_id):
            steps += 1
            if time.monotonic() > end:
                return steps
    return steps


def _step(user_id: uuid.UUID) -> bool:
    """Take one step; whoever cannot be deleted must not keep the others waiting."""
    try:
        return go_on(user_id) is Progress.MORE
    except (OperationalError, InterfaceError):
        raise  # the database is away: the others would fare no better
    except Exception:
        logger.exception("person not deleted", extra={"action": "person_left", "user_id": user_id})
        return False
