"""Part b: the most turns at 20 chunks a second with a p99 lag under 250 ms; what a turn and a follower weigh."""

from __future__ import annotations

import asyncio
from typing import Any

from bench import client
from bench.client import Watch
from bench.stacks import Stack

STEPS = (25, 50, 100, 150, 200, 250, 300, 350)
RATE, LIMIT_MS = 20.0, 250.0
STEADY, STARTS_A_SECOND = 6.0, 25.0


async def _step(stack: Stack, count: int) -> dict[str, Any]:
    """Keep ``count`` turns live for ``STEADY`` seconds; lags count while all of them are."""
    ramp = count / STARTS_A_SECOND
    tokens = int((ramp + STEADY + 1) * RATE)
    load = await client.run_turns(stack.port, stack.key, count, tokens=tokens, rate=RATE, spread=ramp)
    begin = load.began + ramp + 0.5
    summary = load.summary((begin, begin + STEADY))
    summary["holds"] = not summary["errors"] and summary["lag_ms"].get("p99", LIMIT_MS) < LIMIT_MS
    return summary


async def most_turns(stack: Stack, steps: tuple[int, ...] = STEPS) -> dict[str, Any]:
    """Search upwards; a level that does not hold is tried once more, then the search ends."""
    tried: list[dict[str, Any]] = []
    most = 0
    for count in steps:
        for _ in range(2):
            tried.append(await _step(stack, count))
            if tried[-1]["holds"]:
                break
        if not tried[-1]["holds"]:
            break
        most = count
    return {"most": most, "searched_to": tried[-1]["turns"], "limit_ms": LIMIT_MS, "rate": RATE, "steps": tried}


async def _warm(stack: Stack) -> None:
    """Let the server import, connect and allocate what any use needs."""
    for _ in range(3):
        await client.run_turns(stack.port, stack.key, 5, tokens=20, rate=100)
    await asyncio.sleep(1)


async def memory_of_followers(stack: Stack, count: int = 200) -> dict[str, Any]:
    """Return the resident bytes that a follower of an idle session costs (on a fresh stack)."""
    await _warm(stack)
    sessions = await client.new_sessions(stack.port, stack.key, count)
    before = stack.rss()
    sockets = [await client.follow(stack.port, stack.key, session, Watch()) for session in sessions]
    await asyncio.sleep(3)
    after = stack.rss()
    for socket in sockets:
        socket.close()
    return {"count": count, "before": before, "each": round((after - before) / count)}


async def memory_of_turns(stack: Stack, count: int = 100) -> dict[str, Any]:
    """Return the resident bytes that a live turn with its one follower costs (on a fresh stack)."""
    await _warm(stack)
    before = stack.rss()
    spread, seconds = 4.0, 14.0
    running = asyncio.create_task(
        client.run_turns(stack.port, stack.key, count, tokens=int(seconds * 5), rate=5, spread=spread)
    )
    peak = 0
    while not running.done():
        await asyncio.wait([running], timeout=0.5)
        peak = max(peak, stack.rss())
    return {
        "count": count,
        "before": before,
        "each": round((peak - before) / count),
        "errors": sum((await running).errors.values()),
    }
