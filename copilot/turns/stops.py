"""Asking many turns to stop: requests are stored together; then the turns end that no worker holds."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Sequence

from django.conf import settings
from django.db import transaction
from django.db.models import BooleanField, Case, F, Q, Value, When
from django.db.models.functions import Coalesce

from common.db import db_now, seconds_ago, transact
from common.errors import Busy
from copilot.events import publish
from copilot.models import Turn
from copilot.turns.cancel import settle_stop
from copilot.turns.children import stop_children
from copilot.turns.journal import journal_each

logger = logging.getLogger(__name__)

#: Turns that are asked to stop in one transaction.
CHUNK = 500


def request_stops(turn_ids: Sequence[uuid.UUID], *, reason: str) -> dict[uuid.UUID, bool]:
    """Store that turns are to stop, and tell the workers that hold them; who has ended is left out.

    Nothing is waited for. Whatever becomes of this process, a worker hears of its turns' stops with its next
    heartbeat, and the sweep ends the others within seconds; ``settle_with_children`` does so at once.

    Args:
        reason: an abort reason of the contract. A turn that was asked before keeps the one it has.

    Returns:
        The turns that will stop, and whether a worker that is alive holds each.
    """
    asked: dict[uuid.UUID, bool] = {}
    for start in range(0, len(turn_ids), CHUNK):
        some = turn_ids[start : start + CHUNK]
        stored = _request_some(some, reason, wait=False)
        asked |= stored
        missed = Turn.objects.live().filter(pk__in=set(some).difference(stored))
        for turn_id in missed.values_list("pk", flat=True):
            # Somebody is at work on it right now.
            asked |= _request_some([turn_id], reason, wait=True)
    return asked


def _request_some(turn_ids: Sequence[uuid.UUID], reason: str, *, wait: bool) -> dict[uuid.UUID, bool]:
    try:
        return _request(turn_ids, reason, wait=wait)
    except Busy:
        about = {"turns": len(turn_ids), "first": turn_ids[0]}
        logger.warning("stops not stored", extra={"action": "stops_failed", **about})
        return {}


@transact
def _request(turn_ids: Sequence[uuid.UUID], reason: str, *, wait: bool) -> dict[uuid.UUID, bool]:
    """Store requests under row locks. Several of them wait for nobody: heartbeats lock many in another order."""
    live = Turn.objects.live().filter(pk__in=turn_ids)
    held = Q(status=Turn.Status.RUNNING, heartbeat_at__gte=seconds_ago(settings.TURN_LEASE_SECONDS))
    rows = live.annotate(is_held=Case(When(held, then=True), default=False, output_field=BooleanField()))
    locked = rows.select_for_update(of=("self",), no_key=True, skip_locked=not wait)
    rows_found = list(locked.values_list("pk", "is_held", "stop_reason"))
    found = {turn_id: is_held for turn_id, is_held, _ in rows_found}
    if not found:
        return {}
    Turn.objects.filter(pk__in=found).update(
        stop_requested_at=Coalesce("stop_requested_at", db_now()),
        stop_reason=Case(When(stop_reason="", then=Value(reason)), default=F("stop_reason")),
    )
    journal_each("stop_requested", {turn_id: {"reason": kept or reason} for turn_id, _, kept in rows_found})
    transaction.on_commit(lambda: _tell(turn_id for turn_id, is_held in found.items() if is_held), robust=True)
    return found


def _tell(turn_ids: Iterable[uuid.UUID]) -> None:
    for turn_id in turn_ids:
        publish.stop_requested(turn_id)


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
