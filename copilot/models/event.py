"""The event log and the journal: both append-only."""

from __future__ import annotations

from django.db import models

from common.db import db_now


class TurnEvent(models.Model):
    """One chunk of a turn's stream.

    ``seq`` is dense from 1, so the primary key is the log's own fence: a writer whose counter is behind collides.
    There is no foreign-key check: it would lock the turn's row for each batch of deltas.
    """

    pk = models.CompositePrimaryKey("turn_id", "seq")
    turn = models.ForeignKey(
        "copilot.Turn", on_delete=models.CASCADE, related_name="events", db_constraint=False, db_index=False
    )
    seq = models.PositiveIntegerField()
    chunk = models.JSONField()

    def __str__(self) -> str:
        return f"{self.seq}"


class TurnLog(models.Model):
    """The journal: each transition of a turn, written in its own transaction."""

    turn = models.ForeignKey("copilot.Turn", on_delete=models.CASCADE, related_name="journal")
    at = models.DateTimeField(db_default=db_now())
    kind = models.CharField(max_length=32)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.kind
