"""What people and programs do to a running server: REST calls, and a page that follows a session."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.process.servers import Stack

Chunk = dict[str, Any]
Row = tuple[int, Chunk]
TERMINAL = {"finish", "error", "abort"}
ENDED = {"completed", "failed", "cancelled"}


class Rest:
    """REST calls of one person, with a key. Use it as a context manager."""

    def __init__(self, stack: Stack, key: str, *, timeout: float = 15) -> None:
        self.http = httpx2.AsyncClient(
            base_url=f"{stack.url}/api/v1/",
            headers={"Authorization": f"Bearer {key}"},
            timeout=timeout,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.http.aclose()

    async def get(self, path: str, **query: Any) -> Any:
        """Return the body of a call that must succeed."""
        answer = await self.http.get(path, params=query)
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def new_session(self, **fields: Any) -> str:
        """Create a session and return its id."""
        answer = await self.http.post("sessions", json=fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def send(self, session: str, text: str, **fields: Any) -> dict[str, Any]:
        """Send a message that must be accepted; return the answer."""
        answer = await self.http.post(f"sessions/{session}/messages", json={"text": text, **fields})
        assert answer.status_code in (200, 202), answer.text
        return dict(answer.json())

    async def start(self, session: str, text: str, **fields: Any) -> str:
        """Send a message that must start a turn; return the turn's id."""
        return str((await self.send(session, text, **fields))["turn"]["id"])

    async def ended(self, turn: str, seconds: float) -> dict[str, Any]:
        """Wait until the turn has ended, whatever becomes of the server meanwhile; return it.

        Raises:
            AssertionError: it had not within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        found: dict[str, Any] = {}
        while (left := deadline - time.monotonic()) > 0:
            with suppress(httpx2.TransportError):
                found = await self.get(f"turns/{turn}", wait=max(0, min(5, int(left))))
                if found["status"] in ENDED:
                    return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"the turn has not ended within {seconds:g} s: {found}")

    async def idle(self, session: str, seconds: float) -> None:
        """Wait until nothing runs and nothing waits in a session."""

        async def is_idle() -> bool:
            found = await self.get(f"sessions/{session}")
            return found["active_turn"] is None and not found["queued"]

        await eventually("end of the session's work", is_idle, seconds)

    async def events(self, turn: str) -> list[Row]:
        """Return all stored events of a turn."""
        rows: list[Row] = []
        while True:
            page = await self.get(f"turns/{turn}/events", after=rows[-1][0] if rows else 0)
            rows += [(event["seq"], event["chunk"]) for event in page["events"]]
            if page["terminal"] or not page["events"]:
                return rows

    async def messages(self, session: str) -> list[dict[str, Any]]:
        """Return the whole transcript of a session."""
        found: list[dict[str, Any]] = []
        while True:
            newest = found[-1]["seq"] if found else 0
            page = await self.get(f"sessions/{session}/messages", after=newest, limit=100)
            found += page["results"]
            if not page["next"]:
                return found


class Follower:
    """A page that is open on a session: it records all it is sent, and comes back when it is cut off.

    Attributes:
        seen: by turn, the events in the order of their arrival, over all connections.
        frames: every frame.
        connections: how often it connected.
    """

    def __init__(self, stack: Stack, key: str, session: str, *, html: bool = False, origin: str = "") -> None:
        self._stack = stack
        self._session = session
        self._key = key
        self._html = html
        self._turn = ""
        self._news = asyncio.Event()
        self.socket: ClientConnection | None = None
        self.seen: dict[str, list[Row]] = {}
        self.arrived: list[tuple[float, str, Row]] = []
        self.frames: list[dict[str, Any]] = []
        self.connections = 0

    def port(self) -> int:
        """Say which web process the next connection goes to."""
        return self._stack.port

    async def run(self) -> None:
        """Follow for ever, from the last seq after each interruption."""
        while True:
            with suppress(OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                await self._follow()
            self.socket = None
            await asyncio.sleep(0.05)

    async def _follow(self) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        url = f"ws://127.0.0.1:{self.port()}/ws/sessions/{self._session}/"
        async with connect(
            url, additional_headers=headers, proxy=None, compression=None, open_timeout=10, close_timeout=1
        ) as socket:
            self.connections += 1
            await socket.send(json.dumps(self._wish()))
            self.socket = socket
            async for text in socket:
                self._take(json.loads(text))

    def _wish(self) -> dict[str, Any]:
        wish: dict[str, Any] = {"type": "follow", "html": self._html}
        if self._turn:
            seen = self.seen.get(self._turn, [])
            wish |= {"turn": self._turn, "after": seen[-1][0] if seen else 0}
        return wish

    def _take(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)
        if frame["type"] == "event" and "seq" in frame:
            self._turn = frame["turn"]
            row = (frame["seq"], frame["chunk"])
            self.seen.setdefault(self._turn, []).append(row)
            self.arrived.append((time.monotonic(), self._turn, row))
        self._news.set()

    def expect(self, turn: str) -> None:
        """Say which turn it is about, so that a connection made after its end still asks for it."""
        self._turn = self._turn or turn

    def words(self, turn: str) -> int:
        """Return how many words of the turn arrived, with those taken back."""
        return sum(chunk.get("delta", "").count("w") for _, chunk in self.seen.get(turn, []))

    def has_ended(self, turn: str) -> bool:
        """Tell whether the turn's terminal event arrived."""
        return any(chunk["type"] in TERMINAL for _, chunk in self.seen.get(turn, []))

    async def until(self, condition: Callable[[], Any], seconds: float, what: str = "") -> None:
        """Wait until ``condition()`` holds; it is asked again after each frame.

        Raises:
            AssertionError: it did not within ``seconds``.
        """
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"the follower waited {seconds:g} s in vain {what}") from None

    async def until_end(self, turn: str, seconds: float) -> None:
        """Wait for the terminal event of a turn."""
        await self.until(lambda: self.has_ended(turn), seconds, f"for the end of {turn}")


@asynccontextmanager
async def following(stack: Stack, key: str, session: str, *, html: bool = False) -> AsyncIterator[Follower]:
    """Follow a session; entered once connected."""
    follower = Follower(stack, key, session, html=html)
    task = asyncio.create_task(follower.run())
    try:
        await follower.until(lambda: follower.frames, 15, "for the first frame")
        yield follower
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def text_of(rows: list[Row]) -> str:
    """Return the text that a page shows after these events: what rollbacks took back is gone."""
    opened: dict[str, int] = {}
    pieces: list[tuple[int, str]] = []
    for seq, chunk in rows:
        if chunk["type"] == "text-start":
            opened[chunk["id"]] = seq
        elif chunk["type"] == "text-delta":
            pieces.append((opened[chunk["id"]], chunk["delta"]))
        elif chunk["type"] == "data-rollback":
            pieces = [piece for piece in pieces if piece[0] <= chunk["data"]["to_seq"]]
    return "".join(text for _, text in pieces)


def rollbacks(rows: list[Row]) -> int:
    """Return how often something was taken back."""
    return sum(chunk["type"] == "data-rollback" for _, chunk in rows)


def words(count: int) -> str:
    """Return what ``/words count`` says."""
    return " ".join(f"w{n}" for n in range(1, count + 1))


def check_log(rows: list[Row]) -> None:
    """Assert that the events of an ended turn are dense, and that the last one and no other is terminal."""
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    terminal = [seq for seq, chunk in rows if chunk["type"] in TERMINAL]
    assert terminal == [len(rows)], f"terminal events at {terminal} of {len(rows)}"


async def check_turn(rest: Rest, turn: str, *followers: Follower) -> list[Row]:
    """Assert that log, rows and every follower's transcript of an ended turn agree; return the log."""
    rows = await rest.events(turn)
    check_log(rows)
    stored = await rest.get(f"turns/{turn}")
    assert text_of(rows) == stored["text"]
    for follower in followers:
        await follower.until_end(turn, 10)
        assert follower.seen[turn] == rows
    return rows


async def check_session(rest: Rest, session: str, asked: list[str]) -> None:
    """Assert that a session holds each question once, in order, and nothing twice."""
    found = await rest.messages(session)
    assert [message["seq"] for message in found] == list(range(1, len(found) + 1))
    assert len({message["id"] for message in found}) == len(found)
    questions = [part["text"] for message in found if message["role"] == "user" for part in message["parts"]]
    assert questions == asked


async def eventually(what: str, condition: Callable[[], Awaitable[Any]], seconds: float) -> Any:
    """Wait until ``await condition()`` is true and return it."""
    deadline = time.monotonic() + seconds
    while not (value := await condition()):
        assert time.monotonic() < deadline, f"no {what} within {seconds:g} s"
        await asyncio.sleep(0.05)
    return value
