"""What people want remembered."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from common.db import db_now
from common.ids import new_id


class RuleQuerySet(models.QuerySet["Rule"]):
    """Composable selections of rules."""

    def visible_to(self, user: object) -> Self:
        """Rules of ``user``; anything else does not exist for them."""
        return self.filter(user=user)

    def for_session(self, user: object, session_id: object) -> Self:
        """The rules that count in a session of ``user``: those of all sessions, and its own."""
        return self.visible_to(user).filter(Q(session__isnull=True) | Q(session=session_id))


class Rule(models.Model):
    """A tool that one person allows without being asked: in one session, or always.

    It counts only for turns which that person wrote, and never against what an operator denies or asks about.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    #: The session in which it counts; null counts everywhere.
    session = models.UUIDField(null=True, default=None)
    #: The exact full name of a tool.
    tool = models.CharField(max_length=128)
    #: Globs by argument: the rule counts only for calls whose arguments match all of them.
    pattern = models.JSONField(default=dict)
    #: Of tool and pattern, so that the same rule is stored once.
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=db_now())

    objects = RuleQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="rule_once_a_session", fields=["user", "session", "digest"]),
            models.UniqueConstraint(
                name="rule_once_for_always", fields=["user", "digest"], condition=Q(session__isnull=True)
            ),
        ]
        indexes = [models.Index(name="rule_of_session", fields=["session"])]

    def __str__(self) -> str:
        return f"{self.tool} {'in a session' if self.session else 'always'}"
