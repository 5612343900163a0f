"""A stand-in of Holdfast's bot API, written to its contract: a test says what turns do, event by event."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Object = dict[str, Any]

KEY = "hfb_made-up-key-of-the-stand-in"
TOO_LONG = 64_000


class Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, code: str, detail: str = "No.", headers: Object | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.headers = headers or {}
        self.body = {"code": code, "detail": detail}


@dataclass
class StandInTurn:
    """A turn that a test drives."""

    server: HoldfastStandIn
    thread: tuple[str, str, str]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "running"
    events: list[Object] = field(default_factory=list)
    error: Object | None = None
    next_turn: str = ""
    approvals: dict[str, Object] = field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")

    async def emit(self, *chunks: Object) -> int:
        """Append events; return the seq of the last."""
        async with self.server.news:
            for chunk in chunks:
                self.events.append({"seq": len(self.events) + 1, "chunk": chunk})
            self.server.news.notify_all()
        return len(self.events)

    async def says(self, *deltas: str, part: str = "t1") -> None:
        """Open a part of text, say it and close it."""
        said = [{"type": "text-delta", "id": part, "delta": delta} for delta in deltas]
        await self.emit({"type": "text-start", "id": part}, *said, {"type": "text-end", "id": part})

    async def ends(self, status: str = "completed", **error: Any) -> None:
        """End it; a follow-up that waits becomes the next turn when it completed."""
        waiting = self.server.waiting.get(self.thread) or []
        if status == "completed" and waiting:
            follower = self.server.begin(self.thread)
            self.next_turn = follower.id
            for message in waiting:
                message |= {"queued": False, "turn": follower.id}
            waiting.clear()
        elif waiting:
            for message in waiting:
                message["held"] = True
        self.error = error or None
        kind = {"completed": "finish", "failed": "error", "cancelled": "abort"}[status]
        self.status = status
        await self.emit({"type": kind})

    async def asks(self, kind: str = "tool_approval", **over: Any) -> Object:
        """Ask a person; the turn waits."""
        approval = {"id": str(uuid.uuid4()), "kind": kind, "status": "pending", "turn": self.id, **over}
        approval.setdefault("requests", [])
        self.approvals[approval["id"]] = approval
        self.status = "requires_action"
        await self.emit({"type": "data-approval", "data": {"approval": dict(approval)}})
        return approval


class HoldfastStandIn:
    """The running stand-in.

    Attributes:
        linked: pairs of kind and id, each with the identity that may decide.
        sent: every message that was accepted, in order.
        down: answers 503 to everything while it is set.
    """

    def __init__(self) -> None:
        self.news = asyncio.Condition()
        self.linked: dict[tuple[str, str], str] = {}
        self.turns: dict[str, StandInTurn] = {}
        self.tokens: dict[str, Object] = {}
        self.sent: list[Object] = []
        self.decided: list[Object] = []
        self.waiting: dict[tuple[str, str, str], list[Object]] = {}
        self.refusals: list[Refusal] = []
        self.may_approve = True
        self.down = False
        self.turned_away = 0
        self.url = ""
        self._by_client_id: dict[str, Object] = {}
        self._codes = itertools.count(123456)

    def link(self, kind: str, platform_id: int | str, identity: int | str = "") -> None:
        """Link a person or a group to an account whose identity is ``identity``."""
        self.linked[kind, str(platform_id)] = str(identity or platform_id)

    async def confirm(self, token: str) -> None:
        """Do what the page of a link does."""
        found = self.tokens[token]
        self.link(found["kind"], found["platform_id"], found["platform_user_id"])
        found["status"] = "linked"

    def begin(self, thread: tuple[str, str, str]) -> StandInTurn:
        """Begin a turn."""
        turn = StandInTurn(self, thread)
        self.turns[turn.id] = turn
        return turn

    async def turn(self, number: int = 0, seconds: float = 5.0) -> StandInTurn:
        """Wait for the turn of that number, in the order of their beginning."""
        async with asyncio.timeout(seconds), self.news:
            while len(self.turns) <= number:
                await self.news.wait()
        return list(self.turns.values())[number]

    async def until(self, condition: Any, seconds: float = 5.0) -> None:
        """Wait until ``condition()`` is true; it is asked again after each call."""
        async with asyncio.timeout(seconds), self.news:
            while not condition():
                await self.news.wait()

    def application(self) -> web.Application:
        """Return the server."""
        app = web.Application(middlewares=[self._guard])
        base = "/api/v1/bot"
        router: Any = app.router  # the guard makes answers of what handlers return
        router.add_post(f"{base}/links/resolve", self._resolve)
        router.add_post(f"{base}/link-tokens", self._token)
        router.add_get(f"{base}/link-tokens/{{token}}", self._token_status)
        router.add_post(f"{base}/turns", self._send)
        router.add_get(f"{base}/turns/{{turn}}", self._get_turn)
        router.add_get(f"{base}/turns/{{turn}}/events", self._events)
        router.add_post(f"{base}/turns/{{turn}}/cancel", self._cancel)
        router.add_get(f"{base}/approvals", self._approvals)
        router.add_post(f"{base}/approvals/{{approval}}/decide", self._decide)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            if self.down:
                self.turned_away += 1
                raise Refusal(503, "busy")
            if request.headers.get("Authorization") != f"Bearer {KEY}":
                raise Refusal(401, "not_authenticated", "This key is not known.")
            found = await handler(request)
            status = 200
            if isinstance(found, tuple):
                status, found = found
            return web.json_response(found, status=status)
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)
        finally:
            async with self.news:
                self.news.notify_all()

    async def _resolve(self, request: web.Request) -> Object:
        wish = await request.json()
        linked = (wish["kind"], wish["platform_id"]) in self.linked
        return {"linked": linked, "owner": "ada"} if linked else {"linked": False}

    async def _token(self, request: web.Request) -> tuple[int, Object]:
        wish = await request.json()
        if (wish["kind"], wish["platform_id"]) in self.linked:
            raise Refusal(409, "already_linked")
        token = f"token-{uuid.uuid4().hex}"
        self.tokens[token] = {**wish, "status": "pending"}
        url = f"https://holdfast.example/link/{token}"
        return 201, {
            "token": token,
            "code": str(next(self._codes)),
            "url": url,
            "expires_at": "2030-01-01T00:00:00Z",
        }

    async def _token_status(self, request: web.Request) -> Object:
        return {"status": self.tokens[request.match_info["token"]]["status"]}

    async def _send(self, request: web.Request) -> tuple[int, Object]:
        wish = await request.json()
        if self.refusals:
            raise self.refusals.pop(0)
        if (wish["kind"], wish["platform_id"]) not in self.linked:
            raise Refusal(403, "not_linked")
        if len(wish["text"]) > TOO_LONG:
            raise Refusal(413, "text_too_long", "At most 64,000 characters.")
        if known := self._by_client_id.get(wish["client_id"]):
            return 200, self._accepted(known)
        self.sent.append(wish)
        thread = (wish["kind"], wish["platform_id"], wish.get("thread_id", ""))
        message: Object = {"id": str(uuid.uuid4()), "queued": False, "held": False, "turn": ""}
        live = next((each for each in self.turns.values() if each.thread == thread and not each.terminal), None)
        if live:
            message["queued"] = True
            message["waiting_for"] = "approval" if live.status == "requires_action" else "turn"
            self.waiting.setdefault(thread, []).append(message)
        else:
            message["turn"] = self.begin(thread).id
        self._by_client_id[wish["client_id"]] = message
        return 202, self._accepted(message)

    def _accepted(self, message: Object) -> Object:
        shown = {"id": message["id"], "turn": message["turn"] or None, "held": message["held"]}
        if message["queued"]:
            waiting_for = message["waiting_for"]
            return {
                "queued": True,
                "message": shown,
                "position": 1,
                "delivery": "asap",
                "waiting_for": waiting_for,
            }
        return {"queued": False, "message": shown, "turn": self._shown(self.turns[message["turn"]])}

    def _shown(self, turn: StandInTurn) -> Object:
        shown: Object = {"id": turn.id, "status": turn.status}
        if turn.error:
            shown["error"] = turn.error
        if turn.next_turn:
            shown["next_turn"] = turn.next_turn
        return shown

    def _turn(self, request: web.Request) -> StandInTurn:
        turn = self.turns.get(request.match_info["turn"])
        if turn is None:
            raise Refusal(404, "not_found")
        return turn

    async def _get_turn(self, request: web.Request) -> Object:
        return self._shown(self._turn(request))

    async def _events(self, request: web.Request) -> Object:
        turn = self._turn(request)
        after, wait = int(request.query["after"]), float(request.query["wait"])
        try:
            async with asyncio.timeout(wait), self.news:
                while len(turn.events) <= after and not turn.terminal:
                    await self.news.wait()
        except TimeoutError:
            pass
        events = turn.events[after : after + 500]
        newest = events[-1]["seq"] if events else after
        return {"events": events, "next": newest, "terminal": turn.terminal and newest == len(turn.events)}

    async def _cancel(self, request: web.Request) -> Object:
        turn = self._turn(request)
        if turn.terminal:
            return {"cancelled": False, "confirmed": False}
        await turn.ends("cancelled", code="stopped", detail="Stopped.")
        return {"cancelled": True, "confirmed": True}

    async def _approvals(self, request: web.Request) -> Object:
        pending = [
            approval
            for turn in self.turns.values()
            for approval in turn.approvals.values()
            if approval["status"] == "pending"
        ]
        return {"results": pending, "next": None, "previous": None}

    async def _decide(self, request: web.Request) -> Object:
        wish, wanted = await request.json(), request.match_info["approval"]
        if not self.may_approve:
            raise Refusal(403, "scope")
        turn = next((each for each in self.turns.values() if wanted in each.approvals), None)
        if turn is None or self.linked.get(turn.thread[:2]) != wish["platform_user_id"]:
            raise Refusal(404, "not_found")
        approval = turn.approvals[wanted]
        if approval["status"] != "pending":
            raise Refusal(409, "already_decided")
        calls = {request["tool_call_id"] for request in approval["requests"]}
        if "answer" not in wish and calls != {each["tool_call_id"] for each in wish["decisions"]}:
            raise Refusal(400, "incomplete")
        self.decided.append(wish)
        said = {name: wish[name] for name in ("decisions", "answer") if name in wish}
        approval |= {"status": "decided", "decided_by": "ada", **said}
        turn.status = "running"
        await turn.emit({"type": "data-approval-decided", "data": {"approval": dict(approval)}})
        return approval
