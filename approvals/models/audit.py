"""Who allowed what."""

from __future__ import annotations

from typing import Any, NoReturn, Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from common.db import db_now
from common.ids import new_id


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    """Selections of entries; there is no way to change or remove them from here."""

    def visible_to(self, user: object) -> Self:
        """Entries about what was asked of ``user``."""
        return self.filter(user=user)

    def update(self, **changes: Any) -> NoReturn:
        """Refuse: entries are final."""
        raise TypeError("The audit log is append-only.")

    def delete(self) -> NoReturn:
        """Refuse: entries are final."""
        raise TypeError("The audit log is append-only.")


class AuditEntry(models.Model):
    """One fact about approvals, written in the transaction that made it so. Never changed; one a call decided.

    It stays when its session is deleted. Arguments and words are in their shown form: nothing secret is in here.
    Of somebody who was deleted only what was done and when stays: a row of nobody's.
    """

    class Event(models.TextChoices):
        DECIDED = "decided"
        EXPIRED = "expired"
        CANCELLED = "cancelled"
        RULE_ADDED = "rule_added"
        RULE_REVOKED = "rule_revoked"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    at = models.DateTimeField(db_default=db_now())
    event = models.CharField(max_length=12, choices=Event)
    #: Who was asked; null: their account was deleted since.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+")
    #: Who did it: by name, which outlives the account. Empty: the server itself.
    actor = models.CharField(max_length=150, blank=True, default="")
    #: web, api, a bot's platform, or "server".
    surface = models.CharField(max_length=20)
    action = models.UUIDField(null=True, default=None)
    session = models.UUIDField(null=True, default=None)
    turn = models.UUIDField(null=True, default=None)
    tool_call = models.UUIDField(null=True, default=None)
    tool = models.CharField(max_length=128, blank=True, default="")
    #: approve, edit, reject, respond or answer; empty where nobody decided.
    decision = models.CharField(max_length=7, blank=True, default="")
    scope = models.CharField(max_length=7, blank=True, default="")
    #: The reason, response or answer; why it was cancelled.
    text = models.TextField(blank=True, default="")
    #: The arguments that the person was shown, and those with which the call may run.
    shown = models.JSONField(null=True, default=None)
    final = models.JSONField(null=True, default=None)
    #: SHA-256 of the exact arguments, before and after.
    shown_sha256 = models.CharField(max_length=64, blank=True, default="")
    final_sha256 = models.CharField(max_length=64, blank=True, default="")

    objects = AuditQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        constraints = [
            models.CheckConstraint(
                name="audit_event_is_known",
                condition=Q(event__in=["decided", "expired", "cancelled", "rule_added", "rule_revoked"]),
            ),
            # One decision a call, whatever raced.
            models.UniqueConstraint(
                name="audit_one_decision_a_call",
                fields=["action", "tool_call"],
                condition=Q(event="decided"),
            ),
            models.CheckConstraint(
                name="audit_of_nobody_tells_nothing",
                condition=Q(user__isnull=False)
                | Q(
                    text="",
                    shown__isnull=True,
                    final__isnull=True,
                    shown_sha256="",
                    final_sha256="",
                    session__isnull=True,
                    turn__isnull=True,
                ),
            ),
        ]
        indexes = [
            models.Index(name="audit_of_user", fields=["user", "-at"]),
            models.Index(name="audit_of_action", fields=["action"]),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.tool}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the entry.

        Raises:
            TypeError: it is there already.
        """
        if not self._state.adding:
            raise TypeError("The audit log is append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: entries are final."""
        raise TypeError("The audit log is append-only.")
