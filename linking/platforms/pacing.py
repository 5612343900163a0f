"""Writing no faster than a platform allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable

#: So many chats are remembered before those whose time is over are forgotten.
REMEMBERED = 1000


class Pace:
    """Keeps writes apart: those of one key by the seconds given, all of them by ``overall`` seconds.

    Who waits for a key gets its turn in order. What the platform says of a limit that was met counts for all that
    wait.

    Args:
        sustained: seconds between two writes of one key in the long run; 0: as ``wait`` says.
        burst: so many writes may come faster than that, if there were fewer before.
    """

    def __init__(
        self,
        *,
        overall: float = 0.0,
        sustained: float = 0.0,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._overall = overall
        self._sustained = sustained
        self._ahead = burst * sustained
        #: When all writes so far are paid for, each with ``sustained`` seconds.
        self._paid: dict[Hashable, float] = {}
        self._clock = clock
        self._sleep = sleep
        self._free: dict[Hashable, float] = {}
        self._held: dict[Hashable, float] = {}
        self._all = 0.0

    async def wait(self, key: Hashable, seconds: float) -> None:
        """Return when the next write of ``key`` may go; the one after it will wait ``seconds`` more."""
        now = self._clock()
        self._forget(now)
        paid = self._paid.get(key, 0.0)
        mine = max(now, self._free.get(key, 0.0), paid - self._ahead)
        if self._sustained:
            self._paid[key] = max(paid, mine) + self._sustained
        self._free[key] = mine + seconds
        # The limit may be met while this waits: it is looked at again.
        while (left := max(mine, self._held.get(key, 0.0)) - self._clock()) > 0:
            await self._sleep(left)
        # Only what may go now takes a place among all: a key that waits for minutes holds up no other.
        turn = max(self._clock(), self._all)
        self._all = turn + self._overall
        while (left := turn - self._clock()) > 0:
            await self._sleep(left)

    def hold(self, key: Hashable, seconds: float) -> None:
        """Let nothing of ``key`` go for ``seconds``: the platform asked for it."""
        until = self._clock() + seconds
        self._held[key] = max(until, self._held.get(key, 0.0))
        self._free[key] = max(until, self._free.get(key, 0.0))

    def _forget(self, now: float) -> None:
        for times in (self._free, self._held, self._paid):
            if len(times) > REMEMBERED:
                for key in [key for key, until in times.items() if until < now]:
                    del times[key]
