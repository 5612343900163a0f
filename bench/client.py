"""The load client: many sessions at once, each followed over its websocket, every chunk checked and timed."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import rest, ws
from bench.stats import in_ms
from bench.tokens import Arrival, is_whole, lags, start_of

_TERMINAL = {"finish", "error", "abort"}
MODEL = "openai/bench"


class Watch:
    """What one follower of a session sees of one turn: a transcript that is checked as it grows."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()  # the snapshot that follows the connection has come
        self.ended = asyncio.Event()  # the turn's terminal event has come, or an error frame
        self.errors: list[str] = []
        self.turn: str | None = None
        self.seq = 0
        self.events = 0
        self.rollbacks = 0
        self.sent_at = self.first_at = self.ended_at = 0.0
        self.event_times: list[float] = []
        self.arrivals: list[Arrival] = []
        self._tokens = 0
        self._parts: list[tuple[int, str, list[str]]] = []

    @property
    def text(self) -> str:
        """The text of every part that was not rolled back."""
        return "".join(piece for _, _, pieces in self._parts for piece in pieces)

    def feed(self, data: bytes) -> None:
        """Take one frame as it arrived."""
        now = time.monotonic()
        frame = json.loads(data)
        kind = frame["type"]
        if kind == "event":
            self._event(now, frame)
        elif kind == "session":
            self.ready.set()
        elif kind == "error":
            self._fail(f"error frame {frame.get('code')}")

    def _fail(self, what: str) -> None:
        self.errors.append(what)
        self.ended.set()

    def _event(self, now: float, frame: dict[str, Any]) -> None:
        seq = frame.get("seq")
        if seq is None:
            return
        self.turn = self.turn or frame["turn"]
        if seq <= self.seq:
            self.errors.append("repeated event")
            return
        if seq > self.seq + 1:
            self.errors.append("missing event")
        self.seq = seq
        self.events += 1
        self.event_times.append(now)
        self._chunk(now, seq, frame["chunk"])

    def _chunk(self, now: float, seq: int, chunk: dict[str, Any]) -> None:
        kind = chunk["type"]
        if kind == "text-delta":
            self.first_at = self.first_at or now
            self._parts[-1][2].append(chunk["delta"])
            self._tokens += chunk["delta"].count(" ")
            self.arrivals.append((now, self._tokens))
        elif kind == "text-start":
            self._parts.append((seq, chunk["id"], []))
        elif kind == "data-rollback":
            self.rollbacks += 1
            self._parts = [part for part in self._parts if part[0] <= chunk["data"]["to_seq"]]
            self._tokens = self.text.count(" ")
            self.arrivals.clear()
        elif kind in _TERMINAL:
            self.ended_at = now
            if kind != "finish":
                self.errors.append(f"turn ended with {kind}")
            self.ended.set()

    def verdict(self, tokens: int) -> list[str]:
        """Return what was wrong with the turn, nothing if it was whole."""
        if not self.ended_at:
            return [*self.errors, "no terminal event"]
        if not self.errors and not is_whole(self.text, tokens):
            return ["text is not what the provider sent"]
        return self.errors


@dataclass
class Load:
    """The outcome of turns that ran at once."""

    watches: list[Watch]
    tokens: int
    rate: float
    began: float
    seconds: float
    errors: Counter[str] = field(default_factory=Counter)

    def summary(self, window: tuple[float, float] | None = None) -> dict[str, Any]:
        """Return totals, first chunks and lags in milliseconds, errors, and what was delivered.

        ``window`` (monotonic seconds) limits the lags to tokens that were due in it.
        """
        ended = [watch for watch in self.watches if watch.ended_at]
        every: list[float] = []
        newest: list[float] = []
        for watch in self.watches:
            if (start := start_of(watch.text)) is not None:
                one = lags(start, self.rate, watch.arrivals, window)
                every += one[0]
                newest += one[1]
        return {
            "turns": len(self.watches),
            "errors": sum(self.errors.values()),
            "error_kinds": dict(self.errors),
            "rollbacks": sum(watch.rollbacks for watch in self.watches),
            "total_ms": in_ms([watch.ended_at - watch.sent_at for watch in ended]),
            "first_ms": in_ms([watch.first_at - watch.sent_at for watch in self.watches if watch.first_at]),
            "lag_ms": in_ms(every),
            "lag_newest_ms": in_ms(newest),
            "chunks": sum(watch.text.count(" ") for watch in self.watches),
            "events": sum(watch.events for watch in self.watches),
            "seconds": round(self.seconds, 2),
        }


@contextmanager
def quiet_gc() -> Iterator[None]:
    """Keep the client's garbage collector out of what it measures."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def new_sessions(port: int, key: str, count: int) -> list[str]:
    """Create ``count`` sessions on the bench model and return their ids."""
    gate = asyncio.Semaphore(8)

    async def one() -> str:
        async with gate:
            session = await rest.call(port, "POST", "/sessions", key, {"model": MODEL, "title": "bench"})
            return str(session["id"])

    return await asyncio.gather(*(one() for _ in range(count)))


async def follow(port: int, key: str, session: str, watch: Watch, **frame: Any) -> ws.Socket:
    """Open the session's websocket, wait for its snapshot and follow it; ``frame`` adds to the follow frame."""
    socket = await ws.connect(port, f"/ws/sessions/{session}/", key, watch.feed)
    async with asyncio.timeout(30):
        await watch.ready.wait()
    socket.send({"type": "follow", **frame})
    return socket


def order(socket: ws.Socket, watch: Watch, tokens: int, rate: float) -> None:
    """Send the message that makes the provider stream, and start the watch's clock."""
    watch.sent_at = time.monotonic()
    text = f"bench tokens={tokens} rate={rate:g}"
    socket.send({"type": "send", "text": text, "client_id": str(uuid.uuid4())})


async def run_turns(
    port: int, key: str, count: int, *, tokens: int, rate: float, spread: float = 0.0, timeout: float = 120
) -> Load:
    """Run ``count`` turns at once, each in a new session that is followed before the message is sent.

    Args:
        port: of the server, on 127.0.0.1.
        key: a personal key.
        count: turns.
        tokens: length of each answer.
        rate: tokens a second of each answer.
        spread: seconds over which the messages are sent evenly; 0 sends them all at once.
        timeout: seconds after the last message within which every turn must have ended.
    """
    watches = [Watch() for _ in range(count)]
    sessions = await new_sessions(port, key, count)
    gate = asyncio.Semaphore(20)

    async def open_one(session: str, watch: Watch) -> ws.Socket:
        async with gate:
            return await follow(port, key, session, watch)

    sockets = await asyncio.gather(*map(open_one, sessions, watches))
    await asyncio.sleep(0.3)  # the follow frames have no answer; let the server settle
    with quiet_gc():
        began = time.monotonic()
        for index, (socket, watch) in enumerate(zip(sockets, watches, strict=True)):
            if spread and (wait := began + index * spread / count - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            order(socket, watch, tokens, rate)
        try:
            async with asyncio.timeout(timeout):
                for watch in watches:
                    await watch.ended.wait()
        except TimeoutError:
            pass  # the verdicts say which turns did not end
        seconds = time.monotonic() - began
    for socket in sockets:
        socket.close()
    load = Load(watches, tokens, rate, began, seconds)
    for watch in watches:
        load.errors.update(watch.verdict(tokens))
    return load
