"""What a turn may still cost, held back from its person's limits while it is live.

What a turn is going to cost nobody knows, but turns that begin at the same moment must not all pass on what is
left for one. So each holds back what such turns typically cost, behind a guard, in the day and the week in which
it is created; what it uses then takes the place of that, and its end gives back the rest. Only while there is a
limit: otherwise no statement is made.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from common.prepared import Update, prepared, prepared_update
from copilot.models import Turn, UsageRecord
from copilot.usage.counters import Amounts, do_add, do_add_where_room
from copilot.usage.limits import limits_are_set, limits_of, person_now, refused
from copilot.usage.windows import windows_of

#: Microdollars that a turn is taken to cost where no turn with its model has ended lately.
TYPICAL = 10_000
#: Newest records of the person, and of everybody, from which it is told what a turn costs.
OWN_RECORDS = 50
ALL_RECORDS = 200
_NO_LIMIT = 2**63 - 1


def do_reserve(user_id: Any, model: str) -> tuple[int, datetime] | None:
    """Hold back what a new turn with this model typically costs; the turn is created at the moment returned.

    In the transaction that creates the turn, which afterwards locks nothing that other sessions lock before they
    come here. None: there is no limit.

    Raises:
        UsageLimit: a limit is reached. Nothing was held back.
    """
    if not limits_are_set():
        return None
    tier, now = person_now(user_id)
    limits, typical = limits_of(tier), typical_cost(user_id, model)
    with transaction.atomic():
        free = do_add_where_room(
            user_id, now, typical, day=limits["day"] or _NO_LIMIT, week=limits["week"] or _NO_LIMIT
        )
        for window in windows_of(now):
            if window.kind not in free:
                raise refused(window, now)
    return typical, now


def do_settle(turn_id: Any, cost: int) -> tuple[datetime, Amounts] | None:
    """Let what a turn used take the place of what it reserved; return what the counters are to be told.

    The caller holds the lock of the turn's session.
    """
    found = _reserving(turn_id) if cost and limits_are_set() else []
    if not found:
        return None
    reserved, created_at = found[0]
    settled = min(reserved, cost)
    if not _keep(turn_id, reserved, reserved - settled):
        return None
    return created_at, Amounts(reserved=-settled)


def do_give_back(user_id: Any, *turns: Turn) -> None:
    """Hold back no longer what turns that end or go reserved, as they were read under their sessions' locks."""
    given = [(turn.created_at, Amounts(reserved=-turn.reserved)) for turn in turns if turn.reserved]
    if given:
        # A turn that follows reserves today, which may be another day: that row comes first in the order.
        do_add(user_id, *given, (timezone.now(), Amounts()))


def typical_cost(user_id: Any, model: str) -> int:
    """Return what a turn with this model costs on average: the person's latest, else everybody's, else a guess."""
    for records in (_newest_of(user_id), _newest()):
        turns: dict[Any, int] = {}
        for turn_id, name, cost, ended_at in records:
            if name == model and cost is not None and ended_at is not None:
                turns[turn_id] = turns.get(turn_id, 0) + cost
        if turns:
            return sum(turns.values()) // len(turns)
    return TYPICAL


@prepared
def _newest_of(user_id: Any) -> QuerySet[UsageRecord, Any]:
    # Newest first by the index of people's records.
    return _costs().filter(user_id=user_id).order_by("-created_at")[:OWN_RECORDS]


@prepared
def _newest() -> QuerySet[UsageRecord, Any]:
    return _costs().order_by("-pk")[:ALL_RECORDS]


def _costs() -> QuerySet[UsageRecord, Any]:
    # What belongs to no ended turn is passed over by who reads them: a condition here would have the database read
    # on, through all that somebody used in chats that are gone.
    return UsageRecord.objects.values_list("turn_id", "model", "cost_microdollars", "turn__finished_at")


@prepared
def _reserving(turn_id: Any) -> QuerySet[Turn, tuple[int, datetime]]:
    live = Turn.objects.filter(pk=turn_id, reserved__gt=0, finished_at__isnull=True)
    return live.values_list("reserved", "created_at")


@prepared_update
def _keep(turn_id: Any, seen: Any, left: Any) -> Update:
    return Turn.objects.filter(pk=turn_id, reserved=seen), {"reserved": left}
