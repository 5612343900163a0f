"""Part i: how soon operators see what is wrong, with ninety days of turns in the database."""

from __future__ import annotations

import json
import time
from typing import Any

from bench import rest
from bench.stacks import Stack
from bench.stats import in_ms

#: Milliseconds of the diagnostics, at p95.
LIMIT_MS = 200.0
_LISTS = ("running", "queued", "waiting", "orphaned", "failed", "long_running", "stuck_queued", "invalid")
_PAGE = 100


async def diagnosing(stack: Stack, *, finished: int, live: int, repeats: int) -> dict[str, Any]:
    """Fill the database, then read the diagnostics and the first page of each category over REST.

    Only the web process runs: a worker would look after the live turns. It was just started, so the first reading
    is one of a process that has read nothing yet.
    """
    key = stack.manage("issue_key", "operator", "--scopes", "operator").splitlines()[-1]
    stack.stop()
    began = time.monotonic()
    expected = json.loads(_in_shell(stack, f"fill({finished}, {live})"))
    filled = time.monotonic() - began
    whole = json.loads(_in_shell(stack, f"explain({list(_LISTS)!r}, {_PAGE})"))
    web = stack.processes[0]
    web.start()
    stack.wait_ready()
    times: dict[str, Any] = {}
    wrong = [f"{what} reads all of {', '.join(tables)}" for what, tables in whole.items()]
    times["diagnostics"], figures = await _read(stack, key, "/operator/diagnostics", repeats)
    for name in _LISTS:
        path = f"/operator/turns?category={name}&limit={_PAGE}"
        times[name], page = await _read(stack, key, path, repeats)
        if not figures[name] == page["total"] == expected.get(name, page["total"]):
            wrong.append(f"{figures[name]} turns are {name}, listed {page['total']}, made {expected.get(name)}")
    if times["diagnostics"]["p95"] > LIMIT_MS:
        wrong.append(f"diagnostics take {times['diagnostics']['p95']} ms, {LIMIT_MS:g} are promised")
    return {
        "finished": finished,
        "live": live,
        "repeats": repeats,
        "limit_ms": LIMIT_MS,
        "filled_s": round(filled, 1),
        "ms": times,
        "wrong": wrong,
    }


def _in_shell(stack: Stack, call: str) -> str:
    return stack.shell(f"from bench import history; history.{call}")


async def _read(stack: Stack, key: str, path: str, repeats: int) -> tuple[dict[str, float], Any]:
    """Return how long the answers took, the first one apart too, and the last one."""
    seconds: list[float] = []
    answer: Any = None
    for _ in range(repeats):
        began = time.monotonic()
        answer = await rest.call(stack.port, "GET", path, key)
        seconds.append(time.monotonic() - began)
    return {**in_ms(seconds), "first": round(seconds[0] * 1000, 1)}, answer
