"""Celery tasks. Messages are hints: the rows say what there is to do."""

from __future__ import annotations

from celery import shared_task

from copilot import worker
from linking.webhooks.deliver import deliver_due
from linking.webhooks.outbox import TASK


@shared_task(name=TASK, acks_late=True, ignore_result=True)
def deliver_webhooks() -> None:
    """Send what bots are to be told."""
    if (here := worker.current()) is not None:
        here.run_beside(deliver_due)
