"""Real workers on a test's event loop, without Celery: what the broker would do is one call.

Fixtures, to be imported by the conftest of the folders that use them: ``hints`` (the channel layer of this test),
``crew`` (workers), and ``make_session`` and ``session`` (of the person that a test is about).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from channels.layers import channel_layers
from django.utils import timezone

from common.db import db
from copilot import sweep, worker
from copilot.events import publish
from copilot.events.follow import Event, follow
from copilot.models import Session, Turn, User
from copilot.providers.base import ModelRequest
from copilot.providers.demo import DemoProvider
from copilot.turns import dispatch, recover
from tests import factories
from tests.factories import accept, expire_lease, give_up_worker

#: Longer than anything here takes on a busy machine: reaching it is a failure.
PATIENCE = 20.0


@pytest.fixture
def hints() -> Iterator[None]:
    """Let this test's hints go through a channel layer that no other test has used."""
    channel_layers.backends.clear()
    yield
    publish.set_loop(None)
    channel_layers.backends.clear()


@pytest.fixture
def make_session(user: User) -> Callable[..., Session]:
    """Return a function that makes sessions of the person that a test is about, with any values of columns."""

    def make(**over: Any) -> Session:
        return Session.objects.create(**{"user": user, "updated_at": timezone.now(), **over})

    return make


@pytest.fixture
def session(make_session: Callable[..., Session]) -> Session:
    """A session of the person that a test is about."""
    return make_session()


class Crew:
    """The workers of a test; a turn that waits goes to the first of them that admits any."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.workers: list[worker.Worker] = []
        self.requests: list[ModelRequest] = []
        self._runs: set[asyncio.Task[None]] = set()

    async def hire(self, slots: int = 20) -> worker.Worker:
        """Start another worker."""
        here = worker.Worker(self.loop, slots=slots)
        await db(here.start)
        self.workers.append(here)
        return here

    def tell(self, turn_id: uuid.UUID) -> bool:
        """Do what the broker does: have one worker look for a waiting turn. From any thread."""
        with suppress(RuntimeError):  # the loop is gone: so is everybody
            self.loop.call_soon_threadsafe(self._run_one)
        return True

    def _run_one(self) -> None:
        for here in self.workers:
            if not here.stopping:
                run = self.loop.create_task(here.run_one())
                self._runs.add(run)
                run.add_done_callback(self._runs.discard)
                return

    async def lose(self, here: worker.Worker) -> None:
        """Make a worker vanish as a killed process does: nothing that it has not committed is ever written."""
        here.stopping = True
        self.workers.remove(here)
        here._ended.set()
        for live in list(here.live.values()):
            with here.writer.lock:
                live.log.stale = True
            live.interrupt("stale")
        if here._running:
            await asyncio.wait(set(here._running))
        await self._stop(here)

    async def recover(self, *turns: Turn) -> None:
        """Let the leases of these turns run out and have them taken over."""
        for turn in turns:
            await db(expire_lease, turn.id)
            await db(give_up_worker, turn.id)

    async def recover_if_running(self, turn: Turn) -> None:
        """Have a turn taken over, unless it has ended or waits by now."""
        await db(expire_lease, turn.id)
        await db(lambda: recover.take_over(turn.id, lease=60))

    async def dismiss(self) -> None:
        """Stop everybody."""
        for here in self.workers:
            await self._stop(here)
        self.workers.clear()

    async def _stop(self, here: worker.Worker) -> None:
        async with asyncio.timeout(PATIENCE):
            await here.stop()

    # --- what people do ---------------------------------------------------------------------

    async def send(self, text: str, session: Session | None = None, **over: Any) -> Turn:
        """Send a message that starts a turn."""
        turn = await db(lambda: accept(session or factories.make_session(), text, **over).turn)
        assert turn is not None
        return await self.now(turn)

    async def say(self, text: str, session: Session | None = None, **over: Any) -> Turn:
        """Send a message and wait for the end of its turn."""
        return await self.ended(await self.send(text, session, **over))

    async def ended(self, turn: Turn) -> Turn:
        """Wait for the turn's end and return it as it then is."""
        await self.ended_log(turn)
        # Its worker has still to hear of its own commit.
        await self.true(lambda: turn.pk not in [pk for here in self.workers for pk in here.live])
        return await self.now(turn)

    async def ended_log(self, turn: Turn) -> None:
        """Wait for the end of the turn's log."""
        async with asyncio.timeout(PATIENCE):
            async for _ in follow(turn.id):
                continue

    async def until(self, turn: Turn, kind: str, times: int = 1) -> None:
        """Wait until the turn's log has a chunk of this type, or so many."""
        async with asyncio.timeout(PATIENCE):
            async for item in follow(turn.id):
                if isinstance(item, Event) and item.chunk["type"] == kind:
                    times -= 1
                    if times == 0:
                        return
        raise AssertionError(f"the turn ended without {kind}")

    async def true(self, check: Callable[[], bool]) -> None:
        """Wait until ``check``, which may read rows, says so."""
        async with asyncio.timeout(PATIENCE):
            while not await db(check):  # noqa: ASYNC110 - there is nothing that tells of it
                await asyncio.sleep(0.01)

    async def now(self, turn: Turn) -> Turn:
        """Read the turn, its session and its person."""
        return await db(lambda: Turn.objects.select_related("session__user").get(pk=turn.pk))


@pytest.fixture
async def crew(hints: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> AsyncIterator[Crew]:
    """Workers with quick heartbeats; each model call is noted in ``crew.requests``."""
    settings.TURN_HEARTBEAT_SECONDS = 0.1
    crew = Crew()
    stream = DemoProvider.stream

    def noted(self: DemoProvider, request: ModelRequest) -> Any:
        crew.requests.append(request)
        return stream(self, request)

    monkeypatch.setattr(DemoProvider, "stream", noted)
    for module in (dispatch, sweep):
        monkeypatch.setattr(module, "dispatch", crew.tell)
    yield crew
    await crew.dismiss()
