"""So many things a minute: as many may come at once, then one for each part of a minute that passes.

What somebody did is one moment in a row of theirs: each thing moves it on, and a minute ahead of now is as far as
it may get. The guarded UPDATE that moves it is the limit, over all processes together.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from django.db.models import F, Q
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Greatest, Least

from common.db import db_now, seconds_ago
from common.errors import RateLimited

MINUTE = timedelta(minutes=1)
_ODD = 2 * MINUTE


def has_room(column: str, rate: int) -> Q:
    """Return the condition that another thing fits: ``rate`` a minute, counted in the moment ``column``."""
    # Much further ahead than a minute is nobody's doing: the clock was set back. It must not lock anybody out. A
    # little further is what somebody counted whose statement began after this one, which waited for it.
    odd = Q(**{f"{column}__gt": seconds_ago(-_ODD.total_seconds())})
    return Q(**{f"{column}__lte": _room(rate)}) | odd


def moved_on(column: str, rate: int) -> CombinedExpression:
    """Return what becomes of the moment when one thing more is counted."""
    return Greatest(Least(F(column), _room(rate)), db_now()) + MINUTE / rate


def _room(rate: int) -> CombinedExpression:
    return seconds_ago(-(MINUTE - MINUTE / rate).total_seconds())


def refusal(what: str, spent_until: datetime, now: datetime, rate: int) -> RateLimited:
    """Return the error for one thing too many.

    Args:
        what: A sentence that ends before "Send this one again in …".
        spent_until: The counting moment.
        now: On the same clock.
        rate: Things a minute.
    """
    resets_at = spent_until - MINUTE + MINUTE / rate
    seconds = max(1, math.ceil((resets_at - now).total_seconds()))
    return RateLimited(
        f"{what} Send this one again in {seconds} s.",
        window="minute",
        resets_at=resets_at.isoformat().replace("+00:00", "Z"),
        retry_after=seconds,
    )
