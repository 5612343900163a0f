"""A worker claims for all who want a turn together."""

from __future__ import annotations

import asyncio
import threading
import uuid
from typing import Any

import pytest

from copilot import worker as working
from copilot.turns.claim import Claim
from copilot.worker import Worker


class Looks:
    """Stands in for claiming: tells how many were wanted, and waits for its answer."""

    def __init__(self, *answers: Any) -> None:
        self.asked: list[int] = []
        self.answers = list(answers)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, worker_id: uuid.UUID, most: int, *, idle: bool) -> list[Claim]:
        self.asked.append(most)
        self.begun.set()
        assert self.go_on.wait(10)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [claim() for _ in range(answer)]


def claim() -> Claim:
    return Claim(uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), 1, 0)


async def wanting(worker: Worker, count: int) -> list[asyncio.Task[Claim | None]]:
    """Begin to want so many turns."""
    tasks = [asyncio.create_task(worker._claim()) for _ in range(count)]
    await asyncio.sleep(0)  # they run up to their wait
    return tasks


async def begin(monkeypatch: pytest.MonkeyPatch, looks: Looks, count: int) -> tuple[Worker, list[Any]]:
    monkeypatch.setattr(working, "claim_waiting", looks)
    worker = Worker(asyncio.get_running_loop(), slots=4)
    tasks = await wanting(worker, count)
    assert await asyncio.to_thread(looks.begun.wait, 10)
    return worker, tasks


async def test_who_got_none_asks_again_until_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(2, 1, 0)
    looks.go_on.set()
    _, tasks = await begin(monkeypatch, looks, 5)
    got = await asyncio.gather(*tasks)
    assert [found is not None for found in got] == [True, True, True, False, False]
    assert looks.asked == [5, 3, 2]


async def test_who_comes_during_a_look_gets_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was told of a turn that the look under way may have missed."""
    looks = Looks(0, 1)
    worker, early = await begin(monkeypatch, looks, 1)
    late = await wanting(worker, 1)
    looks.go_on.set()
    assert await early[0] is None
    assert await late[0] is not None


async def test_a_failure_is_told_to_those_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(RuntimeError("no"), 1)
    worker, early = await begin(monkeypatch, looks, 2)
    late = await wanting(worker, 1)
    looks.go_on.set()
    failures = await asyncio.gather(*early, return_exceptions=True)
    assert [type(failure) for failure in failures] == [RuntimeError, RuntimeError]
    assert await late[0] is not None


async def test_one_that_was_cancelled_does_not_keep_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(1, 1, 0)
    _, tasks = await begin(monkeypatch, looks, 3)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    looks.go_on.set()
    got = await asyncio.wait_for(asyncio.gather(*tasks[1:]), 5)
    assert any(got)
