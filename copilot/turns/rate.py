"""How often a person may send: ``SEND_RATE`` messages a minute, over all surfaces and processes together.

So many may come at once, and then one for each part of a minute that passes. What a person sent is one moment in
a row of theirs: each message moves it on, and a minute ahead of now is as far as it may get.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Q
from django.db.models.functions import Greatest, Least

from common.db import db_now, seconds_ago
from common.errors import RateLimited
from common.prepared import Update, prepared_update
from copilot.models import SendRate, Turn

MINUTE = timedelta(minutes=1)
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
    each = MINUTE / rate

    @prepared_update
    def count(user_id: Any) -> Update:
        room = seconds_ago(-(MINUTE - each).total_seconds())
        # Further ahead than a minute is nobody's doing: the clock was set back. It must not lock anybody out.
        odd = Q(spent_until__gt=seconds_ago(-MINUTE.total_seconds()))
        rows = SendRate.objects.filter(Q(spent_until__lte=room) | odd, pk=user_id)
        return rows, {"spent_until": Greatest(Least(F("spent_until"), room), db_now()) + each}

    return count


def _too_many(user_id: Any, rate: int) -> RateLimited:
    rows = SendRate.objects.filter(pk=user_id).annotate(now=db_now())
    spent_until, now = rows.values_list("spent_until", "now").get()
    resets_at = spent_until - MINUTE + MINUTE / rate
    seconds = max(1, math.ceil((resets_at - now).total_seconds()))
    return RateLimited(
        f"At most {rate} messages a minute can be sent. Send this one again in {seconds} s.",
        window="minute",
        resets_at=resets_at.isoformat().replace("+00:00", "Z"),
        retry_after=seconds,
    )
