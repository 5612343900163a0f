"""What is done beside the loop of a process does not wait for what a few turns do there."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from common.loops import THREADS, new_event_loop


def test_a_few_long_searches_keep_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    over = threading.Event()

    async def work() -> bool:
        searches = [asyncio.create_task(asyncio.to_thread(over.wait, 10)) for _ in range(THREADS - 1)]
        await asyncio.sleep(0)  # they come first
        try:
            async with asyncio.timeout(5):
                return await asyncio.to_thread(lambda: not over.is_set())
        finally:
            over.set()
            await asyncio.gather(*searches)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(work())
