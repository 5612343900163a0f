"""Turns that were really run, to look at and to break."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.core.management import call_command

from common.db import db
from copilot.events import publish
from copilot.models import Session, Turn, User
from copilot.turns.submit import submit_message
from copilot.worker import Worker
from tests.harness import make_session, session

__all__ = ["make_session", "session"]

Run = Callable[..., Awaitable[Turn]]

#: Two steps, with two parallel calls of which one fails, and text in both.
BUSY_TURN = '/think hm\n/words 3\n/tool calculator {"expression": "6 * 7"}\n/tool demo_boom {}\n/words 2\n/cost 5'


@pytest.fixture
def submit(user: User, session: Session) -> Callable[..., Any]:
    """Return a function that sends a message."""

    def send(text: str, **over: Any) -> Any:
        return submit_message(**{"user": user, "session_id": session.pk, "text": text, **over})

    return send


@pytest.fixture
def run(submit: Callable[..., Any]) -> Run:
    """Return a function that sends a message and runs what waits on a worker of this loop, to its end."""

    async def run_all(text: str, **over: Any) -> Turn:
        accepted = await db(submit, text, **over)
        await work()
        return await db(Turn.objects.get, pk=accepted.turn.pk)

    return run_all


async def work() -> None:
    """Run every turn that waits."""
    worker = Worker(asyncio.get_running_loop(), slots=4)
    await db(worker.start)
    try:
        while await db(Turn.objects.claimable().exists):
            await asyncio.to_thread(worker.run_next)
    finally:
        await worker.stop()
        publish.set_loop(None)


def manage(*arguments: str, **options: Any) -> str:
    """Run a management command and return what it printed; its exit code is raised as SystemExit."""
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=out, **options)
    return out.getvalue()


def manage_failing(*arguments: str) -> tuple[Any, str]:
    """Run a management command that exits by itself; return its code and what it printed."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command(*arguments, stdout=out, stderr=out)
    return ended.value.code, out.getvalue()


@pytest.fixture
def nowhere() -> uuid.UUID:
    """An id that no row has."""
    return uuid.uuid4()
