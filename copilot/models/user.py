"""People."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q

from common.ids import new_id


class User(AbstractUser):
    """A person with an account; ours from the first migration so that it can grow."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    #: Multiplies the operator's usage limits.
    tier = models.PositiveSmallIntegerField(default=1)
    time_zone = models.CharField(max_length=64, blank=True, default="")
    #: What they want of agents in all their sessions.
    instructions = models.TextField(blank=True, default="", db_default="")
    #: Since when everything of theirs is being deleted, and the account last of all; there is no way back.
    deleting_at = models.DateTimeField(null=True, editable=False, default=None)

    class Meta(AbstractUser.Meta):
        constraints = [
            # Nobody comes back in, whoever activates the account again.
            models.CheckConstraint(
                name="user_being_deleted_is_inactive",
                condition=Q(deleting_at__isnull=True) | Q(is_active=False),
            ),
        ]
        indexes = [
            # The sweep's look for whom to go on with.
            models.Index(name="user_deleting", fields=["deleting_at"], condition=Q(deleting_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.username
