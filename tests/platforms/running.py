"""An adapter that runs for the time of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

from linking.platforms.client import Holdfast
from linking.platforms.memory import Memory
from tests.platforms.holdfast_stand_in import KEY


@asynccontextmanager
async def running(
    adapter: ModuleType,
    settings: Mapping[str, str],
    holdfast_url: str,
    path: Path,
    *,
    key: str = KEY,
    apart_seconds: float = 0.045,
) -> AsyncIterator[list[str]]:
    """Run an adapter; give the lines that it said. It must end cleanly.

    Args:
        path: its file, which outlives it.
    """
    stop, ready, said = asyncio.Event(), asyncio.Event(), list[str]()

    def say(line: str) -> None:
        said.append(line)
        ready.set()

    async with Holdfast(holdfast_url, key) as holdfast:
        serve = adapter.serve(settings, holdfast, Memory(path), stop, say, apart_seconds=apart_seconds)
        task, waiting = asyncio.create_task(serve), asyncio.create_task(ready.wait())
        try:
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            yield said
        finally:
            stop.set()
            waiting.cancel()
            async with asyncio.timeout(5):
                await task
