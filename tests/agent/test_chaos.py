"""Everything at once: people send and stop, workers come, go and vanish, hints are lost; every promise holds."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest
from pytest_django import Settings

from common.db import db
from common.errors import Conflict
from copilot.agent import asking
from copilot.diagnostics import invariants
from copilot.events import follow as following
from copilot.events import publish
from copilot.events.fold import Transcript
from copilot.events.follow import Event, follow
from copilot.events.log import Row
from copilot.models import Message, Session, Turn
from copilot.turns.cancel import cancel_turn
from copilot.turns.submit import deliver_queued
from tests.factories import accept, events_of, fresh, make_session, make_user
from tests.harness import PATIENCE, Crew

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

SCRIPTS = [
    "/words 20 10",
    "/think well\n/words 5 20\n/step\n/words 3",
    '/words 3\n/tool calculator {"expression": "6 * 7"}\n/tool demo_wait {"seconds": 0.2}\n/results',
    '/tool demo_once {"text": "once"}\n/words 4 20',
    "/faillate network 1\n/words 5 10",
    "/fail overloaded 2\n/words 5",
    "/words 4 30\n/fail auth",
    "/sleep 0.2\n/words 2",
]


class Audience:
    """Follows every turn from its start, and remembers what it was told."""

    def __init__(self) -> None:
        self.heard: dict[object, list[Row]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def follow(self, turn: Turn) -> None:
        """Follow one more turn."""
        if turn.pk not in self.heard:
            self.heard[turn.pk] = []
            self._tasks.append(asyncio.create_task(self._follow(turn)))

    async def _follow(self, turn: Turn) -> None:
        async for item in follow(turn.pk):
            if isinstance(item, Event) and item.seq is not None:
                self.heard[turn.pk].append((item.seq, item.chunk))

    async def done(self) -> None:
        """Wait until every turn that is followed has ended."""
        await asyncio.gather(*self._tasks)


async def act(crew: Crew, rng: random.Random, sessions: list[Session], audience: Audience) -> None:
    """One thing that happens."""
    session = rng.choice(sessions)
    roll = rng.random()
    if roll < 0.45:
        with suppress(Conflict):
            delivery = rng.choice(Message.Delivery.values)
            accepted = await db(lambda: accept(session, rng.choice(SCRIPTS), delivery=delivery))
            if accepted.turn is not None:
                audience.follow(accepted.turn)
    elif roll < 0.55:
        await cancel_turn(user=session.user, session_id=session.id)
    elif roll < 0.65:
        with suppress(Conflict):
            await db(lambda: deliver_queued(user=session.user, session_id=session.id))
    elif roll < 0.75:
        running = await db(lambda: list(Turn.objects.filter(status="running")))
        if running:
            turn = rng.choice(running)
            with suppress(Turn.DoesNotExist):
                await crew.recover_if_running(turn)
    elif roll < 0.85 and len(crew.workers) > 1:
        here = rng.choice(crew.workers)
        lost = list(here.live)
        await crew.lose(here)
        for turn_id in lost:
            await crew.recover_if_running(await db(lambda turn_id=turn_id: Turn.objects.get(pk=turn_id)))
    elif roll < 0.9 and len(crew.workers) > 1:
        leaving = rng.choice(crew.workers)
        crew.workers.remove(leaving)
        await leaving.stop()
    else:
        await crew.hire()


async def settle(crew: Crew, sessions: list[Session]) -> None:
    """Let everything come to its end: what waits is told again, as the sweep does."""

    def live() -> list[Turn]:
        return list(Turn.objects.live())

    async with asyncio.timeout(3 * PATIENCE):
        while waiting := await db(live):
            for turn in waiting:
                if turn.not_before is not None:
                    await db(lambda pk=turn.pk: Turn.objects.filter(pk=pk).update(not_before=None))
                if turn.status == "queued":
                    crew.tell(turn.pk)
            await asyncio.sleep(0.1)  # between two passes, as the sweep's second


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_promise_holds(
    crew: Crew, settings: Settings, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(asking, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(following, "SILENCE_RUNNING", 0.2)
    monkeypatch.setattr(following, "SILENCE_WAITING", 0.2)
    settings.TURN_MAX_ATTEMPTS = 4
    rng = random.Random(seed)
    send = publish._send
    monkeypatch.setattr(publish, "_send", lambda *args: send(*args) if rng.random() > 0.2 else None)
    user = await db(make_user)
    sessions = [await db(lambda: make_session(user)) for _ in range(5)]
    audience = Audience()
    for _ in range(2):
        await crew.hire()
    for _ in range(45):
        await act(crew, rng, sessions, audience)
        await asyncio.sleep(rng.uniform(0, 0.06))  # on purpose: the next thing happens at any moment
    await settle(crew, sessions)
    for turn in await db(lambda: list(Turn.objects.all())):
        audience.follow(turn)
    async with asyncio.timeout(PATIENCE):
        await audience.done()
    assert await db(invariants.check) == []
    for turn in await db(lambda: list(Turn.objects.all())):
        events = await db(events_of, turn)
        assert audience.heard[turn.pk] == events
        answers = await db(lambda turn=turn: list(turn.messages.filter(role="assistant").order_by("seq")))
        assert "".join(answer.text for answer in answers) == Transcript.of(events).text
        if turn.status == "completed":
            assert all(answer.state == "done" for answer in answers)
    for session in sessions:
        again = await db(fresh, session)
        rows = await db(
            lambda session=session: list(session.messages.order_by("number").values_list("state", "held"))
        )
        assert ("queued", False) not in rows
        assert again.accepted == len(rows) + await db(lambda s=session: unsaid(s))


def unsaid(session: Session) -> int:
    """Answers that turns had begun, and nothing was said in when they were stopped: these leave no message."""
    stopped = session.turns.filter(status="cancelled")
    return sum(not Message.objects.filter(pk=newest_answer(turn)).exists() for turn in stopped)


def newest_answer(turn: Turn) -> str | None:
    """The message that a turn's events wrote to last."""
    return next(reversed(Transcript.of(events_of(turn)).messages), None)
