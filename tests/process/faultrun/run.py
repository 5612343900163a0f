"""The fault run: people use a real server while everything around it breaks; afterwards every promise is checked.

One implementation, small in the tests and long in the benchmark. ``FAULT_SEED`` repeats the plan of an earlier
run; what happens between processes is never the same twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.process.faultrun.breaking import Breaker, EmbeddedFaults, LinedStack, ScaledFaults, counts
from tests.process.faultrun.people import Person, Server, Tally, endings
from tests.process.faultrun.verdict import problems
from tests.process.servers import EmbeddedServer, Stack


@dataclass(frozen=True, slots=True)
class Size:
    """How much happens. ``lease``, ``pause`` (between two faults), ``down`` (Redis), ``full`` (the disk) and
    ``window`` (in which something may be decided) are seconds.
    """

    turns: int
    people: int
    lease: float
    pause: float
    down: float
    full: float
    #: Every kind of fault is injected this often at least.
    rounds: int
    window: float
    #: Share of the hints and of the deliveries that are lost; as many are doubled.
    hints: float = 0.1
    deliveries: float = 0.25


SMALL = Size(turns=20, people=5, lease=1.5, pause=3.0, down=3, full=2, rounds=1, window=5)
LONG = Size(turns=200, people=8, lease=5, pause=10.0, down=30, full=10, rounds=3, window=10)


@dataclass(slots=True)
class Report:
    """What happened, and what is wrong: ``wrong`` is empty when every promise was kept."""

    stack: str
    seed: int
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    messages: dict[str, int] = field(default_factory=dict)
    approvals: dict[str, int] = field(default_factory=dict)
    rollbacks: int = 0
    wrong: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it for a file."""
        return asdict(self)

    def text(self) -> str:
        """Return it for people."""
        lines = [f"{self.stack}, seed {self.seed}, {self.seconds:.0f} s, {self.rollbacks} rollbacks"]
        for name in ("faults", "people", "turns", "messages", "approvals"):
            counted = ", ".join(f"{what} {count}" for what, count in getattr(self, name).items())
            lines.append(f"  {name}: {counted}")
        return "\n".join([*lines, *(f"  WRONG {sentence}" for sentence in self.wrong)])


async def fault_run(kind: str, data_dir: Path, size: Size, seed: int) -> Report:
    """Run on ``embedded`` or ``scaled``; return what happened. Raises only when the run itself cannot go on."""
    rng = random.Random(seed)
    report = Report(kind, seed)
    began = time.monotonic()
    env = {
        "TURN_LEASE_SECONDS": str(size.lease),
        "TURN_HEARTBEAT_SECONDS": str(size.lease / 5),
        "APPROVALS_WINDOW_SECONDS": str(size.window),
        "TURNS_PER_USER_MAX": "0",
        "SEND_RATE": "1000000",
        # Nobody gets there, but each turn reserves: what is counted and held back is checked afterwards.
        "USAGE_WEEKLY_LIMIT_MICRODOLLARS": "1000000000000",
        "LOG_LEVEL": "WARNING",
    }
    if kind == "embedded":
        with EmbeddedServer(data_dir, env) as server:
            faults = EmbeddedFaults(server, rng, full=size.full)
            breaker = Breaker(faults.kinds(), rng, pause=size.pause, at_once=1)
            await _run(server, breaker, size, rng, report)
            report.faults = counts(breaker, None)
    else:
        with LinedStack(data_dir, env, rng=random.Random(seed)) as stack:
            kinds = ScaledFaults(stack, rng, lease=size.lease, down=size.down).kinds()
            breaker = Breaker(kinds, rng, pause=size.pause, at_once=3)
            stack.line.share = {"hint": size.hints, "delivery": size.deliveries}
            await _run(stack, breaker, size, rng, report)
            report.faults = counts(breaker, stack.line)
    report.seconds = round(time.monotonic() - began, 1)
    return report


async def _run(stack: Stack, breaker: Breaker, size: Size, rng: random.Random, report: Report) -> None:
    key = await asyncio.to_thread(stack.issue_key)
    server, tally = Server(stack, key, random.Random(rng.random())), Tally()
    typing = True

    def wanted() -> bool:
        return typing and (tally.turns < size.turns or breaker.rounds < size.rounds)

    people = []
    for number in range(size.people):
        session = (await server.call("POST", "sessions", json={}))[1]["id"]
        people.append(Person(server, session, number, random.Random(rng.random()), tally, wanted))
    breaking = asyncio.create_task(breaker.run(lambda: not wanted()))
    try:
        await asyncio.gather(*(person.live() for person in people))
        await breaking
        found = await asyncio.gather(*(person.gather(stack.data_dir) for person in people))
    finally:
        breaking.cancel()
        await asyncio.gather(breaking, return_exceptions=True)
        for person in people:
            await person.leave()
        await server.http.aclose()
    report.wrong += server.problems + [sentence for evidence in found for sentence in problems(evidence)]
    report.turns = endings(found)
    report.people = {**tally.did, "polls given up": sum(p.given_up for who in people for p in who.pollers)}
    report.people |= {"requests repeated": server.repeated}
    report.approvals = dict(Counter(each["status"] for evidence in found for each in evidence.approvals.values()))
    report.messages = {
        "accepted": tally.messages,
        "delivered": sum(m["role"] == "user" for evidence in found for m in evidence.messages),
        "held": sum(len(evidence.queued) for evidence in found),
    }
    report.rollbacks = sum(
        chunk["type"] == "data-rollback"
        for evidence in found for rows in evidence.logs.values() for _, chunk in rows
    )  # fmt: skip
    checked = await asyncio.to_thread(stack.run, "check_invariants")
    if checked.returncode:
        report.wrong += [f"checker: {line}" for line in (checked.stdout + checked.stderr).splitlines()]
