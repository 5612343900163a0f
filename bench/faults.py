"""Part f: the fault run of the tests, long; and messages that are sent at the very end of turns."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process.faultrun.rounds import close_rounds
from tests.process.faultrun.run import LONG, SMALL, Size, fault_run
from tests.process.servers import EmbeddedServer, ScaledStack, databases

ENV = {"TURNS_PER_USER_MAX": "0", "SEND_RATE": "1000000"}


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of both."""

    run: Size
    rounds: int


QUICK = Amount(SMALL, 20)
FULL = Amount(LONG, 500)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="holdfast-faults-") as name:
        try:
            yield Path(name) / "data"
        finally:
            databases.close()


async def run(kind: str, amount: Amount, seed: int) -> dict[str, Any]:
    """Break everything while people work, on servers of its own."""
    with _folder() as folder:
        return (await fault_run(kind, folder, amount.run, seed)).as_dict()


async def rounds(kind: str, amount: Amount, seed: int) -> dict[str, Any]:
    """Send messages at the very end of turns."""
    stack = EmbeddedServer if kind == "embedded" else ScaledStack
    with _folder() as folder, stack(folder, ENV) as running:
        result = (await close_rounds(running, running.issue_key(), amount.rounds, seed=seed)).as_dict()
        checked = await asyncio.to_thread(running.run, "check_invariants")
    result["wrong"] += [f"checker: {line}" for line in checked.stdout.splitlines()] if checked.returncode else []
    return result


PARTS: dict[str, Callable[[str, Amount, int], Coroutine[Any, Any, dict[str, Any]]]] = {
    "faults": run,
    "close_rounds": rounds,
}
