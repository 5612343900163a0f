"""Celery tasks. Messages are hints: the rows say what there is to do."""

from __future__ import annotations

from celery import shared_task

from copilot import worker


@shared_task(name="copilot.run_turn", acks_late=True, ignore_result=True)
def run_turn(turn_id: str) -> None:
    """Run a waiting turn to its end: usually the one named, but the fairest choice counts."""
    if (here := worker.current()) is not None:
        here.run_next()
