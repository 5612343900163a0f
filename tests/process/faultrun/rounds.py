"""Messages that are sent at the very moment at which a turn ends: answered by the next one, each exactly once.

When a turn will end is learnt from those before it, and so is how much sooner a message has to be sent to find it
still there half of the time. A round counts when the message was sent within 50 ms of the
end, before it or after; others are tried again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from tests.process.clients import words
from tests.process.faultrun.people import Server
from tests.process.faultrun.verdict import Evidence, Sent, problems
from tests.process.servers import Stack

CLOSE_SECONDS = 0.05
WORDS = 6
TEXT = f"/words {WORDS} 15"
#: Tries for each round that counts, at most.
TRIES = 6


@dataclass(slots=True)
class Rounds:
    """What came of it: rounds that counted, out of how many, and what the messages met."""

    counted: int = 0
    tried: int = 0
    met: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it for a file."""
        return asdict(self)


async def close_rounds(stack: Stack, key: str, count: int, *, seed: int, lanes: int = 2) -> Rounds:
    """Play ``count`` rounds in ``lanes`` sessions side by side."""
    server = Server(stack, key, random.Random(seed))
    result, met, began = Rounds(), Counter[str](), time.monotonic()
    players = [_Lane(server, random.Random(seed + lane)) for lane in range(lanes)]

    def more() -> bool:
        return result.counted < count and result.tried < TRIES * count

    async def play(lane: _Lane) -> None:
        await lane.open()
        while more():
            result.tried += 1
            if what := await lane.play():
                met[what] += 1
                result.counted += 1

    await asyncio.gather(*map(play, players))
    for lane in players:
        result.wrong += problems(await lane.gather())
    await server.http.aclose()
    result.met, result.seconds = dict(sorted(met.items())), round(time.monotonic() - began, 1)
    result.wrong += server.problems
    return result


class _Lane:
    """One session in which messages are sent at the ends of turns."""

    def __init__(self, server: Server, rng: random.Random) -> None:
        self._server = server
        self._rng = rng
        self._took = 0.15
        self._sooner = 0.02
        self._typed = 0

    async def open(self) -> None:
        """Make the session."""
        self._session = (await self._server.call("POST", "sessions", json={}))[1]["id"]
        self._evidence = Evidence(self._session)

    async def play(self) -> str:
        """Start a turn and send a message at its end; say what that met, nothing if it was not close."""
        began = time.time()
        first = await self._say()
        turn = first["turn"]["id"]
        aim = began + self._took - self._sooner + self._rng.uniform(-0.02, 0.02)
        await asyncio.sleep(max(0, aim - time.time()))
        sent = time.time()
        second = await self._say()
        ended = await self._ended(turn)
        end = datetime.fromisoformat(ended["finished_at"]).timestamp()
        self._took += 0.3 * (end - began - self._took)
        self._sooner = min(CLOSE_SECONDS, max(0, self._sooner + (-0.004 if second["queued"] else 0.004)))
        later = second["turn"]["id"] if not second["queued"] else ended.get("next_turn")
        if later:
            await self._ended(later)
        if abs(sent - end) > CLOSE_SECONDS:
            return ""
        when = "before the end" if sent < end else "after the end"
        return f"{when}, {'waited' if second['queued'] else 'began a turn'}"

    async def _say(self) -> dict[str, Any]:
        self._typed += 1
        body = {"text": TEXT, "client_id": str(self._typed)}
        status, answer = await self._server.call("POST", f"sessions/{self._session}/messages", json=body)
        assert status in (200, 202), f"{status} {answer}"
        self._evidence.sent.append(Sent(answer["message"]["id"], words(WORDS)))
        return dict(answer)

    async def _ended(self, turn: str) -> dict[str, Any]:
        while True:
            found: dict[str, Any] = await self._server.get(f"turns/{turn}?wait=10")
            if found["finished_at"]:
                return found

    async def gather(self) -> Evidence:
        """Read all that there is of the session."""
        found = self._evidence
        found.messages = await self._server.messages(self._session)
        found.queued = (await self._server.get(f"sessions/{self._session}"))["queued"]
        for turn in {message["turn"] for message in found.messages}:
            found.turns[turn] = await self._ended(turn)
            found.logs[turn] = await self._server.events(turn)
        return found
