"""People."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models

from common.ids import new_id


class User(AbstractUser):
    """A person with an account; ours from the first migration so that it can grow."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    #: Multiplies the operator's usage limits.
    tier = models.PositiveSmallIntegerField(default=1)
    time_zone = models.CharField(max_length=64, blank=True, default="")
    #: What they want of agents in all their sessions.
    instructions = models.TextField(blank=True, default="", db_default="")

    def __str__(self) -> str:
        return self.username
