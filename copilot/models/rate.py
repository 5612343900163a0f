"""How much a person sent lately."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from common.db import db_now


class SendRate(models.Model):
    """One small row a person, so that a burst is the same burst to every process (``turns/rate.py``)."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    #: Until when what was sent counts: each message moves it on by a minute divided by the rate.
    spent_until = models.DateTimeField(db_default=db_now())

    def __str__(self) -> str:
        return f"{self.spent_until}"
