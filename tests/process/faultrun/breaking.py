"""What breaks in a fault run, in the order and at the moments that a seed says."""

from __future__ import annotations

import asyncio
import random
import resource
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from tests.process.faultrun.line import RedisLine
from tests.process.servers import EmbeddedServer, Process, ScaledStack

Fault = Callable[[], Awaitable[None]]


class LinedStack(ScaledStack):
    """Two web and two worker processes that reach their Redis by a line which loses and doubles."""

    def __init__(self, data_dir: Path, env: dict[str, str], *, rng: random.Random) -> None:
        super().__init__(data_dir, env, n_web=2, n_workers=2)
        self._rng = rng

    def broker_url(self) -> str:
        self.line = RedisLine(self.redis.port, self._rng).start()
        self._exit.callback(self.line.stop)
        return self.line.url


class Breaker:
    """Injects faults, each at a random moment, all kinds equally often; counts them.

    Args:
        pause: the longest time between the beginnings of two faults, in seconds.
        at_once: how many faults may be there at the same time.
    """

    def __init__(self, kinds: dict[str, Fault], rng: random.Random, *, pause: float, at_once: int) -> None:
        self.kinds = kinds
        self.rng = rng
        self.pause = pause
        self.at_once = at_once
        self.injected: Counter[str] = Counter()
        self._going: set[asyncio.Task[None]] = set()

    @property
    def rounds(self) -> int:
        """How often every kind was injected, at least."""
        return min(self.injected[kind] for kind in self.kinds)

    def plan(self) -> Iterator[tuple[float, str]]:
        """Yield what happens next and how many seconds later, for ever."""
        while True:
            for kind in self.rng.sample(sorted(self.kinds), len(self.kinds)):
                yield self.rng.uniform(0, self.pause), kind

    async def run(self, enough: Callable[[], bool]) -> None:
        """Break things until ``enough()``; everything is mended when this returns."""
        try:
            for wait, kind in self.plan():
                await asyncio.sleep(wait)
                if enough():
                    break
                self._going.add(asyncio.create_task(self._inject(kind)))
                while len(self._going) >= self.at_once:
                    await self._until_one_is_mended()
            while self._going:
                await self._until_one_is_mended()
        finally:
            for task in self._going:
                task.cancel()
            await asyncio.gather(*self._going, return_exceptions=True)

    async def _until_one_is_mended(self) -> None:
        done, self._going = await asyncio.wait(self._going, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _inject(self, kind: str) -> None:
        self.injected[kind] += 1
        await self.kinds[kind]()


class ScaledFaults:
    """The faults of web, worker and Redis. A process has one at a time; Redis may have them beside."""

    def __init__(self, stack: LinedStack, rng: random.Random, *, lease: float, down: float) -> None:
        self._stack = stack
        self._rng = rng
        self._lease = lease
        self._down = down
        self._locks = {process.name: asyncio.Lock() for process in [*stack.web, *stack.workers]}
        self._refusing = asyncio.Lock()

    def kinds(self) -> dict[str, Fault]:
        """Return what can be injected, by name."""
        return {
            "worker killed": lambda: self._kill(self._stack.workers),
            "web killed": lambda: self._kill(self._stack.web),
            "worker suspended past its lease": self._suspend,
            "Redis emptied": self._flush,
            f"Redis refusing for {self._down:g} s": self._refuse,
        }

    async def _kill(self, processes: list[Process]) -> None:
        process = self._rng.choice(processes)
        async with self._locks[process.name]:
            await asyncio.to_thread(process.kill)
            await asyncio.sleep(self._rng.uniform(0, 1))
            process.start()
            await asyncio.sleep(self._rng.uniform(2, 4))  # so that it comes to work between two faults

    async def _suspend(self) -> None:
        process = self._rng.choice(self._stack.workers)
        async with self._locks[process.name]:
            process.send(signal.SIGSTOP)
            try:
                await asyncio.sleep(self._lease + self._rng.uniform(0.5, 2))
            finally:
                process.send(signal.SIGCONT)

    async def _flush(self) -> None:
        await asyncio.to_thread(self._stack.redis.flushall)

    async def _refuse(self) -> None:
        async with self._refusing:
            await asyncio.to_thread(self._stack.line.refuse)
            try:
                await asyncio.sleep(self._down)
            finally:
                await asyncio.to_thread(self._stack.line.accept)


class EmbeddedFaults:
    """The faults of a single process, one after the other.

    A full disk: the operating system refuses every write of the process to a file, whole and with an error that
    says so. SQLite, the log and the tools meet that alike.
    """

    def __init__(self, server: EmbeddedServer, rng: random.Random, *, full: float) -> None:
        self._stack = server
        self._rng = rng
        self._full = full
        self._one = asyncio.Lock()

    def kinds(self) -> dict[str, Fault]:
        """Return what can be injected, by name."""
        return {
            "server killed": self._kill,
            "server restarted in good order": self._restart,
            f"disk full for {self._full:g} s": self._fill,
        }

    async def _kill(self) -> None:
        async with self._one:
            await asyncio.to_thread(self._stack.server.kill)
            await self._back()

    async def _restart(self) -> None:
        async with self._one:
            code, _ = await asyncio.to_thread(self._stack.server.stop)
            assert code == 0, f"the server ended with {code}"
            await self._back()

    async def _back(self) -> None:
        await asyncio.to_thread(self._stack.restart)
        await asyncio.sleep(self._rng.uniform(0.5, 2))  # so that it comes to work between two faults

    async def _fill(self) -> None:
        async with self._one:
            pid = self._stack.server.pid
            before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
            try:
                await asyncio.sleep(self._full)
            finally:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def counts(breaker: Breaker, line: RedisLine | None) -> dict[str, Any]:
    """Return how many of each fault were injected."""
    found: dict[str, Any] = dict(sorted(breaker.injected.items()))
    if line is not None:
        for what, counter in (("lost", line.lost), ("doubled", line.doubled)):
            found |= {f"{kind} {what}": counter[kind] for kind in ("hint", "delivery")}
    return found
