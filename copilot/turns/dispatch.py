"""Telling workers that a turn waits. Only a hint: the sweep delivers what is lost here."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import transaction
from kombu.exceptions import KombuError, OperationalError

from common.faults import reach
from common.metrics import dispatch_hints_lost
from common.prepared import prepared
from copilot.models import Turn

logger = logging.getLogger(__name__)

TASK = "copilot.run_turn"
TITLE_TASK = "copilot.title_session"
#: Seconds after which the sweep tells the workers again; twice as long each time, up to the maximum.
REDISPATCH_SECONDS = 2.0
REDISPATCH_MAX = 64.0

_run: Callable[[int], None] | None = None


def dispatch_on_commit(turn_id: uuid.UUID) -> None:
    """Tell the workers once this transaction has committed."""
    transaction.on_commit(lambda: _dispatch_or_run(turn_id), robust=True)


def set_runner(run: Callable[[int], None] | None) -> None:
    """Name what runs up to so many waiting turns in this process; a process that works has such a thing."""
    global _run
    _run = run


def runs_here() -> bool:
    """Whether this process runs turns."""
    return _run is not None


def run_here(count: int) -> None:
    """Have up to ``count`` waiting turns run by this process, as far as it works and has room for them."""
    if _run is not None:
        _run(count)


def _dispatch_or_run(turn_id: uuid.UUID) -> None:
    reach("before_dispatch")
    if not dispatch(turn_id):
        run_here(1)


def dispatch(turn_id: uuid.UUID) -> bool:
    """Tell the workers now; return False when the broker does not answer: the sweep sees to the turn then."""
    return _send(TASK, str(turn_id))


def send_title_task(session_id: uuid.UUID, *, again: bool) -> None:
    """Have a worker name a session. When the broker does not answer it keeps its title: nothing waits for this."""
    _send(TITLE_TASK, str(session_id), again)


def send_hint(task: str) -> bool:
    """Tell the workers that there is something to do for a task that finds it by itself; False: nobody heard."""
    return _send(task)


def _send(task: str, *args: Any) -> bool:
    try:
        current_app.send_task(task, args=list(args), ignore_result=True, retry=False)
    except (OperationalError, KombuError, OSError) as error:
        about = {"task": task, "id": args[0] if args else "", "error": repr(error)}
        dispatch_hints_lost.inc()
        logger.warning("dispatch failed", extra={"action": "dispatch_failed", **about})
        return False
    return True


def dispatch_waiting_on_commit(user_id: uuid.UUID) -> None:
    """A slot of this user got free: hint at one of their queued turns, if the limit kept any waiting."""
    if settings.TURNS_PER_USER_MAX:
        transaction.on_commit(lambda: _dispatch_waiting(user_id), robust=True)


def _dispatch_waiting(user_id: uuid.UUID) -> None:
    for turn_id in _first_waiting_of(user_id):
        _dispatch_or_run(turn_id)


@prepared
def _first_waiting_of(user_id: Any) -> Any:
    waiting = Turn.objects.claimable().filter(user_id=user_id).order_by("queued_at")
    return waiting.values_list("id", flat=True)[:1]
