"""Turns that must not be. The constraints refuse most of them: they come of writes past those, as of a restore.

They are shown and nothing more: each has a cause of its own, which a person has to look for.
"""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q

from approvals.models import Action
from copilot.models import Turn
from copilot.models.turn import IMPOSSIBLE, TurnQuerySet, impossible

#: What was to be decided is gone, so that nobody ever will.
_FOR_NOTHING = Q(
    ~Exists(Action.objects.pending().filter(pk=OuterRef("action_id"))), status=Turn.Status.REQUIRES_ACTION
)
#: Kinds by name.
KINDS: dict[str, Q] = {**IMPOSSIBLE, "waiting_for_nothing": _FOR_NOTHING}


def invalid_turns() -> TurnQuerySet:
    """Turns of any of these kinds."""
    own, others = Turn.objects.filter(impossible()), Turn.objects.filter(_FOR_NOTHING)
    # Each half has an index of its own; joined by OR they would be looked for in all turns.
    return Turn.objects.filter(pk__in=own.values("pk").union(others.values("pk")))
