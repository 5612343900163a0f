"""What operators may grant a person, on record: a fresh day or week, another tier."""

from __future__ import annotations

from common.db import transact
from copilot.models import User
from copilot.operators.audit import record
from copilot.usage import allowance
from copilot.usage.limits import Usage, usage_of


@transact
def reset(operator: User, user: User, *, week: bool) -> Usage:
    """Let what a person used today, with ``week`` this week too, no longer count; return how things stand then.

    The record keeps how much was forgiven, in microdollars.

    Raises:
        NotFound: there is no such person any more.
    """
    before = usage_of(user.pk)
    allowance.reset(user, week=week)
    after = usage_of(user.pk)
    forgiven = {
        new.window.kind: new.forgiven - old.forgiven
        for old, new in zip(before.windows, after.windows, strict=True)
        if new.window == old.window and (week or new.window.kind == "day")
    }
    affected = sum(amount > 0 for amount in forgiven.values())
    record(
        operator, "usage_reset", target_user=user, requested=len(forgiven), affected=affected, data=dict(forgiven)
    )
    return after


@transact
def change_tier(operator: User, user: User, tier: int) -> Usage:
    """Multiply a person's limits by ``tier`` from now on; return how things stand after it.

    Raises:
        Invalid: it is not an integer from 1 on.
        NotFound: there is no such person any more.
    """
    before = usage_of(user.pk).tier
    allowance.set_tier(user, tier)
    data = {"before": before, "after": tier}
    record(operator, "tier", target_user=user, requested=1, affected=int(before != tier), data=data)
    return usage_of(user.pk)
