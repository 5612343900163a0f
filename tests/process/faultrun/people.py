"""People of a fault run: each types, stops, sends on and follows in a session of their own, whatever breaks.

A person sends one message after the other and repeats each under its ``client_id`` until it is answered, so the
order of the accepted ones is the order of typing.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx2

from tests.process.clients import TERMINAL, Follower, Row, words
from tests.process.faultrun.verdict import Evidence, Sent
from tests.process.servers import Stack

#: Seconds for which a person tries to get one answer, and waits for one turn.
PATIENCE = 90.0
SETTLED_SECONDS = 60.0


class Server:
    """REST calls to any of the web processes, asked again until there is an answer."""

    def __init__(self, stack: Stack, key: str, rng: random.Random) -> None:
        self.stack = stack
        self.key = key
        self.rng = rng
        self.problems: list[str] = []
        self.repeated = 0
        self.http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=12, trust_env=False)

    async def once(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Ask one of the web processes once.

        Raises:
            httpx2.TransportError: it did not answer.
        """
        url = f"http://127.0.0.1:{self.rng.choice(self.stack.ports)}/api/v1/{path}"
        answer = await self.http.request(method, url, **options)
        if answer.status_code == 500:
            self.problems.append(f"{method} {path} was answered with 500\n{self._traceback()}")
        return answer.status_code, answer.json() if answer.content else None

    def _traceback(self) -> str:
        """The newest traceback that a process of the server printed."""
        printed = [process.output() for process in self.stack.processes]
        found = [text[text.rindex("Traceback (most recent") :][:4000] for text in printed if "Traceback (" in text]
        return found[-1] if found else "no traceback was printed"

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Ask until somebody answers with something else than an error of the server."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(httpx2.TransportError, json.JSONDecodeError):
                status, body = await self.once(method, path, **options)
                if status < 500:
                    return status, body
            self.repeated += 1
            await asyncio.sleep(0.1)
        raise AssertionError(f"no answer to {method} {path} within {PATIENCE:g} s")

    async def get(self, path: str) -> Any:
        """Return the body of a call that must succeed."""
        status, body = await self.call("GET", path)
        assert status == 200, f"GET {path}: {status} {body}"
        return body

    async def events(self, turn: str) -> list[Row]:
        """Return all stored events of a turn."""
        rows: list[Row] = []
        while True:
            page = await self.get(f"turns/{turn}/events?after={rows[-1][0] if rows else 0}")
            rows += [(event["seq"], event["chunk"]) for event in page["events"]]
            if page["terminal"] or not page["events"]:
                return rows

    async def messages(self, session: str) -> list[dict[str, Any]]:
        """Return the whole transcript of a session."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self.get(
                f"sessions/{session}/messages?limit=100&after={found[-1]['seq'] if found else 0}"
            )
            found += page["results"]
            if not page["next"]:
                return found


class Page(Follower):
    """A page that comes back to any of the web processes."""

    def __init__(self, server: Server, session: str) -> None:
        super().__init__(server.stack, server.key, session)
        self._rng = server.rng

    def port(self) -> int:
        return self._rng.choice(self._stack.ports)

    def cut(self) -> None:
        """Lose the connection without a word."""
        if self.socket is not None:
            self.socket.transport.abort()


class Poller:
    """A program that reads a turn's events by long polls, and gives up some of them."""

    def __init__(self, server: Server, turn: str) -> None:
        self.turn = turn
        self.seen: list[Row] = []
        self.given_up = 0
        self.done = asyncio.Event()
        self._server = server

    async def run(self) -> None:
        """Read until the terminal event is there."""
        while not (self.seen and self.seen[-1][1]["type"] in TERMINAL):
            path = f"turns/{self.turn}/events?after={self.seen[-1][0] if self.seen else 0}&wait=5"
            try:
                async with asyncio.timeout(self._server.rng.uniform(0.05, 2.5)):
                    status, page = await self._server.once("GET", path)
            except (TimeoutError, httpx2.TransportError):
                self.given_up += 1
                await asyncio.sleep(0.02)
                continue
            if status == 200:
                self.seen += [(event["seq"], event["chunk"]) for event in page["events"]]
            else:
                await asyncio.sleep(0.1)
        self.done.set()


class Tally:
    """What all people together did."""

    def __init__(self) -> None:
        self.turns = 0
        self.messages = 0
        self.did: Counter[str] = Counter()


class Person:
    """One person in a session of their own. ``wanted()`` says whether to go on typing."""

    def __init__(
        self,
        server: Server,
        session: str,
        number: int,
        rng: random.Random,
        tally: Tally,
        wanted: Callable[[], bool],
    ) -> None:
        self.evidence = Evidence(session)
        self.page = Page(server, session)
        self.pollers: list[Poller] = []
        self._server = server
        self._session = session
        self._number = number
        self._rng = rng
        self._tally = tally
        self._wanted = wanted
        self._typed = 0
        #: What is to become of each approval.
        self._plans: dict[str, str] = {}
        self._tasks: list[asyncio.Task[None]] = []

    # --- life ------------------------------------------------------------------------------

    async def live(self) -> None:
        """Type until nothing more is wanted, with the page open all the time."""
        self._tasks += [asyncio.create_task(self.page.run()), asyncio.create_task(self._lose_connections())]
        await self.page.until(lambda: self.page.frames, 30, "for the first frame")
        while self._wanted():
            turn = await self._say(self._script())
            if turn is None:
                await self._until_idle()
                continue
            await self._meanwhile(turn)
            if self._rng.random() < 0.8:
                await self._until_idle()
                await self._send_now()
        self._tasks[1].cancel()

    async def leave(self) -> None:
        """Close the page."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _lose_connections(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 4))
            self.page.cut()
            self._tally.did["reconnects"] += 1

    # --- typing ----------------------------------------------------------------------------

    async def _meanwhile(self, turn: str) -> None:
        """What somebody does while the agent works."""
        roll = self._rng.random()
        if roll < 0.4:
            for _ in range(self._rng.randint(1, 3)):
                await asyncio.sleep(self._rng.uniform(0, 0.5))
                await self._say(self._script())
        if roll < 0.1 or roll > 0.8:
            await asyncio.sleep(self._rng.uniform(0, 0.8))
            await self._stop(turn)

    async def _say(self, script: tuple[str, str | None]) -> str | None:
        """Send a message until it is accepted or refused; return the turn that it began, if any."""
        text, says = script
        self._typed += 1
        body = {"text": text, "client_id": f"{self._session}-{self._typed}"}
        status, answer = await self._server.call("POST", f"sessions/{self._session}/messages", json=body)
        if status == 409 and answer["code"] == "queue_full":
            self._tally.did["refused"] += 1
            return None
        if status not in (200, 202):
            self._server.problems.append(f"a message was answered with {status} {answer}")
            return None
        self.evidence.sent.append(Sent(answer["message"]["id"], says, fails="/fail " in text))
        self._tally.messages += 1
        if answer["queued"]:
            self._tally.did["follow-ups"] += 1
            live = (await self._server.get(f"sessions/{self._session}"))["active_turn"]
            return str(live["id"]) if live else None
        return self._began(answer["turn"]["id"])

    def _began(self, turn: str) -> str:
        self._tally.turns += 1
        self.page.expect(turn)
        if self._rng.random() < 0.5:
            self.pollers.append(Poller(self._server, turn))
            self._tasks.append(asyncio.create_task(self.pollers[-1].run()))
        return turn

    async def _stop(self, turn: str) -> None:
        """Stop this turn, or whatever runs in the session."""
        self.evidence.asked_to_stop = True
        path = self._rng.choice([f"turns/{turn}/cancel", f"sessions/{self._session}/cancel"])
        status, answer = await self._server.call("POST", path, json={})
        self._tally.did["stops"] += 1
        if status == 200 and answer["cancelled"]:
            self.evidence.stopped.add(answer["turn"])
        elif status != 200:
            self._server.problems.append(f"a stop was answered with {status} {answer}")

    async def _answer(self, turn: dict[str, Any]) -> None:
        """Decide what a turn asks, mostly; else stop it, or let it wait until nobody may decide any more."""
        approval = turn.get("approval")
        if approval is None:
            return  # it was decided, or it expired, between the look at the turn and the look at what it asks
        if approval["id"] not in self._plans:
            self._plans[approval["id"]] = self._rng.choices(["decide", "stop", "wait"], [7, 1, 2])[0]
            await asyncio.sleep(self._rng.uniform(0, 0.6))
        match self._plans[approval["id"]]:
            case "decide":
                await self._decide(approval)
            case "stop":
                await self._stop(turn["id"])
            case _:
                await asyncio.sleep(0.5)

    async def _decide(self, approval: dict[str, Any]) -> None:
        """Decide each call of an approval somehow."""
        self._plans[approval["id"]] = "wait"  # an answer that was read before the decision changes nothing
        body = {"decisions": [self._decision(request) for request in approval["requests"]]}
        status, answer = await self._server.call("POST", f"approvals/{approval['id']}/decide", json=body)
        if status == 200:
            decided = {each["tool_call_id"]: each["type"] for each in body["decisions"]}
            self.evidence.decided[approval["id"]] = decided
            self._tally.did["decided"] += 1
        elif status != 409 or answer["code"] not in ("expired", "stale"):
            self._server.problems.append(f"a decision was answered with {status} {answer}")

    def _decision(self, request: dict[str, Any]) -> dict[str, Any]:
        call, text = request["tool_call_id"], request["arguments"]["text"]
        match self._rng.choice(["approve", "approve", "reject", "edit"]):
            case "edit":
                return {"tool_call_id": call, "type": "edit", "arguments": {"text": f"{text} edited"}}
            case kind:
                return {"tool_call_id": call, "type": kind}

    async def _send_now(self) -> None:
        """Have what is held sent, sometimes."""
        if self._rng.random() < 0.5:
            status, answer = await self._server.call("POST", f"sessions/{self._session}/queued/deliver")
            if status == 202:
                self._began(answer["turn"]["id"])
                self._tally.did["sent now"] += 1

    async def _until_idle(self) -> None:
        """Wait until nothing runs in the session; decide what is asked meanwhile, or do not."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = await self._server.get(f"sessions/{self._session}")
            if (turn := found["active_turn"]) is None:
                return
            if turn["status"] == "requires_action":
                await self._answer(turn)
            else:
                await self._server.get(f"turns/{turn['id']}?wait=3")
        raise AssertionError(f"session {self._session} is not idle after {PATIENCE:g} s")

    # --- scripts ---------------------------------------------------------------------------

    def _script(self) -> tuple[str, str | None]:
        """Return a message, and what a turn that answers it alone says."""
        rng, mark = self._rng, f"{self._number}.{self._typed}"
        n, delay = rng.randint(10, 60), rng.choice([0, 5, 10, 20])
        slow = rng.choice(["slow ", ""])
        wait = round(rng.uniform(0.2, 1.2), 1)
        once = f'/tool demo_once {{"text": "{slow}{mark}"}}'
        waiting = f'/tool demo_wait {{"seconds": {wait}}}'
        note, other = (f'/tool demo_note {{"text": "{mark}.{each}"}}' for each in (1, 2))
        scripts: list[tuple[str, str | None]] = [
            (f"/words {n} {delay}", words(n)),
            (f"/words {n} {delay}", words(n)),
            (f"/think about {mark}\n/words {n} {delay}", words(n)),
            (f"/words 5 20\n/step\n/words {n} {delay}\n/step\n/words 3", words(5) + words(n) + words(3)),
            (f"/words 4\n{once}\n/words {n} {delay}", words(4) + words(n)),
            (f"{once}\n{waiting}\n/words {n} {delay}", words(n)),
            (f"/words 3\n{waiting}\n/words {n} {delay}", words(3) + words(n)),
            (f"/faillate network 1\n/words {n} {delay}", words(n)),
            (f"/words 4 20\n/fail auth # {mark}", None),
            (f"/words 3\n{note}\n/words {n} {delay}", words(3) + words(n)),
            (f"{note}\n{once}\n{other}\n/words {n} {delay}", words(n)),
            (f"{note}\n/words 2\n{other}\n/words {n} {delay}", words(2) + words(n)),
        ]
        text, said = rng.choice(scripts)
        return f"/cost {rng.randint(1, 9999)}\n{text}", said

    # --- afterwards ------------------------------------------------------------------------

    async def gather(self, data_dir: Any) -> Evidence:
        """Wait until everything has settled and read all that there is of the session."""
        await self._until_idle()
        found = self.evidence
        session = await self._server.get(f"sessions/{self._session}")
        found.queued = session["queued"]
        found.messages = await self._server.messages(self._session)
        turns = {message["turn"] for message in found.messages} | {poller.turn for poller in self.pollers}
        for turn in turns:
            found.turns[turn] = await self._server.get(f"turns/{turn}")
            found.logs[turn] = await self._server.events(turn)
            found.seen[turn] = [await self._seen(turn)]
        for poller in self.pollers:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLED_SECONDS):
                    await poller.done.wait()
            found.seen[poller.turn].append(poller.seen)
        found.approvals = {name: await self._server.get(f"approvals/{name}") for name in _asked(found)}
        found.lines, found.notes = (self._file(data_dir, name) for name in ("once.txt", "notes.txt"))
        return found

    def _file(self, data_dir: Any, name: str) -> list[str]:
        file = data_dir / "workspaces" / self._session / name
        return file.read_text().splitlines() if file.exists() else []

    async def _seen(self, turn: str) -> list[Row]:
        with suppress(AssertionError):  # the verdict says what is missing
            await self.page.until_end(turn, SETTLED_SECONDS)
        return self.page.seen.get(turn, [])


def _asked(evidence: Evidence) -> set[str]:
    """Return the ids of all that the turns asked for; what was taken back with a lost attempt was never asked."""
    return {
        chunk["data"]["approval"]["id"]
        for log in evidence.logs.values() for _, chunk in log
        if chunk["type"] == "data-approval"
    }  # fmt: skip


def endings(people: list[Evidence]) -> dict[str, int]:
    """Count how the turns ended."""
    found: Counter[str] = Counter()
    for evidence in people:
        for turn in evidence.turns.values():
            code = (turn.get("error") or {}).get("code")
            found[f"{turn['status']} ({code})" if code and turn["status"] == "failed" else turn["status"]] += 1
    return dict(sorted(found.items()))
