"""What an operator may grant a person: a fresh window, another tier."""

from __future__ import annotations

from django.db.models import F

from common.db import db_now, transact
from common.errors import NotFound, invalid
from copilot.models import UsageCounter, User
from copilot.usage.windows import windows_of

#: What fits the column.
TIER_MAX = 32_767


@transact
def reset(user: User, *, week: bool) -> None:
    """Let what ``user`` used today no longer count towards the limit of the day; the records stay.

    A day's reset leaves the week as it is. What live turns reserved stays reserved.

    Args:
        week: forgive what was used this week too.

    Raises:
        NotFound: there is no such person any more.
    """
    now = User.objects.filter(pk=user.pk).annotate(time=db_now()).values_list("time", flat=True).first()
    if now is None:
        raise NotFound
    day, this_week = windows_of(now)
    # One after the other, in the order in which all counters are written.
    for window in (day, this_week) if week else (day,):
        counters = UsageCounter.objects.filter(user=user, window=window.kind, starts_on=window.starts_on)
        counters.update(forgiven=F("used"))


@transact
def set_tier(user: User, tier: int) -> None:
    """Multiply the limits of ``user`` by ``tier`` from now on.

    Raises:
        Invalid: it is not an integer from 1 on.
        NotFound: there is no such person any more.
    """
    if not 1 <= tier <= TIER_MAX:
        raise invalid({"tier": f"It must be an integer from 1 to {TIER_MAX}."})
    if not User.objects.filter(pk=user.pk).update(tier=tier):
        raise NotFound
    user.tier = tier
