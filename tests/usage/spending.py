"""Usage made by the services that make it in life, and what is counted of it."""

from __future__ import annotations

import uuid

from copilot.diagnostics import invariants
from copilot.models import UsageCounter, User
from copilot.providers.base import Usage
from copilot.providers.pricing import Cost
from copilot.turns.asides import record_aside
from copilot.turns.progress import record_usage
from tests.factories import Holder, make_session

UNKNOWN = Cost(None, "unknown")


def spend(user: User, microdollars: int | None, *, model: str = "demo/demo") -> None:
    """Have a person use something outside of any turn."""
    record_aside(
        aside=uuid.uuid4(),
        call=1,
        user_id=user.pk,
        session_id=make_session(user).pk,
        model=model,
        usage=Usage(1, 2),
        cost=cost_of(microdollars),
    )


def cost_of(microdollars: int | None) -> Cost:
    """Return a cost as a provider tells it; None is one that nobody knows."""
    return UNKNOWN if microdollars is None else Cost(microdollars, "provider")


def use(
    holder: Holder, microdollars: int | None, *, call: int = 1, step: int = 1, model: str = "demo/demo"
) -> None:
    """Have a turn that a worker holds use something."""
    cost = cost_of(microdollars)
    record_usage(claim=holder.claim, step=step, call=call, model=model, usage=Usage(10, 3), cost=cost)


def counted(user: User) -> dict[str, tuple[int, int, int, int]]:
    """Return used, forgiven, reserved and unknown of a person's one day and one week."""
    columns = ("window", "used", "forgiven", "reserved", "unknown")
    rows = UsageCounter.objects.filter(user=user).values_list(*columns)
    found = {window: tuple(amounts) for window, *amounts in rows}
    assert len(found) == len(rows)
    return found


def untrue() -> list[invariants.Violation]:
    """Return what counters say that records and live turns do not; it must be nothing."""
    return [violation for violation in invariants.check() if violation.kind == "user"]
