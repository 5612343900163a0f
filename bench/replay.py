"""Part e: reading a finished turn of 10,000 events again, by pages, as a stream, over the websocket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from bench import client, rest
from bench.client import Watch
from bench.stacks import Stack
from bench.stats import in_ms

# A finished turn whose log is made longer: its own deltas, repeated in their place.
_LENGTHEN = """
import itertools
from django.db import transaction
from copilot.models import Turn, TurnEvent
turn = Turn.objects.get(id="{turn}")
chunks = list(TurnEvent.objects.filter(turn_id=turn.id).order_by("seq").values_list("chunk", flat=True))
deltas = [chunk for chunk in chunks if chunk["type"] == "text-delta"]
at = chunks.index(deltas[0])
extra = list(itertools.islice(itertools.cycle(deltas), {events} - len(chunks)))
chunks = chunks[:at] + extra + chunks[at:]
with transaction.atomic():
    TurnEvent.objects.filter(turn_id=turn.id).delete()
    rows = [TurnEvent(turn_id=turn.id, seq=seq, chunk=chunk) for seq, chunk in enumerate(chunks, 1)]
    TurnEvent.objects.bulk_create(rows, batch_size=1000)
    Turn.objects.filter(id=turn.id).update(last_seq=len(chunks), sealed_seq=len(chunks))
print(len(chunks))
"""


async def _pages(stack: Stack, turn: str) -> int:
    after = seen = 0
    while True:
        page = await rest.call(stack.port, "GET", f"/turns/{turn}/events?after={after}", stack.key)
        seen, after = seen + len(page["events"]), page["next"]
        if page["terminal"] or not page["events"]:
            return seen


async def _sse(stack: Stack, turn: str) -> int:
    return await rest.count_sse(stack.port, f"/turns/{turn}/stream", stack.key)


async def _socket(stack: Stack, session: str, turn: str) -> int:
    watch = Watch()
    socket = await client.follow(stack.port, stack.key, session, watch, turn=turn, after=0)
    async with asyncio.timeout(60):
        await watch.ended.wait()
    socket.close()
    return watch.events


async def replay(stack: Stack, *, repeats: int, events: int = 10_000) -> dict[str, Any]:
    """Return how long each way of reading the whole turn takes, and how many events each delivered."""
    session = (await client.new_sessions(stack.port, stack.key, 1))[0]
    body = {"text": "bench tokens=50 rate=100"}
    sent = await rest.call(stack.port, "POST", f"/sessions/{session}/messages", stack.key, body)
    turn = sent["turn"]["id"]
    await rest.call(stack.port, "GET", f"/turns/{turn}?wait=25", stack.key)
    made = int(stack.shell(_LENGTHEN.format(turn=turn, events=events)))
    found: dict[str, Any] = {"events": made}
    ways: dict[str, Callable[[], Coroutine[Any, Any, int]]] = {
        "pages": lambda: _pages(stack, turn),
        "sse": lambda: _sse(stack, turn),
        "websocket": lambda: _socket(stack, session, turn),
    }
    for name, read in ways.items():
        times, counts = [], []
        for _ in range(repeats):
            began = time.monotonic()
            counts.append(await read())
            times.append(time.monotonic() - began)
        found[name] = {"ms": in_ms(times), "best_ms": round(min(times) * 1000, 1), "whole": set(counts) == {made}}
    return found
