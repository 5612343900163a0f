"""Part h: what ten thousand turns that wait for a person cost, and how soon a decided one runs."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from bench import rest
from bench.procs import cpu_seconds, rss_bytes
from bench.stacks import Stack
from bench.stats import in_ms

_ASKING = '/tool demo_note {"text": "hello"}'
_PASSES = 20


async def waiting(stack: Stack, *, count: int, decides: int, seconds: float) -> dict[str, Any]:
    """Measure the server at rest and its sweep, with nothing waiting and with ``count`` turns; then decide some.

    The server is started anew before each of both, so that its memory is comparable, and it is away while the
    sweep is timed.
    """
    idle = await _at_rest(stack, seconds)
    turn = await _ask(stack)
    stack.stop()
    sweep = _in_shell(stack, f"time_sweep({_PASSES})")
    _in_shell(stack, f"fill({turn!r}, {count}, {decides})")
    full_sweep = _in_shell(stack, f"time_sweep({_PASSES})")
    stack.start()
    full = await _at_rest(stack, seconds)
    decided, wrong = await _decide(stack, decides)
    return {
        "count": count,
        "seconds": seconds,
        "none": {**idle, "sweep": sweep},
        "all": {**full, "sweep": full_sweep},
        "decided": decided,
        "wrong": wrong,
    }


def _in_shell(stack: Stack, call: str) -> Any:
    return json.loads(stack.shell(f"from bench import filling; filling.{call}"))


async def _ask(stack: Stack) -> str:
    """Have one turn wait and return its id."""
    session = await rest.call(stack.port, "POST", "/sessions", stack.key, {"model": "demo/demo", "title": "bench"})
    path = f"/sessions/{session['id']}/messages"
    sent = await rest.call(stack.port, "POST", path, stack.key, {"text": _ASKING})
    turn = await rest.call(stack.port, "GET", f"/turns/{sent['turn']['id']}?wait=25", stack.key)
    if turn["status"] != "requires_action":
        raise rest.BadAnswer(f"a turn that asks is {turn['status']}: {turn.get('error')}")
    return str(turn["id"])


async def _at_rest(stack: Stack, seconds: float) -> dict[str, Any]:
    """Return CPU in percent of a core and resident memory of each process, when nobody does anything."""
    await asyncio.sleep(5)  # what the start left behind
    before = {process.name: cpu_seconds(process.pids) for process in stack.processes}
    everything = stack.cpu()
    await asyncio.sleep(seconds)
    used = {process.name: cpu_seconds(process.pids) - before[process.name] for process in stack.processes}
    beside = {name: value - everything[name] for name, value in stack.cpu().items() if name != "server"}
    return {
        "percent_of_a_core": {name: round(100 * value / seconds, 2) for name, value in {**used, **beside}.items()},
        "rss_mib": {process.name: round(rss_bytes(process.pids) / 2**20, 1) for process in stack.processes},
    }


async def _decide(stack: Stack, count: int) -> tuple[dict[str, Any], list[str]]:
    """Approve one after the other while all the others wait; return the times and what went wrong."""
    asked = _in_shell(stack, f"pending('bench', {count})")
    began: dict[str, float] = {}
    answered: list[float] = []
    wrong: list[str] = []
    for action, turn, calls in asked:
        body = {"decisions": [{"tool_call_id": call, "type": "approve"} for call in calls]}
        began[turn], clock = time.time(), time.monotonic()
        await rest.call(stack.port, "POST", f"/approvals/{action}/decide", stack.key, body)
        answered.append(time.monotonic() - clock)
        ended = await rest.call(stack.port, "GET", f"/turns/{turn}?wait=25", stack.key)
        if ended["status"] != "completed":
            wrong.append(f"turn {turn} is {ended['status']}")
    claims = _in_shell(stack, f"claims({list(began)!r})")
    if len(asked) != count:
        wrong.append(f"{len(asked)} turns could be decided instead of {count}")
    return {
        "count": len(asked),
        # One machine: the database's clock and ours are the same.
        "request_to_claim_ms": in_ms([claims[turn][1] - sent for turn, sent in began.items()]),
        "queued_to_claim_ms": in_ms([claimed - queued for queued, claimed in claims.values()]),
        "answered_ms": in_ms(answered),
    }, wrong
