"""What a model said in one call."""

from __future__ import annotations

from django.db import models

from common.ids import new_id


class Step(models.Model):
    """A committed model step: it is never asked for again, whoever goes on with the turn."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    turn = models.ForeignKey("copilot.Turn", on_delete=models.CASCADE, related_name="step_rows")
    #: From 1.
    number = models.PositiveIntegerField()
    #: The provider's view: text, reasoning with its signature, and calls, in order (``agent/history.py``).
    content = models.JSONField(default=list)
    finish_reason = models.CharField(max_length=20)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(name="step_one_per_number", fields=["turn", "number"])]

    def __str__(self) -> str:
        return f"step {self.number}"
