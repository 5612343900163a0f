"""How often a person may send: ``SEND_RATE`` messages a minute, over all surfaces and processes together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.conf import settings

from common import rates
from common.db import db_now
from common.errors import RateLimited
from common.prepared import Update, prepared_update
from copilot.models import SendRate, Turn

MINUTE = rates.MINUTE
#: What a person sends. What the server starts by itself is not counted.
PERSONAL = frozenset({Turn.Origin.WEB, Turn.Origin.KEY, Turn.Origin.BOT})


def do_count_send(user_id: Any, origin: str = Turn.Origin.WEB) -> None:
    """Count a message that a person sends, in the transaction that stores it.

    Its last statement: until the commit, whatever else the person sends waits for it.

    Raises:
        RateLimited: it is one too many. ``fields`` say when the next one is accepted.
    """
    rate: int = settings.SEND_RATE
    if not rate or origin not in PERSONAL or _count(rate)(user_id):
        return
    SendRate.objects.bulk_create([SendRate(user_id=user_id)], ignore_conflicts=True)  # their first one
    if not _count(rate)(user_id):
        raise _too_many(user_id, rate)


@functools.cache
def _count(rate: int) -> Callable[[Any], int]:
    @prepared_update
    def count(user_id: Any) -> Update:
        rows = SendRate.objects.filter(rates.has_room("spent_until", rate), pk=user_id)
        return rows, {"spent_until": rates.moved_on("spent_until", rate)}

    return count


def _too_many(user_id: Any, rate: int) -> RateLimited:
    rows = SendRate.objects.filter(pk=user_id).annotate(now=db_now())
    spent_until, now = rows.values_list("spent_until", "now").get()
    return rates.refusal(f"At most {rate} messages a minute can be sent.", spent_until, now, rate)
