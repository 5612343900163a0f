"""Calls that a model made."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from common.ids import new_id
from common.sealing import unseal

#: States of calls that have no outcome yet.
OPEN = ("pending", "waiting", "approved", "running")


class ToolCall(models.Model):
    """One tool call: the intent is committed before it runs, its result after."""

    class State(models.TextChoices):
        PENDING = "pending"  # committed with its step; then waiting, running, denied or cancelled
        WAITING = "waiting"  # a person is asked; then approved, done (answered), denied or cancelled
        APPROVED = "approved"  # a person allowed it as it is; then running or cancelled
        RUNNING = "running"  # then done, error, unknown or cancelled
        DONE = "done"
        ERROR = "error"
        DENIED = "denied"  # policy or a person refused it
        UNKNOWN = "unknown"  # its worker died meanwhile: nobody knows whether it had its effect
        CANCELLED = "cancelled"  # the turn ended first

    #: The id on the wire; providers repeat theirs within one conversation.
    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    turn = models.ForeignKey("copilot.Turn", on_delete=models.CASCADE, related_name="tool_calls")
    step = models.PositiveIntegerField()
    position = models.PositiveSmallIntegerField()
    provider_id = models.CharField(max_length=256)
    name = models.CharField(max_length=128)
    #: As they are shown. Where that hides something, ``sealed`` has the exact ones until the turn ends.
    arguments = models.JSONField(default=dict)
    sealed = models.TextField(blank=True, default="", db_default="")
    #: SHA-256 of the exact arguments.
    sha256 = models.CharField(max_length=64, blank=True, default="", db_default="")
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    #: What the tool returned (done), or null; as it is shown, and sealed like the arguments.
    output = models.JSONField(null=True, default=None)
    sealed_output = models.TextField(blank=True, default="", db_default="")
    #: Why there is no output (error, denied, unknown, cancelled).
    error = models.TextField(blank=True, default="")
    started_at = models.DateTimeField(null=True, default=None)
    finished_at = models.DateTimeField(null=True, default=None)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="tool_call_one_per_position", fields=["turn", "step", "position"]),
            models.CheckConstraint(
                name="tool_call_state_is_known",
                condition=Q(state__in=[*OPEN, "done", "error", "denied", "unknown", "cancelled"]),
            ),
            models.CheckConstraint(
                name="tool_call_finished_iff_settled",
                condition=Q(state__in=OPEN, finished_at__isnull=True)
                | Q(~Q(state__in=OPEN), finished_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.state}"

    @property
    def is_open(self) -> bool:
        """Whether it has no outcome yet."""
        return self.state in OPEN

    def exact_arguments(self) -> Any:
        """Return what the model sent; for the agent loop only.

        Raises:
            SealBroken: the server's key is another one since.
        """
        return unseal(self.sealed) if self.sealed else self.arguments

    def exact_output(self) -> Any:
        """Return what the tool returned; for the model only. Raises like ``exact_arguments``."""
        return unseal(self.sealed_output) if self.sealed_output else self.output
