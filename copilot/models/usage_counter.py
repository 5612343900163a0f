"""What a person used within a day and a week."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q


class UsageCounter(models.Model):
    """What one person used in one window of time, in microdollars; there is none where nothing was.

    ``used`` is what the person's records of that window add up to, at every moment: it is written together with
    them. What counts towards a limit is ``used - forgiven``, and for beginning a turn ``reserved`` besides.
    """

    class Window(models.TextChoices):
        DAY = "day"  # from midnight on, UTC
        WEEK = "week"  # from Monday's midnight on, UTC

    pk = models.CompositePrimaryKey("user_id", "window", "starts_on")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    window = models.CharField(max_length=4, choices=Window)
    #: The first day of the window.
    starts_on = models.DateField()
    #: The cost of all records of the window, as far as it is known.
    used = models.PositiveBigIntegerField(default=0)
    #: How much of it an operator's reset took off the limit.
    forgiven = models.PositiveBigIntegerField(default=0)
    #: What live turns that began in the window may still cost. Never below nought, which no constraint can say:
    #: PostgreSQL judges by it what an upsert proposes, before it looks whether there is a row to add that to.
    reserved = models.BigIntegerField(default=0)
    #: Records whose cost is not known, or only in part: they count for less than they cost.
    unknown = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(name="usage_window_is_known", condition=Q(window__in=["day", "week"])),
            models.CheckConstraint(name="usage_forgiven_was_used", condition=Q(forgiven__lte=F("used"))),
        ]

    def __str__(self) -> str:
        return f"{self.window} {self.starts_on}: {self.used}"
