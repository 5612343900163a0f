"""What a model reads in the place of the older part of a conversation."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import Q

from common.ids import new_id
from common.prepared import prepared


class Compaction(models.Model):
    """Room that was made in the model's view while a turn ran. What people see stays as it is.

    It counts while the last message that it covers is shown: then all that it covers is, as a branch is one path.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    session = models.ForeignKey("copilot.Session", on_delete=models.CASCADE, related_name="compactions")
    #: The turn that made it. Its own steps are what ``noted``, ``through`` and ``longest`` are about.
    turn = models.ForeignKey("copilot.Turn", on_delete=models.CASCADE, related_name="compactions")
    #: The last message that the summary covers, with all shown before it; none when only results were shortened.
    last = models.ForeignKey("copilot.Message", on_delete=models.CASCADE, null=True, related_name="+")
    #: That message's ``seq``.
    up_to = models.PositiveIntegerField(default=0)
    #: Empty when none could be made: then what it covers is left out, for this turn alone.
    summary = models.TextField(blank=True, default="")
    #: How many steps the turn had committed.
    through = models.PositiveIntegerField(default=0)
    #: The results of the steps up to this one are given as notes.
    noted = models.PositiveIntegerField(default=0)
    #: Characters that a result of a later step, up to ``through``, may have; 0 is no limit.
    longest = models.PositiveIntegerField(default=0)
    #: Estimates of what the model is sent.
    tokens_before = models.PositiveIntegerField()
    tokens_after = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="compaction_covers_up_to_last",
                condition=Q(last__isnull=True, up_to=0, summary="") | Q(last__isnull=False, up_to__gt=0),
            ),
        ]

    def __str__(self) -> str:
        return f"up to {self.up_to}"


@prepared
def compactions_before(session_id: Any, turn_id: Any, seq: Any) -> models.QuerySet[Compaction]:
    """Return what counts for a turn's view of the messages before ``seq``: what covers most first."""
    made = Compaction.objects.filter(~Q(summary="") | Q(turn_id=turn_id))
    made = made.filter(session_id=session_id, last__shown=True, up_to__lt=seq)
    return made.order_by("-up_to", "-created_at")[:20]


def shortened_in(turn_id: uuid.UUID) -> Compaction | None:
    """Return the newest of a turn: it says how the results of the turn's own steps are given."""
    return Compaction.objects.filter(turn_id=turn_id).order_by("created_at", "through").last()
