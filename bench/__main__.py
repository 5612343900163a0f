"""``python -m bench``: runs the parts on the embedded and the scaled-out stack and writes ``bench/results/``."""

from __future__ import annotations

import argparse
import datetime
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any

from bench import (
    aio,
    capacity,
    client,
    diagnosing,
    dispatch,
    faults,
    procs,
    recovery,
    replay,
    report,
    stacks,
    stops,
    throughput,
    waiting,
)
from bench.stacks import Stack

Parts = dict[str, Any]
Part = Callable[[Stack], Coroutine[Any, Any, Any]]
_QUICK = {
    "repeats": 1,
    "levels": (1, 10, 50),
    "steps": (25, 50),
    "followers": 50,
    "live": 25,
    "turns": 30,
    "idle": 5.0,
    "faults": faults.QUICK,
    "stops": {"repeats": 1, "count": 3},
    "waiting": {"count": 500, "decides": 10, "seconds": 5.0},
    "diagnosing": {"finished": 20_000, "live": 1000, "repeats": 5},
}
_FULL = {
    "levels": throughput.LEVELS,
    "steps": capacity.STEPS,
    "followers": 200,
    "live": 100,
    "turns": 200,
    "idle": 60.0,
    "faults": faults.FULL,
    "stops": {"repeats": 5, "count": 10},
    "waiting": {"count": 10_000, "decides": 200, "seconds": 30.0},
    "diagnosing": {"finished": 1_000_000, "live": 10_000, "repeats": 20},
}


def _say(what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {what}", flush=True)


class Runner:
    """Runs the wanted parts on one kind of stack."""

    def __init__(self, kind: str, provider: str, args: argparse.Namespace) -> None:
        self.kind = kind
        self.provider = provider
        self.size: dict[str, Any] = {**_FULL, "repeats": args.repeats, **(_QUICK if args.quick else {})}
        self.workers = args.workers
        self.seed = args.seed
        self.parts: Parts = {}

    def stack(self, workers: int | None = None) -> AbstractContextManager[Stack]:
        """Start a fresh stack; ``workers`` is ignored by the embedded one."""
        if self.kind == "embedded":
            return stacks.embedded(self.provider)
        return stacks.scaled(self.provider, workers=workers or self.workers)

    def run(self, wanted: str) -> Parts:
        """Run the wanted parts, in order."""
        for letter in wanted:
            _say(f"{self.kind}: part {letter}")
            started = time.monotonic()
            getattr(self, f"part_{letter}")()
            _say(f"{self.kind}: part {letter} took {time.monotonic() - started:.0f} s")
        return self.parts

    def _measure(self, parts: dict[str, Part], workers: int | None = None) -> None:
        """Run parts one after the other on one fresh stack."""
        with self.stack(workers) as stack:
            aio.run(_warm(stack))
            for name, part in parts.items():
                self.parts[name] = aio.run(part(stack))
                report.show(name, self.parts[name])

    def part_a(self) -> None:
        """Throughput beside the floor."""
        repeats, levels = self.size["repeats"], self.size["levels"]
        self._measure(
            {
                "throughput": lambda stack: throughput.throughput(
                    stack, self.provider, repeats=repeats, levels=levels
                )
            }
        )

    def part_b(self) -> None:
        """Lag, CPU, the most turns, memory; memory on fresh stacks, where nothing was allocated before."""
        size = self.size
        self._measure(
            {
                "lag": lambda stack: throughput.lag(stack, self.provider),
                "most_turns": lambda stack: capacity.most_turns(stack, size["steps"]),
            }
        )
        self._measure({"memory_follower": lambda stack: capacity.memory_of_followers(stack, size["followers"])})
        self._measure({"memory_turn": lambda stack: capacity.memory_of_turns(stack, size["live"])})

    def part_c(self) -> None:
        """Dispatch, and the cost of an idle server."""
        size = self.size
        self._measure(
            {
                "dispatch": lambda stack: dispatch.dispatch(stack, count=size["turns"]),
                "idle": lambda stack: dispatch.idle(stack, seconds=size["idle"]),
            }
        )

    def part_d(self) -> None:
        """A killed worker; a killed server."""
        repeats = max(5, self.size["repeats"]) if self.size["repeats"] > 1 else 1
        if self.kind == "embedded":
            self._measure({"recovery": lambda stack: recovery.kill_server(stack, repeats=repeats)})
        else:
            self._measure({"recovery": lambda stack: recovery.kill_worker(stack, repeats=repeats)}, workers=2)

    def part_e(self) -> None:
        """Replay of a long turn."""
        repeats = max(3, self.size["repeats"])
        self._measure({"replay": lambda stack: replay.replay(stack, repeats=repeats)})

    def part_f(self) -> None:
        """Everything breaks while people work; messages at the very end of turns."""
        for name, part in faults.PARTS.items():
            self.parts[name] = aio.run(part(self.kind, self.size["faults"], self.seed))
            report.show(name, self.parts[name])

    def part_g(self) -> None:
        """Stops in every state; scaled out also without Redis."""
        with stops.stack(self.kind, self.provider) as (stack, cut):
            aio.run(_warm(stack))
            self.parts["stops"] = aio.run(stops.stops(stack, **self.size["stops"]))
            report.show("stops", self.parts["stops"])
            if cut is not None:
                cut()
                few = {**self.size["stops"], "count": 3, "by": ["turn"]}
                self.parts["stops_without_redis"] = aio.run(stops.stops(stack, **few))
                report.show("stops_without_redis", self.parts["stops_without_redis"])

    def part_h(self) -> None:
        """Turns that wait for a person."""
        self._measure({"waiting": lambda stack: waiting.waiting(stack, **self.size["waiting"])})

    def part_i(self) -> None:
        """Diagnostics with a long history; scaled out only, nobody has as much on a laptop."""
        if self.kind == "scaled":
            self._measure({"diagnosing": lambda stack: diagnosing.diagnosing(stack, **self.size["diagnosing"])})


async def _warm(stack: Stack) -> None:
    """Run one turn: it waits for the workers to be there, and nothing measured is a first time."""
    load = await client.run_turns(stack.port, stack.key, 1, tokens=5, rate=100, timeout=60)
    if load.errors:
        raise stacks.NotReady(f"a first turn failed: {dict(load.errors)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--stack", choices=["embedded", "scaled", "both"], default="both")
    parser.add_argument("--only", default="a,b,c,d,e,f,g,h,i", help="parts to run, e.g. a,c (see bench/README.md)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="worker processes of the scaled-out stack")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="the fault run's plan (part f)")
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing written: does it run at all?")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark; exits with 1 when a turn went wrong anywhere."""
    args = _arguments()
    # A bench that is told to end must still stop its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = "".join(letter for letter in "abcdefghi" if letter in args.only)
    bad = False
    busy = os.getloadavg()[0]
    if busy > 0.3:
        _say(f"the machine is busy (load {busy:.1f}): the figures will be worse than they are")
    with stacks.provider_process() as provider:
        for kind in ("embedded", "scaled") if args.stack == "both" else (args.stack,):
            runner = Runner(kind, provider, args)
            began = datetime.datetime.now(datetime.UTC)
            parts = runner.run(wanted)
            bad = bad or report.problems(parts) > 0
            if not args.quick:
                meta: dict[str, Any] = {
                    "stack": kind,
                    "began": began.isoformat(timespec="seconds"),
                    "settings": stacks.LIFTED,
                }
                meta["load_before"] = round(busy, 2)
                meta["workers"] = args.workers if kind == "scaled" else None
                report.write({**meta, "machine": {**procs.machine(), **stacks.services(kind)}}, parts)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
