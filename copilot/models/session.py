"""A conversation."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from django.conf import settings
from django.db import models
from django.db.models import OuterRef, Q, Subquery
from django.utils.functional import cached_property

from common.ids import new_id
from common.prepared import prepared
from copilot.models.turn import Turn

#: Children of children: how far down they go.
DEPTH_MAX = 3


class Wishes(NamedTuple):
    """What a session's owner wants in all sessions, and what its preset says; of no preset everything is None."""

    time_zone: str
    personal: str
    preset_prompt: str | None
    preset_tone: str | None
    preset_style: str | None


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

    def with_live(self) -> Self:
        """Read the status of the turn that has not ended along, as ``live``; null where there is none."""
        turns = Turn.objects.live().filter(session=OuterRef("pk"))
        return self.annotate(live=Subquery(turns.values("status")[:1]))


class Session(models.Model):
    """One conversation of one person. Its row lock is the first lock of every transition inside it."""

    class TitleSource(models.TextChoices):
        AUTO = "auto"  # from the first message; a model or a person may replace it
        MODEL = "model"  # a model's; a person may replace it
        PERSON = "person"  # final

    class ApprovalMode(models.TextChoices):
        DEFAULT = "default"  # as the operator has it
        ASK_ALL = "ask_all"  # every tool asks that nobody allowed

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="copilot_sessions")
    title = models.CharField(max_length=200, blank=True, default="")
    title_source = models.CharField(max_length=8, choices=TitleSource, default=TitleSource.AUTO)
    model = models.CharField(max_length=200, blank=True, default="")
    #: Told to the model before the instructions. Unconstrained: a preset that is deleted at the moment when it is
    #: chosen is one that is not there.
    preset = models.ForeignKey(
        "copilot.Preset",
        null=True,
        default=None,
        db_constraint=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    instructions = models.TextField(blank=True, default="")
    #: Globs over tool names; null offers every tool.
    tools = models.JSONField(null=True, default=None)
    approval_mode = models.CharField(
        max_length=7, choices=ApprovalMode, default=ApprovalMode.DEFAULT, db_default="default"
    )
    #: Not listed, never named by itself, and deleted some time after its last turn.
    temporary = models.BooleanField(default=False)
    archived = models.BooleanField(default=False)
    #: The session whose agent started this one as its child, with which call; null for one of a person's.
    parent = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, default=None, related_name="children", db_index=False
    )
    parent_call = models.UUIDField(null=True, default=None, editable=False)
    #: How many parents are above it.
    depth = models.PositiveSmallIntegerField(default=0, db_default=0)
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
            models.CheckConstraint(
                name="session_approval_mode_is_known", condition=Q(approval_mode__in=["default", "ask_all"])
            ),
            models.CheckConstraint(name="session_depth_is_bounded", condition=Q(depth__lte=DEPTH_MAX)),
            models.CheckConstraint(
                name="session_child_iff_deep",
                condition=Q(depth=0, parent__isnull=True, parent_call__isnull=True)
                | Q(depth__gt=0, parent__isnull=False, parent_call__isnull=False),
            ),
            # A call that is run again finds the child that it made.
            models.UniqueConstraint(
                name="session_one_per_parent_call",
                fields=["parent_call"],
                condition=Q(parent_call__isnull=False),
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
            # The children of a session: when it is deleted.
            models.Index(name="session_child", fields=["parent"], condition=Q(parent__isnull=False)),
            # The sweep's look for temporary ones that are due.
            models.Index(name="session_temporary", fields=["created_at"], condition=Q(temporary=True)),
        ]

    def __str__(self) -> str:
        return self.title or str(self.id)

    @cached_property
    def wishes(self) -> Wishes:
        """What is wanted of a turn that begins now. Read once: a transaction has a session object of its own."""
        found = _wishes_of(self.pk)
        return Wishes(*found[0]) if found else Wishes("", "", None, None, None)  # it was deleted meanwhile


@prepared
def locked_session(session_id: Any) -> SessionQuerySet:
    """Return the session under its lock: one, or none when it was deleted."""
    return Session.objects.locked().filter(pk=session_id)


@prepared
def _wishes_of(session_id: Any) -> models.QuerySet[Session, Any]:
    columns = ("user__time_zone", "user__instructions", "preset__prompt", "preset__tone", "preset__style")
    return Session.objects.filter(pk=session_id).values_list(*columns)
