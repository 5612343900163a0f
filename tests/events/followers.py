"""Followers of turns, and channel layers that work, drop everything, or lose, double and reorder.

Fixtures, imported by the conftest of this folder: ``hurried``, ``named_loop``, ``layer``, ``holder``, ``watch``.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from channels.layers import get_channel_layer

from common.db import db
from copilot.events import follow as following
from copilot.events import glance, listen, publish, schema
from copilot.events.follow import Beat, Event, follow
from copilot.events.log import Row
from tests.factories import Holder, events_of, make_running
from tests.harness import PATIENCE

LAYERS = ["working", "silent", "chaotic"]
every_layer = pytest.mark.parametrize("layer", LAYERS, indirect=True)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the rows more often than in life."""
    monkeypatch.setattr(following, "SILENCE_RUNNING", 0.05)
    monkeypatch.setattr(following, "SILENCE_WAITING", 0.1)
    monkeypatch.setattr(glance, "GATHER_SECONDS", 0.005)
    monkeypatch.setattr(listen, "RETRY_SECONDS", 0.01)


class Faulty:
    """A layer that drops, doubles and reorders what is sent to groups; everything else is the real one's."""

    def __init__(self, layer: Any, how: str, seed: int) -> None:
        self._layer = layer
        self._how = how
        self._random = random.Random(seed)
        self._late: list[tuple[str, dict[str, Any]]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self._how == "silent":
            return
        self._late += [(group, message)] * self._random.choice([0, 1, 1, 2])
        self._random.shuffle(self._late)
        while self._late and self._random.random() < 0.7:
            await self._layer.group_send(*self._late.pop())


def break_layer(monkeypatch: pytest.MonkeyPatch, how: str, seed: int = 0) -> None:
    """Let hints go through a layer that is ``working``, ``silent`` or ``chaotic``."""
    if how != "working":
        faulty = Faulty(get_channel_layer(), how, seed)
        monkeypatch.setattr(publish, "get_channel_layer", lambda: faulty)


@pytest.fixture
def layer(request: pytest.FixtureRequest, hints: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kind of layer that hints go through in this test."""
    break_layer(monkeypatch, request.param)
    return str(request.param)


@pytest.fixture
async def named_loop() -> None:
    """Let hints be sent from this test's loop."""
    publish.set_loop(asyncio.get_running_loop())


@pytest.fixture
async def holder() -> Holder:
    """A turn that a worker holds."""
    made: Holder = await db(make_running)
    return made


class Watch:
    """What followers do, to be waited for: how often one joined its group, and had nothing to do since."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._news = asyncio.Event()
        self._listen, self._wait = listen.listen, following._Inbox.wait
        self.joined = 0
        self.idle = 0
        monkeypatch.setattr(following, "listen", self._listening)
        monkeypatch.setattr(following._Inbox, "wait", lambda inbox, seconds: self._waiting(inbox, seconds))

    async def until(self, reached: Callable[[Watch], bool]) -> None:
        """Wait until it has come to this."""
        async with asyncio.timeout(PATIENCE):
            while not reached(self):
                self._news.clear()
                await self._news.wait()

    async def _listening(self, group: str, take: Callable[[dict[str, Any] | None], None]) -> None:
        def hear(message: dict[str, Any] | None) -> None:
            take(message)
            if message is None:  # it has joined
                self.joined += 1
                self._news.set()

        await self._listen(group, hear)

    async def _waiting(self, inbox: following._Inbox, seconds: float) -> bool:
        if self.joined and not inbox._behind and not inbox._buffer:
            self.idle += 1
            self._news.set()
        return await self._wait(inbox, seconds)


@pytest.fixture
async def watch(hints: None, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """What this test's followers do."""
    return Watch(monkeypatch)


async def rows_of(items: AsyncIterator[Event | Beat]) -> list[Row]:
    """Take what is left of a turn."""
    async with asyncio.timeout(PATIENCE):
        events = [item async for item in items if isinstance(item, Event)]
    return [(event.seq, event.chunk) for event in events if event.seq is not None]


async def collect(turn_id: uuid.UUID, after: int = 0) -> list[Row]:
    """Follow a turn to its end."""
    async with aclosing(follow(turn_id, after)) as items:
        return await rows_of(items)


def start(holder: Holder, after: int = 0) -> asyncio.Task[list[Row]]:
    """Follow a turn to its end, beside the test."""
    return asyncio.create_task(collect(holder.claim.turn_id, after))


async def log_of(holder: Holder, after: int = 0) -> list[Row]:
    """Read what every follower must have been told."""
    return [row for row in await db(lambda: events_of(holder.turn)) if row[0] > after]


async def write(holder: Holder, count: int) -> None:
    """Stream a text of so many deltas, some of them together."""
    await db(holder.begin)
    await db(holder.open_text)
    for n in range(count):
        await db(holder.stream, *[schema.part_delta("text", "t1.1", f"{n}.{m} ") for m in range(1 + n % 3)])
