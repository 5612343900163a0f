"""What was used."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class UsageRecord(models.Model):
    """What the model calls of one step used: a fact, kept whoever won the turn."""

    turn = models.ForeignKey("copilot.Turn", on_delete=models.CASCADE, related_name="usage_records")
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
                name="usage_cost_source_is_known",
                condition=Q(cost_source__in=["provider", "table", "estimate", "unknown"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.input_tokens}+{self.output_tokens}"
