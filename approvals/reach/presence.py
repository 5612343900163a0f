"""Whether a person has one of our pages in front of them; then nothing else has to tell them."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from django.db.models import QuerySet

from approvals.models import Presence
from common.db import db_now, seconds_ago, transact

#: A page in front says so every 20 seconds.
FRONT_SECONDS = 30.0
#: One process writes it down for a person at most this often.
NOTE_SECONDS = 10.0
_REMEMBERED = 10_000

_noted: dict[Any, float] = {}
_lock = threading.Lock()


def note_in_front(user_id: Any) -> None:
    """Note that a page of this person is in front of them now."""
    if not _is_due(user_id):
        return
    try:
        _write(user_id)
    except BaseException:
        forget(user_id)
        raise


def in_front() -> QuerySet[Presence]:
    """Return who has a page in front. What is ahead of the clock, because it was set back, does not count."""
    return Presence.objects.filter(front_at__range=(seconds_ago(FRONT_SECONDS), db_now()))


def forget(user_id: Any) -> None:
    """Have the next note about this person written down, however soon it comes."""
    with _lock:
        _noted.pop(user_id, None)


def _is_due(user_id: Any) -> bool:
    now = time.monotonic()
    with _lock:
        if now - _noted.get(user_id, -math.inf) < NOTE_SECONDS:
            return False
        if len(_noted) >= _REMEMBERED:
            _noted.clear()
        _noted[user_id] = now
    return True


@transact
def _write(user_id: Any) -> None:
    Presence.objects.bulk_create(
        [Presence(user_id=user_id, front_at=db_now())],
        update_conflicts=True,
        unique_fields=["user"],
        update_fields=["front_at"],
    )
