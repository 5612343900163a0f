"""Part a: 200 tokens at 100 a second, 1 to 100 turns at once, beside the floor. Part b1: lag and CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bench import client
from bench.stacks import ROOT, Stack

LEVELS = (1, 10, 50, 100)


def floor(provider: str, levels: tuple[int, ...], *, tokens: int, rate: float) -> dict[str, Any]:
    """Measure the floor in a process of its own; summaries by number of turns at once."""
    command = [
        sys.executable,
        "-m",
        "bench.floor",
        f"{provider}/v1",
        "--tokens",
        str(tokens),
        "--rate",
        f"{rate:g}",
    ]
    done = subprocess.run(
        [*command, "--at-once", *map(str, levels)], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True
    )
    return dict(json.loads(done.stdout))


async def load(stack: Stack, count: int, *, tokens: int, rate: float, spread: float = 0.0) -> dict[str, Any]:
    """Run ``count`` turns at once and return their summary with the CPU that the server spent on them."""
    before = stack.cpu()
    result = await client.run_turns(stack.port, stack.key, count, tokens=tokens, rate=rate, spread=spread)
    used = {name: value - before[name] for name, value in stack.cpu().items()}
    summary = result.summary()
    summary["cpu_s"] = {name: round(value, 2) for name, value in used.items()}
    summary["cpu_s_per_1000"] = round(sum(used.values()) / max(1, summary["chunks"]) * 1000, 3)
    return summary


async def throughput(
    stack: Stack, provider: str, *, repeats: int, levels: tuple[int, ...] = LEVELS
) -> dict[str, Any]:
    """Return, for each level, every repeat beside its floor, and the best (by p95 of the total)."""
    runs: dict[str, list[dict[str, Any]]] = {str(level): [] for level in levels}
    for _ in range(repeats):
        floors = floor(provider, levels, tokens=200, rate=100)
        for level in levels:
            summary = await load(stack, level, tokens=200, rate=100)
            summary["floor"] = floors[str(level)]
            runs[str(level)].append(summary)
    return {"levels": {level: {"best": min(every, key=_rank), "repeats": every} for level, every in runs.items()}}


def _rank(summary: dict[str, Any]) -> tuple[int, float]:
    return summary["errors"], summary["total_ms"].get("p95", float("inf"))


async def lag(stack: Stack, provider: str, *, levels: tuple[int, ...] = (1, 10, 50)) -> dict[str, Any]:
    """Return lag and CPU at 20 chunks a second a turn, five seconds, beside the floor."""
    floors = floor(provider, levels, tokens=100, rate=20)
    found = {}
    for level in levels:
        found[str(level)] = await load(stack, level, tokens=100, rate=20, spread=level / 50)
        found[str(level)]["floor"] = floors[str(level)]
    return found
