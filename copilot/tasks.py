"""Celery tasks. Messages are hints: the rows say what there is to do."""

from __future__ import annotations

import uuid

from celery import shared_task

from copilot import worker
from copilot.agent.titles import name_session


@shared_task(name="copilot.run_turn", acks_late=True, ignore_result=True)
def run_turn(turn_id: str) -> None:
    """Run a waiting turn to its end: usually the one named, but the fairest choice counts."""
    if (here := worker.current()) is not None:
        here.run_next()


@shared_task(name="copilot.title_session", acks_late=True, ignore_result=True)
def title_session(session_id: str, again: bool = False) -> None:
    """Name a session, once: whether there is anything to do is in its row."""
    if (here := worker.current()) is not None:
        here.run_beside(lambda: name_session(uuid.UUID(session_id), again=again))
