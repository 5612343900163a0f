"""Turns that must not be. The constraints refuse most of them: they come of writes past those, as of a restore.

They are shown and nothing more: each has a cause of its own, which a person has to look for.
"""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q

from approvals.models import Action
from copilot.models import Turn
from copilot.models.turn import IMPOSSIBLE, TurnQuerySet, impossible

#: Turns that are shown of those which their own rows give away: where there are more, these will do.
MOST = 1000
#: What was to be decided is gone, so that nobody ever will.
_FOR_NOTHING = Q(
    ~Exists(Action.objects.pending().filter(pk=OuterRef("action_id"))), status=Turn.Status.REQUIRES_ACTION
)
#: Kinds by name.
KINDS: dict[str, Q] = {**IMPOSSIBLE, "waiting_for_nothing": _FOR_NOTHING}


def invalid_turns() -> TurnQuerySet:
    """Turns of any of these kinds."""
    # PostgreSQL expects a share of all turns to be impossible, and would rather read all than look so many up.
    # In the order of their index, and so many at most, it looks there.
    impossible_ones = Turn.objects.filter(impossible()).order_by("status").values("pk")[:MOST]
    # Joined by OR the two would be looked for in all turns.
    found = Turn.objects.filter(pk__in=impossible_ones).values("pk")
    return Turn.objects.filter(pk__in=found.union(Turn.objects.filter(_FOR_NOTHING).values("pk")))
