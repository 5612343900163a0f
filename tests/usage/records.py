"""Usage records of side questions, which need nothing else: of whom, when, of which model, and how much."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from copilot.models import UsageRecord, User

#: A day that is long over, so that nothing here depends on when the tests run.
DAY = date(2026, 3, 10)


def noon(day: date = DAY, **later: float) -> datetime:
    """Return the middle of a day in UTC, or so much later."""
    return datetime.combine(day, time(12), UTC) + timedelta(**later)


def spend(user: User, at: datetime | None = None, **over: Any) -> UsageRecord:
    """Make a record: a cent with a demo model, unless told otherwise."""
    values = {"model": "demo/demo", "cost_microdollars": 10_000, "cost_source": "provider", **over}
    values |= {"aside": uuid.uuid4(), "fence": 0, "step": 1, "created_at": at or noon()}
    return UsageRecord.objects.create(user=user, **values)


def spend_at_random(users: list[User], count: int, seed: int, days: int = 5) -> list[UsageRecord]:
    """Make records at any second of these days, with costs that are known, partly known and unknown."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        source = rng.choice(["provider", "table", "estimate", "unknown"])
        known = source != "unknown" or rng.random() < 0.3
        made.append(
            UsageRecord(
                aside=uuid.UUID(int=rng.getrandbits(128)),
                fence=0,
                step=1,
                user=rng.choice(users),
                model=rng.choice(["openai/gpt", "anthropic/claude", "demo/demo"]),
                input_tokens=rng.randrange(10_000),
                output_tokens=rng.randrange(1_000),
                cache_read_tokens=rng.randrange(1_000),
                estimated=rng.random() < 0.2,
                cost_microdollars=rng.randrange(2_000_000) if known else None,
                cost_source=source,
                created_at=noon(seconds=rng.randrange(-43_200, 86_400 * days)),
            )
        )
    return UsageRecord.objects.bulk_create(made)
