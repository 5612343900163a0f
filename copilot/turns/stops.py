"""Asking many turns to stop: all requests are stored first, some hundred at a time, then each is seen to."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

from django.db.models import Case, F, Value, When
from django.db.models.functions import Coalesce

from common.db import db_now, transact
from common.errors import Busy
from copilot.models import Turn
from copilot.turns.cancel import settle_stop
from copilot.turns.children import stop_children
from copilot.turns.journal import journal_each

logger = logging.getLogger(__name__)

#: Turns that are asked to stop in one transaction.
CHUNK = 500


def request_stops(turn_ids: Sequence[uuid.UUID], *, reason: str) -> list[uuid.UUID]:
    """Store that turns are to stop, and return those that will: who ended before is left out.

    Nothing is waited for. Whatever becomes of this process, a worker hears of its turns' stops with its next
    heartbeat, and the sweep ends the others within seconds; ``settle_with_children`` does so at once.

    Args:
        reason: an abort reason of the contract. A turn that was asked before keeps the one it has.
    """
    asked: list[uuid.UUID] = []
    for start in range(0, len(turn_ids), CHUNK):
        some = turn_ids[start : start + CHUNK]
        stored = _request_some(some, reason, wait=False)
        asked += stored
        missed = Turn.objects.live().filter(pk__in=set(some).difference(stored))
        for turn_id in missed.values_list("pk", flat=True):
            # Somebody is at work on it right now.
            asked += _request_some([turn_id], reason, wait=True)
    return asked


def _request_some(turn_ids: Sequence[uuid.UUID], reason: str, *, wait: bool) -> list[uuid.UUID]:
    try:
        return _request(turn_ids, reason, wait=wait)
    except Busy:
        about = {"turns": len(turn_ids), "first": turn_ids[0]}
        logger.warning("stops not stored", extra={"action": "stops_failed", **about})
        return []


@transact
def _request(turn_ids: Sequence[uuid.UUID], reason: str, *, wait: bool) -> list[uuid.UUID]:
    """Store requests under row locks. Several of them wait for nobody: heartbeats lock many in another order."""
    live = Turn.objects.live().filter(pk__in=turn_ids)
    locked = live.select_for_update(of=("self",), no_key=True, skip_locked=not wait)
    found = list(locked.values_list("pk", flat=True))
    if not found:
        return []
    Turn.objects.filter(pk__in=found).update(
        stop_requested_at=Coalesce("stop_requested_at", db_now()),
        stop_reason=Case(When(stop_reason="", then=Value(reason)), default=F("stop_reason")),
    )
    journal_each("stop_requested", {turn_id: {"reason": reason} for turn_id in found})
    return found


def settle_with_children(turn_id: uuid.UUID, *, actor: str) -> bool:
    """End a turn that was asked to stop together with its children, or tell its worker; return whether it ended.

    Args:
        actor: the name of who stops it.

    Raises:
        Busy: it is worked on; the sweep settles it later.
    """
    ended = settle_stop(turn_id, actor=actor)
    if ended:
        stop_children(turn_id)
    return ended
