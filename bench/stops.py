"""Part g: how soon a stopped turn has ended, in each state that it can be stopped in."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import rest, stacks
from bench.client import MODEL
from bench.stacks import Stack
from bench.stats import in_ms
from tests.process.servers import RedisServer

DEMO = "demo/demo"
#: Running turns of one person at most; the stack is started with it, so that the next one waits.
SLOTS = 4
_SILENT = "bench silent tokens=1 rate=1"
_WAIT = '/tool demo_wait {"seconds": 60}'


@dataclass(frozen=True, slots=True)
class State:
    """A state: what to send to which model, and the event by which it is reached; none for a turn that waits."""

    name: str
    model: str
    text: str
    reached: str


STATES = (
    State("queued", MODEL, _SILENT, ""),
    State("before the first byte", MODEL, _SILENT, "start-step"),
    State("streaming", MODEL, "bench tokens=20000 rate=50", "text-delta"),
    State("reasoning", MODEL, "bench think tokens=20000 rate=50", "reasoning-delta"),
    State("silent tool", DEMO, _WAIT, "tool-input-available"),
    State("four tools at once", DEMO, "\n".join([_WAIT] * 4), "tool-input-available"),
)


@contextmanager
def stack(kind: str, provider: str) -> Iterator[tuple[Stack, Callable[[], None] | None]]:
    """Start a stack with few slots a person; scaled out also return what cuts it off from its Redis for good."""
    few = {"TURNS_PER_USER_MAX": str(SLOTS)}
    if kind == "embedded":
        with stacks.embedded(provider, **few) as running:
            yield running, None
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-redis-") as folder:
        redis = RedisServer(Path(folder)).start()
        try:
            with stacks.scaled(provider, redis_url=redis.url, **few) as running:
                yield running, redis.kill
        finally:
            redis.kill()


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop: seconds from the request to the end of the turn by the database's clock, and to the answer."""

    ended: float
    answered: float
    wrong: str


async def stops(
    stack: Stack, *, repeats: int, count: int, by: Sequence[str] = ("turn", "session")
) -> dict[str, Any]:
    """Stop ``count`` turns in each state, ``repeats`` times, by the turn's id and by the session's.

    The clock starts before the request is sent. ``finished_at`` is the database's time of the statement that ends
    the turn, on the same machine; the answer comes after its commit. So the commit is between the two.
    """
    found: dict[str, Any] = {"repeats": repeats, "count": count, "states": {}, "wrong": []}
    for state in STATES:
        for name in by:
            runs = [await _run(stack, state, name, count) for _ in range(repeats)]
            found["wrong"] += [stop.wrong for run in runs for stop in run if stop.wrong]
            summaries = [
                {"ended_ms": in_ms([stop.ended for stop in run]), "answered_ms": in_ms([s.answered for s in run])}
                for run in runs
            ]
            best = min(summaries, key=lambda each: each["ended_ms"]["p99"])
            worst = max(each["ended_ms"]["p99"] for each in summaries)
            found["states"].setdefault(state.name, {})[name] = {**best, "worst_p99_ms": worst}
    return found


async def _run(stack: Stack, state: State, by: str, count: int) -> list[Stop]:
    in_the_way = (
        [] if state.reached else [await _start(stack, await _session(stack, MODEL), _SILENT) for _ in range(SLOTS)]
    )
    session = await _session(stack, state.model)
    found = [await _stop_one(stack, state, by, session) for _ in range(count)]
    for turn in in_the_way:
        await rest.call(stack.port, "POST", f"/turns/{turn}/cancel", stack.key, {})
    return found


async def _stop_one(stack: Stack, state: State, by: str, session: str) -> Stop:
    turn = await _start(stack, session, state.text)
    if state.reached:
        await _until(stack, turn, state.reached)
    await asyncio.sleep(random.uniform(0.05, 0.2))  # a stop comes at any moment
    path = f"/turns/{turn}/cancel" if by == "turn" else f"/sessions/{session}/cancel"
    asked = time.time()
    answer = await rest.call(stack.port, "POST", path, stack.key, {})
    answered = time.time()
    ended = await rest.call(stack.port, "GET", f"/turns/{turn}", stack.key)
    stopped = answer == {"cancelled": True, "confirmed": True, "turn": turn} and ended["status"] == "cancelled"
    wrong = "" if stopped else f"{state.name}: {answer}, the turn is {ended['status']}"
    return Stop(datetime.fromisoformat(ended["finished_at"]).timestamp() - asked, answered - asked, wrong)


async def _session(stack: Stack, model: str) -> str:
    return str(
        (await rest.call(stack.port, "POST", "/sessions", stack.key, {"model": model, "title": "bench"}))["id"]
    )


async def _start(stack: Stack, session: str, text: str) -> str:
    sent = await rest.call(stack.port, "POST", f"/sessions/{session}/messages", stack.key, {"text": text})
    return str(sent["turn"]["id"])


async def _until(stack: Stack, turn: str, kind: str) -> None:
    """Wait for an event of this type.

    Raises:
        BadAnswer: the turn ended without it, or it did not come within half a minute.
    """
    after, deadline = 0, time.monotonic() + 30
    while time.monotonic() < deadline:
        page = await rest.call(stack.port, "GET", f"/turns/{turn}/events?after={after}&wait=5", stack.key)
        if any(event["chunk"]["type"] == kind for event in page["events"]):
            return
        if page["terminal"]:
            break
        after = page["next"]
    raise rest.BadAnswer(f"turn {turn} has no {kind}")
