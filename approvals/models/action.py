"""One thing that a person is asked to decide."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from common.db import db_now
from common.ids import new_id

#: Without these nobody can tell what is asked about a call.
NEEDED = {"tool_call_id", "name", "arguments", "schema", "allowed_decisions", "sha256"}


class ActionQuerySet(models.QuerySet["Action"]):
    """Composable selections of actions."""

    def visible_to(self, user: object) -> Self:
        """Actions that ``user`` may see and decide; anything else does not exist for them."""
        return self.filter(user=user)

    def pending(self) -> Self:
        """Actions that nobody decided, expired or cancelled, also those that are past their time."""
        return self.filter(status=Action.Status.PENDING)

    def live(self) -> Self:
        """Pending actions that can still be decided: the one predicate for it."""
        return self.pending().filter(expires_at__gt=db_now())

    def overdue(self) -> Self:
        """Pending actions that are past their time."""
        return self.pending().filter(expires_at__lte=db_now())

    def with_time(self) -> Self:
        """Read the database's clock along, as ``time``."""
        return self.annotate(time=db_now())


class Action(models.Model):
    """A pause of a turn: one decision that a person is asked for, about a batch of tool calls or a question.

    It leaves ``pending`` once, by a guarded UPDATE in the transaction that also moves the turn on.
    """

    class Kind(models.TextChoices):
        TOOL_APPROVAL = "tool_approval"
        QUESTION = "ask_user_question"

    class Status(models.TextChoices):
        PENDING = "pending"  # then one of the others, for good
        DECIDED = "decided"
        EXPIRED = "expired"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=17, choices=Kind, default=Kind.TOOL_APPROVAL)
    status = models.CharField(max_length=9, choices=Status, default=Status.PENDING)
    #: Who is asked: the owner of the session, and nobody else.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    #: Plain ids: this app knows nothing else of turns and sessions.
    session = models.UUIDField()
    turn = models.UUIDField()

    # What is asked.
    #: One for each call, in the model's order: ``tool_call_id name arguments schema description?
    #: allowed_decisions sha256 reason?``. The arguments are the shown form; the digest is that of the exact one.
    requests = models.JSONField(default=list)
    #: Values that the shown arguments hide, by call; readable by nobody but ``decide``, emptied afterwards.
    sealed = models.TextField(blank=True, default="")
    question = models.TextField(blank=True, default="")
    options = models.JSONField(default=list)
    #: The operator's words about why this is asked.
    reason = models.TextField(blank=True, default="")
    #: For how long the decision may be remembered.
    scopes = models.JSONField(default=list)
    #: A question with a time limit: at its end the model goes on by its own judgement.
    goes_on = models.BooleanField(default=False)

    # When. All on the database's clock.
    created_at = models.DateTimeField(db_default=db_now())
    expires_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, default=None)
    #: The person was told of it outside of the pages; once.
    reached_at = models.DateTimeField(null=True, default=None)

    # How it was decided.
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+")
    #: web, api, or a bot's platform.
    surface = models.CharField(max_length=20, blank=True, default="")
    scope = models.CharField(max_length=7, blank=True, default="")
    #: One for each call, as it is shown: ``tool_call_id type reason? arguments? text? sha256``.
    decisions = models.JSONField(null=True, default=None)
    answer = models.TextField(blank=True, default="")
    #: Of what was decided: tells a repetition from another decision.
    digest = models.CharField(max_length=64, blank=True, default="")

    #: The database's clock when the row was read, if it was asked for (``with_time``).
    time: datetime

    objects = ActionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="action_kind_is_known", condition=Q(kind__in=["tool_approval", "ask_user_question"])
            ),
            models.CheckConstraint(
                name="action_status_is_known",
                condition=Q(status__in=["pending", "decided", "expired", "cancelled"]),
            ),
            models.CheckConstraint(
                name="action_resolved_iff_not_pending",
                condition=Q(status="pending", resolved_at__isnull=True)
                | Q(~Q(status="pending"), resolved_at__isnull=False),
            ),
            models.CheckConstraint(
                name="action_decided_by_a_person",
                condition=Q(
                    ~Q(surface=""),
                    ~Q(digest=""),
                    status="decided",
                    decided_by__isnull=False,
                    decisions__isnull=False,
                )
                | Q(~Q(status="decided"), decided_by__isnull=True, decisions__isnull=True, surface=""),
            ),
            # Nobody decides for another person.
            models.CheckConstraint(
                name="action_decided_by_its_owner", condition=Q(decided_by__isnull=True) | Q(decided_by=F("user"))
            ),
            models.CheckConstraint(
                name="action_sealed_while_pending", condition=Q(status="pending") | Q(sealed="")
            ),
            models.UniqueConstraint(
                name="action_one_pending_a_turn", fields=["turn"], condition=Q(status="pending")
            ),
        ]
        indexes = [
            # What has to expire: the sweep reads nothing else, however many wait.
            models.Index(name="action_expiry", fields=["expires_at"], condition=Q(status="pending")),
            # A person's inbox, soonest expiry first.
            models.Index(name="action_inbox", fields=["user", "expires_at"], condition=Q(status="pending")),
            models.Index(name="action_of_user", fields=["user", "-created_at"]),
            models.Index(name="action_of_turn", fields=["turn"]),
            models.Index(name="action_of_session", fields=["session"]),
            # Whom to reach.
            models.Index(
                name="action_unreached",
                fields=["created_at"],
                condition=Q(status="pending", reached_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.status}"

    @property
    def readable_requests(self) -> list[dict[str, Any]]:
        """What is asked about each call; nothing where any of it cannot be read as that."""
        asked = self.requests if isinstance(self.requests, list) else []
        whole = all(isinstance(each, dict) and each.keys() >= NEEDED for each in asked)
        return asked if whole else []

    def request_of(self, call_id: object) -> dict[str, Any] | None:
        """Return what is asked about one call."""
        return next((each for each in self.requests if each["tool_call_id"] == str(call_id)), None)
