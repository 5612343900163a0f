"""What was used."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class UsageRecord(models.Model):
    """What the model calls of one step used: a fact, kept whoever won the turn.

    The call of a side question belongs to no turn. It is its person's, also when the session is gone: it counts
    nowhere in the session.
    """

    turn = models.ForeignKey("copilot.Turn", on_delete=models.CASCADE, null=True, related_name="usage_records")
    #: What a side question was about; only there.
    session = models.ForeignKey(
        "copilot.Session", on_delete=models.SET_NULL, null=True, db_index=False, related_name="+"
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    fence = models.PositiveIntegerField()
    step = models.PositiveIntegerField()
    #: Which of the claim's calls was added last: one that is recorded again adds nothing.
    calls = models.PositiveSmallIntegerField(db_default=1)
    model = models.CharField(max_length=200)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    cache_read_tokens = models.PositiveBigIntegerField(default=0)
    cache_write_tokens = models.PositiveBigIntegerField(default=0)
    cost_microdollars = models.PositiveBigIntegerField(null=True, default=None)
    #: provider, table, estimate or unknown.
    cost_source = models.CharField(max_length=8, default="unknown")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="usage_one_per_call", fields=["turn", "fence", "step"]),
            models.CheckConstraint(
                name="usage_of_turn_or_aside",
                condition=Q(turn__isnull=False, session__isnull=True) | Q(turn__isnull=True, fence=0),
            ),
            models.CheckConstraint(
                name="usage_cost_source_is_known",
                condition=Q(cost_source__in=["provider", "table", "estimate", "unknown"]),
            ),
        ]
        indexes = [
            # Deleting a session looks for them. Few records are a side question's: turns pay nothing for it.
            models.Index(name="usage_of_aside", fields=["session"], condition=Q(session__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.input_tokens}+{self.output_tokens}"
