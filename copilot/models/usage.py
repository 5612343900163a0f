"""What was used."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from common.db import db_now


class UsageRecord(models.Model):
    """What the model calls of one step used: a fact, kept whoever won the turn.

    The call of a side question or for a title belongs to no turn: it counts nowhere in the session. Each record is
    its person's, also when the session is gone: what was used stays used.
    """

    #: None of a call that belonged to no turn, and when the turn was deleted with its session.
    turn = models.ForeignKey("copilot.Turn", on_delete=models.SET_NULL, null=True, related_name="usage_records")
    #: A side question or a naming, whose model calls ``step`` counts, and what it was about.
    aside = models.UUIDField(null=True, default=None)
    session = models.ForeignKey(
        "copilot.Session", on_delete=models.SET_NULL, null=True, db_index=False, related_name="+"
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="+")
    fence = models.PositiveIntegerField()
    step = models.PositiveIntegerField()
    #: Which of the claim's calls was added last: one that is recorded again adds nothing.
    calls = models.PositiveSmallIntegerField(db_default=1)
    #: ``provider/name`` that was asked, the last one where another took over within the step.
    model = models.CharField(max_length=200)
    #: Who answered, in the provider's words, where it names another.
    answered_by = models.CharField(max_length=200, blank=True, default="", db_default="")
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    cache_read_tokens = models.PositiveBigIntegerField(default=0)
    cache_write_tokens = models.PositiveBigIntegerField(default=0)
    #: Some of the tokens are: a call was cut off, or its provider counts none.
    estimated = models.BooleanField(default=False, db_default=False)
    cost_microdollars = models.PositiveBigIntegerField(null=True, default=None)
    #: provider, table, estimate or unknown: the least certain of its calls. The cost is that of the known ones.
    cost_source = models.CharField(max_length=8, default="unknown")
    #: Says in which windows it counts, also for what is added to it later.
    created_at = models.DateTimeField(db_default=db_now())

    class Meta:
        constraints = [
            models.UniqueConstraint(name="usage_one_per_call", fields=["turn", "fence", "step"]),
            models.CheckConstraint(
                name="usage_of_turn_or_aside",
                condition=Q(aside__isnull=True, session__isnull=True)
                | Q(turn__isnull=True, aside__isnull=False, fence=0),
            ),
            models.UniqueConstraint(
                name="usage_one_per_call_aside", fields=["aside", "step"], condition=Q(aside__isnull=False)
            ),
            models.CheckConstraint(
                name="usage_cost_source_is_known",
                condition=Q(cost_source__in=["provider", "table", "estimate", "unknown"]),
            ),
        ]
        indexes = [
            # A person's newest records, and those of a window.
            models.Index(name="usage_of_user", fields=["user", "created_at"]),
            # Deleting a session looks for them. Few records are a side question's: turns pay nothing for it.
            models.Index(name="usage_of_aside", fields=["session"], condition=Q(session__isnull=False)),
            # What everybody spent in a period. Records come in the order of time: it grows at one end.
            models.Index(name="usage_at", fields=["created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.input_tokens}+{self.output_tokens}"
