"""A conversation."""

from __future__ import annotations

from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from common.ids import new_id
from common.prepared import prepared


class SessionQuerySet(models.QuerySet["Session"]):
    """Composable selections of sessions."""

    def visible_to(self, user: object) -> Self:
        """Sessions that ``user`` owns; anything else does not exist for them."""
        return self.filter(user=user)

    def locked(self) -> Self:
        """Take the row lock that orders everything that happens in a session.

        ``no_key``: a plain ``FOR UPDATE`` deadlocks with the foreign-key checks of concurrent inserts.
        """
        return self.select_for_update(of=("self",), no_key=True)


class Session(models.Model):
    """One conversation of one person. Its row lock is the first lock of every transition inside it."""

    class TitleSource(models.TextChoices):
        AUTO = "auto"  # from the first message; a model or a person may replace it
        MODEL = "model"  # a model's; a person may replace it
        PERSON = "person"  # final

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="copilot_sessions")
    title = models.CharField(max_length=200, blank=True, default="")
    title_source = models.CharField(max_length=8, choices=TitleSource, default=TitleSource.AUTO)
    model = models.CharField(max_length=200, blank=True, default="")
    instructions = models.TextField(blank=True, default="")
    #: Globs over tool names; null offers every tool.
    tools = models.JSONField(null=True, default=None)
    #: Not listed, never named by itself, and deleted some time after its last turn.
    temporary = models.BooleanField(default=False)
    archived = models.BooleanField(default=False)
    client_id = models.CharField(max_length=128, null=True, default=None)  # noqa: DJ001 - null is "none given"
    #: Grows with every change that an open page should show; sockets compare it at each heartbeat.
    revision = models.PositiveBigIntegerField(default=1)
    #: Grows when shown messages were replaced by others: by an edit, another answer or another branch. While it
    #: is 0 everything that has a place is shown.
    rewrites = models.PositiveIntegerField(default=0, db_default=0)
    #: The last shown message, which the next one follows; null before the first. Under the session lock only.
    head = models.UUIDField(null=True, default=None, editable=False)
    #: The next message's place in the transcript; allocated under the session lock only.
    next_seq = models.PositiveIntegerField(default=1)
    #: How many messages were accepted, queued ones included; their order of arrival.
    accepted = models.PositiveIntegerField(default=0)
    #: Sums over the usage records, so that opening a session costs the same however long it is.
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cost_microdollars = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField()

    objects = SessionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="session_title_source_is_known",
                condition=Q(title_source__in=["auto", "model", "person"]),
            ),
            models.UniqueConstraint(
                name="session_one_per_client_id",
                fields=["user", "client_id"],
                condition=Q(client_id__isnull=False),
            ),
        ]
        indexes = [
            # The list of a person's sessions, newest activity first.
            models.Index(name="session_recent", fields=["user", "-updated_at"]),
            # The sweep's look for temporary ones that are due.
            models.Index(name="session_temporary", fields=["created_at"], condition=Q(temporary=True)),
        ]

    def __str__(self) -> str:
        return self.title or str(self.id)


@prepared
def locked_session(session_id: Any) -> SessionQuerySet:
    """Return the session under its lock: one, or none when it was deleted."""
    return Session.objects.locked().filter(pk=session_id)
