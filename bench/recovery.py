"""Part d: how long a killed worker, or a killed embedded server, is felt by the people who watch."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any

from bench import client, ws
from bench.client import Watch
from bench.stacks import Process, Stack, add_worker

_TOKENS, _RATE = 100, 20.0


def _spread(values: list[float]) -> dict[str, float]:
    """Summarise a few durations in seconds."""
    ordered = sorted(values)
    return {"median_s": round(ordered[len(ordered) // 2], 2), "max_s": round(ordered[-1], 2)} if ordered else {}


# --- scaled out ----------------------------------------------------------------------------


async def _kill_under_load(stack: Stack, victim: Process, turns: int) -> tuple[list[float], list[str], int]:
    """Kill ``victim`` with ``turns`` under way; return each struck turn's silence, what was wrong, rollbacks."""
    watches = [Watch() for _ in range(turns)]
    sessions = await client.new_sessions(stack.port, stack.key, turns)
    sockets = [await client.follow(stack.port, stack.key, *pair) for pair in zip(sessions, watches, strict=True)]
    await asyncio.sleep(0.3)
    for socket, watch in zip(sockets, watches, strict=True):
        client.order(socket, watch, _TOKENS, _RATE)
    await asyncio.sleep(2)
    await asyncio.to_thread(victim.kill)
    killed = time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(60):
            for watch in watches:
                await watch.ended.wait()
    for socket in sockets:
        socket.close()
    silences = [silence for watch in watches if (silence := _silence_after(killed, watch)) > 1]
    wrong = [what for watch in watches for what in watch.verdict(_TOKENS)]
    return silences, wrong, sum(watch.rollbacks for watch in watches)


def _silence_after(killed: float, watch: Watch) -> float:
    """Return the seconds from the kill to the first event after the longest silence that followed it."""
    times = [killed, *(at for at in watch.event_times if at > killed)]
    gaps = [(later - earlier, later) for earlier, later in pairwise(times)]
    # A healthy turn has an event every 50 ms: only the struck ones are silent for long.
    longest, ended = max(gaps, default=(0.0, killed))
    return ended - killed if longest > 0.5 else 0.0


async def kill_worker(stack: Stack, *, repeats: int, turns: int = 8) -> dict[str, Any]:
    """Kill one of two workers with SIGKILL in the middle of turns, several times; a new one takes its place.

    Returns the silence of each struck turn: from the kill to the first new event, run by the other worker.
    """
    silences: list[float] = []
    wrong: list[str] = []
    rollbacks = void = 0
    number = 10
    while repeats > 0 and void < 5:
        victim = stack.processes[1]
        found, bad, rolled = await _kill_under_load(stack, victim, turns)
        wrong, rollbacks = wrong + bad, rollbacks + rolled
        silences += found
        repeats, void = (repeats - 1, void) if found else (repeats, void + 1)
        stack.processes.remove(victim)
        add_worker(stack, number)
        number += 1
        await asyncio.sleep(6)
    return {"silence": _spread(silences), "struck": len(silences), "void": void, "rollbacks": rollbacks,
            "wrong": wrong, "each_s": [round(value, 2) for value in silences]}  # fmt: skip


# --- embedded ------------------------------------------------------------------------------


async def _reconnect(stack: Stack, session: str, watch: Watch, until: float) -> ws.Socket:
    """Come back as a page does: try until the server answers, then follow from the last seq."""
    while time.monotonic() < until:
        with suppress(OSError, ws.ConnectionClosed, TimeoutError):
            watch.ready.clear()
            return await client.follow(stack.port, stack.key, session, watch, turn=watch.turn, after=watch.seq)
        await asyncio.sleep(0.02)
    raise TimeoutError("the server did not come back")


async def _kill_server(stack: Stack, tokens: int, rate: float) -> tuple[dict[str, float], list[str]]:
    server, watch = stack.processes[0], Watch()
    session = (await client.new_sessions(stack.port, stack.key, 1))[0]
    socket = await client.follow(stack.port, stack.key, session, watch)
    await asyncio.sleep(0.3)
    client.order(socket, watch, tokens, rate)
    await asyncio.sleep(1)
    await asyncio.to_thread(server.kill)
    socket.close()
    before = len(watch.event_times)
    started = time.monotonic()
    server.start()
    socket = await _reconnect(stack, session, watch, started + 60)
    back = time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(60):
            await watch.ended.wait()
    socket.close()
    fresh = watch.event_times[before:]
    times = {
        "connected": back - started,
        "first_event": (fresh[0] if fresh else time.monotonic()) - started,
        "terminal": (watch.ended_at or time.monotonic()) - started,
    }
    return times, watch.verdict(tokens)


async def kill_server(stack: Stack, *, repeats: int) -> dict[str, Any]:
    """Kill the embedded server with SIGKILL one second into a two-second turn and start it again at once.

    Times are from the start of the new process: to the follower's reconnection, to the first event it had not
    seen, and to the turn's terminal event (of which two seconds are the provider's: the step is repeated).
    """
    runs, wrong = [], []
    for _ in range(repeats):
        times, bad = await _kill_server(stack, 100, 50)
        runs.append(times)
        wrong += bad
        await asyncio.sleep(1)
    return {
        **{name: _spread([times[name] for times in runs]) for name in ("connected", "first_event", "terminal")},
        "wrong": wrong,
        "each_s": [{name: round(value, 2) for name, value in times.items()} for times in runs],
    }
