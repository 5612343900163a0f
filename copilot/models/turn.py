"""One answer of an agent: the state machine at the heart of the project."""

from __future__ import annotations

import functools
import operator
from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import DurationField, ExpressionWrapper, F, IntegerField, Q

from common.db import db_now, seconds_ago
from common.ids import new_id
from common.prepared import prepared

LIVE = ("queued", "running", "requires_action")
TERMINAL = ("completed", "failed", "cancelled")

#: What must not be, by kind, as far as a turn's own row tells. The constraints exclude nearly all of it.
IMPOSSIBLE = {
    "unknown_status": ~Q(status__in=[*LIVE, *TERMINAL]),
    "queued_with_start": Q(status="queued", fence=0, started_at__isnull=False),
    "running_without_start": Q(Q(claimed_at__isnull=True) | Q(started_at__isnull=True), status="running"),
    "running_without_worker": Q(Q(worker__isnull=True) | Q(heartbeat_at__isnull=True), status="running"),
    "held_without_running": ~Q(status="running") & (Q(worker__isnull=False) | Q(heartbeat_at__isnull=False)),
    "asking_without_waiting": ~Q(status="requires_action") & Q(action_id__isnull=False),
    "ended_without_end": Q(
        Q(finished_at__isnull=True) | Q(outcome__isnull=True) | Q(last_seq__isnull=True), status__in=TERMINAL
    ),
    "live_with_end": Q(
        Q(finished_at__isnull=False) | Q(outcome__isnull=False) | Q(last_seq__isnull=False), status__in=LIVE
    ),
}


def impossible() -> Q:
    """Turns that must not be, as far as their own rows tell."""
    return functools.reduce(operator.or_, IMPOSSIBLE.values())


class TurnQuerySet(models.QuerySet["Turn"]):
    """Composable selections of turns."""

    def visible_to(self, user: object) -> Self:
        """Turns of sessions that ``user`` owns."""
        return self.filter(session__user=user)

    def live(self) -> Self:
        """Turns that have not ended."""
        return self.filter(status__in=LIVE)

    def held_by(self, turn_id: object, fence: int) -> Self:
        """The turn, if it is still running under this fence: every write of a worker touches this row."""
        return self.filter(id=turn_id, fence=fence, status=Turn.Status.RUNNING)

    def locked(self) -> Self:
        """Take the row lock; after the session's."""
        return self.select_for_update(of=("self",), no_key=True)

    def with_time(self) -> Self:
        """Read the database's clock along, as ``time``."""
        return self.annotate(time=db_now())

    def orphaned(self, lease: float) -> Self:
        """Running turns whose worker did not renew its lease for ``lease`` seconds."""
        return self.filter(status=Turn.Status.RUNNING, heartbeat_at__lt=seconds_ago(lease))

    def to_stop(self) -> Self:
        """Turns that were asked to stop and have not ended."""
        return self.filter(stop_requested_at__isnull=False, finished_at__isnull=True)

    def unconfirmed(self, seconds: float) -> Self:
        """Running turns that were asked to stop ``seconds`` ago or more."""
        return self.filter(status=Turn.Status.RUNNING, stop_requested_at__lte=seconds_ago(seconds))

    def with_beginning(self) -> Self:
        """Compute ``beginning``: since when a running turn would have run had it never paused or waited."""
        # SQLite multiplies nothing but the plainest kind of number by a duration.
        milliseconds = ExpressionWrapper(F("running_ms"), output_field=IntegerField())
        earlier = ExpressionWrapper(milliseconds * timedelta(milliseconds=1), output_field=DurationField())
        return self.annotate(beginning=F("claimed_at") - earlier)

    def longer_than(self, seconds: float) -> Self:
        """Running turns that ran for more than ``seconds``, pauses and waiting in the queue not counted."""
        return self.with_beginning().filter(status=Turn.Status.RUNNING, beginning__lt=seconds_ago(seconds))

    def claimable(self) -> Self:
        """Queued turns that may start now."""
        return self.filter(
            Q(not_before__isnull=True) | Q(not_before__lte=db_now()),
            status=Turn.Status.QUEUED,
            stop_requested_at__isnull=True,
        )


class Turn(models.Model):
    """One turn of an agent in a session.

    A turn is written by whoever holds its ``fence``: claiming grows it, and so does ending or requeueing a turn
    that somebody else holds, so the writes of a worker that was given up for dead match no row.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"  # then running, or cancelled
        RUNNING = "running"  # then terminal, requires_action, or queued again (recovered, handed back)
        REQUIRES_ACTION = "requires_action"  # then queued (decided) or cancelled
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"

    class Origin(models.TextChoices):
        WEB = "web"
        KEY = "key"
        BOT = "bot"
        CHILD = "child"
        BACKGROUND = "background"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    session = models.ForeignKey("copilot.Session", on_delete=models.CASCADE, related_name="turns")
    #: Whose slot and whose bill; the session's owner, here so that admission needs no join.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    status = models.CharField(max_length=15, choices=Status, default=Status.QUEUED)
    origin = models.CharField(max_length=10, choices=Origin, default=Origin.WEB)
    author = models.CharField(max_length=200, blank=True, default="")
    #: Of a turn in a child session: the turn that asked for it, or that waited for it last.
    parent = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, default=None, related_name="children", db_index=False
    )
    #: Its end is still to be told to the session that it is a child of.
    owed = models.BooleanField(default=False, db_default=False)

    # What it runs with, fixed when it was submitted.
    model = models.CharField(max_length=200)
    effort = models.CharField(max_length=6, blank=True, default="")
    #: ``tools`` (names), ``personal`` and ``instructions`` (``copilot.instructions``), ``time_zone``,
    #: ``max_output_tokens``, ``policy``, ``lent`` (``copilot.turns.authority``): a continuation reads these, not a
    #: request.
    settings = models.JSONField(default=dict)

    # Who holds it.
    fence = models.PositiveIntegerField(default=0)
    attempt = models.PositiveSmallIntegerField(default=1)
    worker = models.UUIDField(null=True, default=None)
    heartbeat_at = models.DateTimeField(null=True, default=None)
    #: Running, and doing nothing but wait for a child: it takes up no slot meanwhile. Each claim begins without.
    awaits_child = models.BooleanField(default=False, db_default=False)

    # How far it is.
    #: Committed model steps.
    steps = models.PositiveIntegerField(default=0)
    #: Events up to here belong to committed rows; what follows is forgotten when the open step is repeated.
    sealed_seq = models.PositiveIntegerField(default=0)
    #: The seq of the terminal event.
    last_seq = models.PositiveIntegerField(null=True, default=None)
    #: The action a person is asked about; a plain id, the engine knows nothing else of it.
    action_id = models.UUIDField(null=True, default=None)

    # When things happened, on the database's clock.
    created_at = models.DateTimeField(db_default=db_now())
    queued_at = models.DateTimeField(db_default=db_now())
    not_before = models.DateTimeField(null=True, default=None)
    #: When the sweep tells the workers again, if nobody has claimed it by then.
    redispatch_at = models.DateTimeField(db_default=db_now())
    dispatches = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True, default=None)
    claimed_at = models.DateTimeField(null=True, default=None)
    progress_at = models.DateTimeField(null=True, default=None)
    finished_at = models.DateTimeField(null=True, default=None)
    #: Running time of earlier stretches; the present one began at ``claimed_at``.
    running_ms = models.PositiveBigIntegerField(default=0)
    first_chunk_ms = models.PositiveIntegerField(null=True, default=None)
    #: Tokens that the latest model call was sent, as its provider said, or estimated; and the model's window then,
    #: 0 when nobody knows it.
    context_used = models.PositiveIntegerField(null=True, default=None)
    context_window = models.PositiveIntegerField(default=0, db_default=0)
    context_estimated = models.BooleanField(default=False, db_default=False)

    #: What it may still cost, in microdollars: held back from its person's limits, in the windows in which it was
    #: created, until it ends. None while there is no limit. What stands here of a turn that has ended means
    #: nothing, and no constraint forbids it: code that knows no reservations, as during an update, leaves it.
    reserved = models.PositiveBigIntegerField(default=0, db_default=0)

    stop_requested_at = models.DateTimeField(null=True, default=None)
    stop_reason = models.CharField(max_length=20, blank=True, default="")
    #: The newest message that the running step is to be cut short for, until it was delivered.
    interrupt_id = models.UUIDField(null=True, default=None)

    # How it ended.
    #: Finish reason, error code or abort reason.
    outcome = models.CharField(max_length=20, null=True, default=None)  # noqa: DJ001 - null is "not ended"
    #: ``detail``, ``hint`` and ``retryable`` of a turn that did not complete.
    error = models.JSONField(null=True, default=None)
    #: Its events but the last were removed, long after its end.
    pruned = models.BooleanField(default=False)
    #: The turn that took the messages which waited for this one.
    next_turn = models.OneToOneField("self", on_delete=models.SET_NULL, null=True, related_name="previous_turn")

    objects = TurnQuerySet.as_manager()

    class Meta:
        permissions = [("operate_turns", "Can stop, requeue and clean up turns")]
        constraints = [
            models.UniqueConstraint(
                name="turn_one_live_a_session", fields=["session"], condition=Q(status__in=LIVE)
            ),
            models.CheckConstraint(name="turn_status_is_known", condition=Q(status__in=[*LIVE, *TERMINAL])),
            models.CheckConstraint(
                name="turn_origin_is_known",
                condition=Q(origin__in=["web", "key", "bot", "child", "background"]),
            ),
            models.CheckConstraint(
                name="turn_leased_iff_running",
                condition=Q(status="running", worker__isnull=False, heartbeat_at__isnull=False)
                | Q(~Q(status="running"), worker__isnull=True, heartbeat_at__isnull=True),
            ),
            models.CheckConstraint(
                name="turn_ended_iff_terminal",
                condition=Q(
                    status__in=TERMINAL,
                    finished_at__isnull=False,
                    outcome__isnull=False,
                    last_seq__isnull=False,
                )
                | Q(status__in=LIVE, finished_at__isnull=True, outcome__isnull=True, last_seq__isnull=True),
            ),
            models.CheckConstraint(
                name="turn_action_iff_waiting",
                condition=Q(status="requires_action", action_id__isnull=False)
                | Q(~Q(status="requires_action"), action_id__isnull=True),
            ),
        ]
        indexes = [
            # Admission and the sweep: what waits, oldest first.
            models.Index(name="turn_queued", fields=["queued_at"], condition=Q(status="queued")),
            # Admission counts each user's running turns; heartbeat and sweep go through them.
            models.Index(name="turn_running", fields=["user", "heartbeat_at"], condition=Q(status="running")),
            # The sweep's look for those that wait for nothing, some at a time.
            models.Index(name="turn_waiting", fields=["action_id"], condition=Q(status="requires_action")),
            # A session's turns in order, for followers of the session.
            models.Index(name="turn_of_session", fields=["session", "created_at"]),
            # The turns that a turn asked for; and those of them that have not ended, for the sweep.
            models.Index(name="turn_child", fields=["parent"], condition=Q(parent__isnull=False)),
            models.Index(
                name="turn_child_live",
                fields=["parent"],
                condition=Q(parent__isnull=False, finished_at__isnull=True),
            ),
            # Stops that have still to be seen to.
            models.Index(
                name="turn_to_stop",
                fields=["stop_requested_at"],
                condition=Q(stop_requested_at__isnull=False, finished_at__isnull=True),
            ),
            # Ends that a parent is still to be told of.
            models.Index(name="turn_owed", fields=["finished_at"], condition=Q(owed=True)),
            # Pruning of old events. No list of states: SQLite does not know it again in a query.
            models.Index(
                name="turn_unpruned", fields=["finished_at"], condition=Q(finished_at__isnull=False, pruned=False)
            ),
            # Diagnostics: what ended lately, and how. One entry a turn.
            models.Index(name="turn_completed", fields=["finished_at"], condition=Q(status="completed")),
            models.Index(name="turn_failed", fields=["finished_at"], condition=Q(status="failed")),
            # Empty, so that nobody has to read all turns to know it.
            models.Index(name="turn_impossible", fields=["status"], condition=impossible()),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.status}"

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.status in LIVE

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended."""
        return self.status in TERMINAL

    def public_error(self) -> dict[str, Any] | None:
        """Return ``{code, detail, hint?, retryable}`` of a turn that failed or was cancelled."""
        if self.status not in (self.Status.FAILED, self.Status.CANCELLED):
            return None
        return {"code": self.outcome, "detail": "", "retryable": False, **(self.error or {})}


def live_turn_of(session_id: object) -> Turn | None:
    """Return the session's turn that has not ended, if there is one; there is never more than one."""
    found = _live_turns_of(session_id)
    return found[0] if found else None


@prepared
def _live_turns_of(session_id: Any) -> TurnQuerySet:
    return Turn.objects.live().filter(session_id=session_id)
