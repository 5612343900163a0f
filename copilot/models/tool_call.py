"""Calls that a model made."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from common.ids import new_id


class ToolCall(models.Model):
    """One tool call: the intent is committed before it runs, its result after."""

    class State(models.TextChoices):
        PENDING = "pending"  # committed with its step; then running, denied or cancelled
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
    arguments = models.JSONField(default=dict)
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    #: What the tool returned (done), or null.
    output = models.JSONField(null=True, default=None)
    #: Why there is no output (error, denied, unknown, cancelled).
    error = models.TextField(blank=True, default="")
    started_at = models.DateTimeField(null=True, default=None)
    finished_at = models.DateTimeField(null=True, default=None)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="tool_call_one_per_position", fields=["turn", "step", "position"]),
            models.CheckConstraint(
                name="tool_call_state_is_known",
                condition=Q(state__in=["pending", "running", "done", "error", "denied", "unknown", "cancelled"]),
            ),
            models.CheckConstraint(
                name="tool_call_finished_iff_settled",
                condition=Q(state__in=["pending", "running"], finished_at__isnull=True)
                | Q(~Q(state__in=["pending", "running"]), finished_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.state}"
