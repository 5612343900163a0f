"""Part c: how long an accepted turn waits for a worker, and what an idle server costs."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from bench import client, rest
from bench.procs import cpu_seconds
from bench.stacks import Stack
from bench.stats import in_ms

_WAITED = """
import json
from copilot.models import Turn
turns = Turn.objects.filter(session_id="{session}", started_at__isnull=False).order_by("created_at")
print(json.dumps([(turn.started_at - turn.created_at).total_seconds() for turn in turns]))
"""


async def dispatch(stack: Stack, *, count: int = 200) -> dict[str, Any]:
    """Run short turns one after the other; the rows say when each was written and when it was claimed.

    Both times are the database's. The first is that of the INSERT: the rest of the accepting transaction counts.
    """
    session = (await client.new_sessions(stack.port, stack.key, 1))[0]
    answered: list[float] = []
    for _ in range(count):
        began = time.monotonic()
        body = {"text": "bench tokens=2 rate=100"}
        sent = await rest.call(stack.port, "POST", f"/sessions/{session}/messages", stack.key, body)
        answered.append(time.monotonic() - began)
        turn = await rest.call(stack.port, "GET", f"/turns/{sent['turn']['id']}?wait=25", stack.key)
        if turn["status"] != "completed":
            raise rest.BadAnswer(f"a turn ended {turn['status']}: {turn.get('error')}")
    waited = json.loads(stack.shell(_WAITED.format(session=session)))
    return {"turns": len(waited), "waited_ms": in_ms(waited), "accept_ms": in_ms(answered)}


async def idle(stack: Stack, *, seconds: float = 60) -> dict[str, Any]:
    """Return the CPU that each process uses when nobody does anything, in percent of a core."""
    await asyncio.sleep(5)  # what the last part left behind
    before = {process.name: cpu_seconds(process.pids) for process in stack.processes}
    await asyncio.sleep(seconds)
    used = {process.name: cpu_seconds(process.pids) - before[process.name] for process in stack.processes}
    percent = {name: round(100 * value / seconds, 2) for name, value in used.items()}
    return {"seconds": seconds, "percent_of_a_core": percent, "rss_mib": round(stack.rss() / 2**20, 1)}
