"""A worker process: its leases are true, whatever fails around it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from pytest_django import Settings

from common.db import db
from common.errors import Busy
from copilot.events import publish
from copilot.models import Turn, TurnEvent, Worker
from copilot.turns import leases
from copilot.turns.cancel import cancel_turn
from copilot.turns.sessions import delete_session
from tests.factories import kinds_of
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


async def beats(crew: Crew, turn: Turn) -> None:
    """Wait until the turn's lease was renewed twice more."""
    for _ in range(2):
        before = (await crew.now(turn)).heartbeat_at
        await crew.true(lambda before=before: Turn.objects.get(pk=turn.pk).heartbeat_at != before)


async def stop(crew: Crew, turn: Turn) -> None:
    await cancel_turn(user=turn.session.user, turn_id=turn.id)
    await crew.ended(turn)


@pytest.mark.parametrize(
    "error", [Busy(), OperationalError("gone"), InterfaceError("closed"), RuntimeError("a bug")], ids=repr
)
async def test_the_heart_goes_on_whatever_happened_to_one_beat(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    renew, failed = leases.renew, asyncio.Event()

    def fails_once(*args: Any, **kwargs: Any) -> Any:
        if not failed.is_set():
            crew.loop.call_soon_threadsafe(failed.set)
            raise error
        return renew(*args, **kwargs)

    await crew.hire()
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    monkeypatch.setattr(leases, "renew", fails_once)
    await asyncio.wait_for(failed.wait(), 10)
    await beats(crew, turn)
    await stop(crew, turn)


async def test_a_loop_that_hangs_loses_its_leases(
    crew: Crew, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.TURN_LEASE_SECONDS = 0.4
    await crew.hire()
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    await beats(crew, turn)
    with caplog.at_level(logging.ERROR):
        time.sleep(2.5)  # noqa: ASYNC251 - this is the hanging loop
    assert "event loop does not answer" in caplog.text
    settings.TURN_LEASE_SECONDS = 5.0
    await crew.until(turn, "data-status")
    assert (await crew.now(turn)).attempt >= 2, "the sweep of the same process gave it up"
    await stop(crew, turn)


async def test_a_worker_is_known_while_it_works(crew: Crew) -> None:
    here = await crew.hire(slots=7)
    turn = await crew.send("/sleep 60")
    await crew.true(Worker.objects.filter(pk=here.id, running=1, slots=7).exists)
    await stop(crew, turn)
    await crew.true(Worker.objects.filter(pk=here.id, running=0).exists)


async def test_progress_is_noted_and_silence_is_not(crew: Crew) -> None:
    await crew.hire()
    talking, silent = await crew.send("/words 1000 20"), await crew.send("/sleep 60")
    await crew.until(silent, "start-step")
    await beats(crew, silent)
    quiet = (await crew.now(silent)).progress_at
    loud = (await crew.now(talking)).progress_at
    await beats(crew, silent)
    assert (await crew.now(silent)).progress_at == quiet
    assert (await crew.now(talking)).progress_at != loud
    await stop(crew, talking)
    await stop(crew, silent)


async def test_a_hint_about_an_unknown_turn_is_nothing(crew: Crew) -> None:
    await crew.hire()
    publish.stop_requested(uuid.uuid4())
    assert (await crew.say("/words 1")).status == "completed"


async def test_a_deleted_session_stops_its_turn_and_leaves_nothing(crew: Crew) -> None:
    here = await crew.hire()
    turn = await crew.send("/words 1000 20")
    await crew.until(turn, "text-delta", 2)
    await db(lambda: delete_session(user=turn.session.user, session_id=turn.session_id))
    await crew.true(lambda: not here.live)
    assert not await db(TurnEvent.objects.exists), "what was said after the deletion is gone too"


async def test_a_deleted_session_keeps_no_text_even_when_its_worker_is_lost(crew: Crew) -> None:
    here = await crew.hire()
    turn = await crew.send("/words 1000 20")
    await crew.until(turn, "text-delta", 2)
    await crew.lose(here)
    await db(lambda: delete_session(user=turn.session.user, session_id=turn.session_id))
    assert await db(kinds_of, turn) == ["abort"]


async def test_followers_of_a_deleted_session_come_to_an_end(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    following = asyncio.create_task(crew.ended_log(turn))
    await db(lambda: delete_session(user=turn.session.user, session_id=turn.session_id))
    await asyncio.wait_for(following, 10)
