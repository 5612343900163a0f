"""Processes that run turns."""

from __future__ import annotations

from django.db import models

from common.db import db_now
from common.ids import new_id


class Worker(models.Model):
    """A process that runs turns, as its heartbeat last described it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    host = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=40)
    slots = models.PositiveIntegerField()
    running = models.PositiveIntegerField(default=0)
    loop_lag_ms = models.PositiveIntegerField(default=0)
    stopping = models.BooleanField(default=False)
    started_at = models.DateTimeField(db_default=db_now())
    seen_at = models.DateTimeField(db_default=db_now())

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"
