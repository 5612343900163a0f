"""Leases: how a process says that it is alive, for all its turns at once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, F, Value, When

from common.db import db_now, transact
from copilot.models import Turn, Worker


@dataclass(frozen=True, slots=True)
class Wish:
    """What people want of a turn that runs: its end, for a reason, or its running step cut short
    for a message."""

    stop_reason: str | None
    interrupt_id: uuid.UUID | None


@transact
def register(worker_id: uuid.UUID, **about: Any) -> None:
    """Make the worker known: host, pid, version, slots."""
    Worker.objects.create(id=worker_id, **about)


@transact
def unregister(worker_id: uuid.UUID) -> None:
    """Forget a worker that stopped in good order."""
    Worker.objects.filter(pk=worker_id).delete()


@transact
def renew(
    worker_id: uuid.UUID,
    *,
    live: Sequence[uuid.UUID],
    progressed: Sequence[uuid.UUID],
    loop_lag_ms: int,
    stopping: bool,
) -> dict[uuid.UUID, Wish]:
    """Renew the leases of a worker's turns in one statement.

    Args:
        live: the turns that the process is really running; one that it gave up must lose its lease.
        progressed: the turns in which something happened since the last time.

    Returns:
        The turns that the worker holds, and what is wanted of each.
    """
    changes: dict[str, Any] = {"heartbeat_at": db_now()}
    if progressed:
        changes["progress_at"] = Case(When(pk__in=progressed, then=db_now()), default=F("progress_at"))
    held = Turn.objects.filter(status=Turn.Status.RUNNING, worker=worker_id, pk__in=live)
    if live:
        held.update(**changes)
    Worker.objects.filter(pk=worker_id).update(
        seen_at=db_now(), running=len(live), loop_lag_ms=loop_lag_ms, stopping=Value(stopping)
    )
    if not live:
        return {}
    return wishes(worker_id, live)


def wishes(worker_id: uuid.UUID, live: Sequence[uuid.UUID]) -> dict[uuid.UUID, Wish]:
    """Return those of these turns that the worker holds, and what is wanted of each."""
    held = Turn.objects.filter(status=Turn.Status.RUNNING, worker=worker_id, pk__in=live)
    rows = held.values_list("pk", "stop_requested_at", "stop_reason", "interrupt_id")
    return {
        pk: Wish((reason or "stopped") if stop_at else None, interrupt_id)
        for pk, stop_at, reason, interrupt_id in rows
    }
