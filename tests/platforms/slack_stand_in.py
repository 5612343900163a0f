"""What stands in for Slack: its Web API and Socket Mode on a local port, as strict as the real ones are.

Events go over sockets, or signed to an address (``post``). ``violations`` are what a bot must never do.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType, web

BOT_TOKEN = "xoxb-made-up"
APP_TOKEN = "xapp-made-up"
SECRET = "0123456789abcdef0123456789abcdef"
ME = "U0BOT"
TEAM = "T0TEAM"
APP = "A0APP"

Object = dict[str, Any]
#: What Slack makes a mention or a link of; everything else between these marks is a mistake in escaping.
_MARKED = re.compile(r"<(?!https?://|mailto:)[^<>]*>")


@dataclass
class Message:
    """A message as it stands in a channel, and every text that it ever had."""

    ts: str
    channel: str
    text: str
    user: str
    thread: str = ""
    blocks: list[Object] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def buttons(self) -> list[Object]:
        return [each for block in self.blocks if block["type"] == "actions" for each in block["elements"]]


class SlackStandIn:
    """Use it as an async context manager.

    Args:
        per_channel: messages, and changes of them, that are taken in ``window`` seconds in one channel.
    """

    def __init__(self, *, per_channel: int = 5, window: float = 0.2) -> None:
        self.per_channel, self.window = per_channel, window
        self.violations: list[str] = []
        self.messages: list[Message] = []
        self.whispers: list[Object] = []
        self.answers: list[Object] = []
        self.acks: list[str] = []
        self.reactions: set[tuple[str, str]] = set()
        self.people = {"U0ADA": "Ada Lovelace"}
        self.sockets: list[web.WebSocketResponse] = []
        self.opened = 0
        self.refusals = 0
        #: Turned by tests: people who take no direct messages; what methods answer instead; no acks count.
        self.shy: set[str] = set()
        self.next_errors: dict[str, list[str]] = {}
        self._ids = itertools.count(1)
        self._times: dict[tuple[str, str], list[float]] = {}
        self._news = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(
            [
                web.post("/api/{method}", self._method),
                web.get("/socket", self._socket),
                web.post("/answers/{id}", self._answer),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()
        for socket in list(self.sockets):
            await socket.close()
        await self._runner.cleanup()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    # What tests do.

    async def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait until ``condition()`` is true and return it; looked at after everything that happens here."""
        async with asyncio.timeout(seconds):
            while not (value := condition()):
                self._news.clear()
                await self._news.wait()
        return value

    def new_ts(self) -> str:
        return f"1700000000.{next(self._ids):06}"

    def of_bot(self, channel: str) -> list[Message]:
        """Return what the bot wrote in a channel, in order."""
        return [each for each in self.messages if each.channel == channel and each.user == ME]

    def message(self, channel: str, person: str, text: str, **more: Any) -> Object:
        """Have a person write a message; return the event of it. ``more`` are further fields of the event."""
        private = channel.startswith("D")
        ts = more.pop("ts", "") or self.new_ts()
        self.messages.append(Message(ts, channel, text, person, more.get("thread_ts", "")))
        event = {
            "type": "message" if private else "app_mention",
            "user": person,
            "text": text,
            "ts": ts,
            "team": TEAM,
            "channel": channel,
            "event_ts": ts,
            **({"channel_type": "im"} if private else {}),
            **more,
        }
        return {
            "type": "event_callback",
            "team_id": TEAM,
            "api_app_id": APP,
            "event": event,
            "event_id": f"Ev{next(self._ids)}",
            "event_time": 1700000000,
        }

    def pressed(self, message: Message, label: str, person: str) -> Object:
        """Have a person press the button with this label; return what Slack says of it."""
        button = next(each for each in message.buttons if each["text"]["text"] == label)
        box = {"type": "message", "message_ts": message.ts, "channel_id": message.channel, "is_ephemeral": False}
        return {
            "type": "block_actions",
            "user": {"id": person, "username": f"name{person[-2:]}", "team_id": TEAM},
            "api_app_id": APP,
            "team": {"id": TEAM, "domain": "harbour"},
            "channel": {"id": message.channel, "name": "general"},
            "container": {**box, **({"thread_ts": message.thread} if message.thread else {})},
            "message": {"ts": message.ts, "text": message.text},
            "actions": [{"type": "button", "action_id": button["action_id"], "value": button["value"]}],
            "response_url": f"http://127.0.0.1:{self.port}/answers/{next(self._ids)}",
            "trigger_id": "1.2.3",
        }

    def command(self, channel: str, person: str, name: str, text: str = "") -> Object:
        """Have a person use a slash command; return what Slack says of it."""
        return {
            "command": f"/{name}",
            "text": text,
            "team_id": TEAM,
            "channel_id": channel,
            "channel_name": "directmessage" if channel.startswith("D") else "general",
            "user_id": person,
            "user_name": f"name{person[-2:]}",
            "api_app_id": APP,
            "response_url": f"http://127.0.0.1:{self.port}/answers/{next(self._ids)}",
            "trigger_id": "1.2.3",
        }

    async def send(self, kind: str, payload: Object) -> str:
        """Send an envelope over the newest socket that is open; return its id."""
        socket = await self.until(lambda: next((each for each in reversed(self.sockets) if not each.closed), None))
        envelope = f"envelope{next(self._ids)}"
        await socket.send_json(
            {"envelope_id": envelope, "type": kind, "payload": payload, "accepts_response_payload": False}
        )
        return envelope

    async def post(self, url: str, kind: str, payload: Object, **headers: str) -> tuple[int, str]:
        """Send the same to an address, signed; return the answer."""
        assert self._session is not None
        if kind == "events_api":
            content, body = "application/json", json.dumps(payload).encode()
        else:
            content = "application/x-www-form-urlencoded"
            form = payload if kind == "slash_commands" else {"payload": json.dumps(payload)}
            body = urlencode(form).encode()
        sent = {"Content-Type": content, **signed(body), **headers}
        async with self._session.post(url, data=body, headers=sent) as answer:
            return answer.status, await answer.text()

    async def disconnect(self, reason: str) -> None:
        """Announce on every socket that it ends."""
        for socket in self.sockets:
            if not socket.closed:
                await socket.send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "x"}})

    async def hang_up(self) -> None:
        """Close every socket."""
        for socket in list(self.sockets):
            await socket.close()

    # Socket Mode.

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        await socket.send_json({"type": "hello", "num_connections": len(self.sockets)})
        self._news.set()
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                self.acks.append(json.loads(message.data)["envelope_id"])
                self._news.set()
        self.sockets.remove(socket)
        self._news.set()
        return socket

    # The Web API.

    async def _method(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if planned := self.next_errors.get(method):
            return _error(planned.pop(0))
        if token != (APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN):
            known = token in (APP_TOKEN, BOT_TOKEN)
            return _error("not_allowed_token_type" if known else "invalid_auth")
        body = await request.json()
        if left := self._left(method, body):
            self.refusals += 1
            return web.json_response(
                {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": f"{left:.3f}"}
            )
        made = {
            "apps.connections.open": self._open,
            "auth.test": self._auth,
            "chat.postMessage": self._post_message,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "chat.postEphemeral": self._whisper,
            "conversations.open": self._open_private,
            "users.info": self._person,
            "reactions.add": self._add_reaction,
            "reactions.remove": self._remove_reaction,
        }.get(method)
        answer = made(body) if made else _error("unknown_method")
        self._news.set()
        return answer

    def _left(self, method: str, body: Object) -> float:
        if method not in ("chat.postMessage", "chat.update"):
            return 0.0
        now, key = time.monotonic(), (method, str(body.get("channel")))
        times = [at for at in self._times.get(key, []) if at > now - self.window]
        left = times[0] + self.window - now if len(times) >= self.per_channel else 0.0
        self._times[key] = times if left else [*times, now]
        return left

    def _open(self, _: Object) -> web.Response:
        self.opened += 1
        return _ok(url=f"ws://127.0.0.1:{self.port}/socket?ticket={self.opened}")

    def _auth(self, _: Object) -> web.Response:
        return _ok(user_id=ME, team_id=TEAM, team="The harbour", bot_id="B0BOT")

    def _open_private(self, body: Object) -> web.Response:
        person = str(body["users"])
        if person in self.shy:
            return _error("user_disabled")
        return _ok(channel={"id": f"D{person}"})

    def _person(self, body: Object) -> web.Response:
        if body["user"] not in self.people:
            return _error("user_not_found")
        return _ok(user={"id": body["user"], "real_name": self.people[body["user"]], "profile": {}})

    def _add_reaction(self, body: Object) -> web.Response:
        key = (body["channel"], body["timestamp"])
        if not any((each.channel, each.ts) == key for each in self.messages):
            return _error("message_not_found")
        self.reactions.add(key)
        return _ok()

    def _remove_reaction(self, body: Object) -> web.Response:
        self.reactions.discard((body["channel"], body["timestamp"]))
        return _ok()

    def _refusal(self, body: Object, most: int) -> str:
        text, blocks = str(body.get("text") or ""), body.get("blocks") or []
        if not text.strip() and not blocks:
            return "no_text"
        if len(text) > most:
            return "msg_too_long"
        shown = [block["text"]["text"] for block in blocks if block["type"] == "section"]
        if any(len(each) > 3000 for each in shown) or len(blocks) > 50:
            return "invalid_blocks"
        buttons = [each for block in blocks if block["type"] == "actions" for each in block["elements"]]
        if any(len(block["elements"]) > 25 for block in blocks if block["type"] == "actions"):
            return "invalid_blocks"
        if any(len(each["value"]) > 2000 or not 1 <= len(each["text"]["text"]) <= 75 for each in buttons):
            return "invalid_blocks"
        if len({each["action_id"] for each in buttons}) != len(buttons):
            return "invalid_blocks"
        if any(block["text"].get("verbatim") is not True for block in blocks if block["type"] == "section"):
            self.violations.append("a text in which Slack would look for names")
        if body.get("parse") != "none" or body.get("link_names") is not False:
            self.violations.append("a text in which Slack would look for names")
        if any(_MARKED.search(each) for each in (text, *shown)):
            self.violations.append("a mention that nobody made")
        return ""

    def _post_message(self, body: Object) -> web.Response:
        if refusal := self._refusal(body, 40_000):
            return _error(refusal)
        if body.get("unfurl_links") is not False or body.get("unfurl_media") is not False:
            self.violations.append("a link that Slack would open")
        thread = str(body.get("thread_ts") or "")
        if thread and not any(each.ts == thread for each in self.messages):
            return _error("thread_not_found")
        made = Message(self.new_ts(), body["channel"], body["text"], ME, thread, body.get("blocks") or [])
        made.texts.append(made.text)
        self.messages.append(made)
        return _ok(ts=made.ts, channel=made.channel)

    def _update(self, body: Object) -> web.Response:
        found = next((each for each in self.messages if each.ts == body["ts"]), None)
        if found is None or found.channel != body["channel"]:
            return _error("message_not_found")
        if found.user != ME:
            return _error("cant_update_message")
        if refusal := self._refusal(body, 4_000):
            return _error(refusal)
        found.text, found.blocks = body["text"], body.get("blocks") or []
        found.texts.append(found.text)
        return _ok(ts=found.ts, channel=found.channel, text=found.text)

    def _delete(self, body: Object) -> web.Response:
        found = next((each for each in self.messages if each.ts == body["ts"]), None)
        if found is None or found.user != ME:
            return _error("message_not_found")
        self.messages.remove(found)
        return _ok(ts=found.ts, channel=found.channel)

    def _whisper(self, body: Object) -> web.Response:
        if refusal := self._refusal(body, 40_000):
            return _error(refusal)
        self.whispers.append(body)
        return _ok(message_ts=self.new_ts())

    async def _answer(self, request: web.Request) -> web.Response:
        if "Authorization" in request.headers:
            self.violations.append("a token sent to an answering address")
        body = await request.json()
        if body.get("response_type") != "ephemeral":
            self.violations.append("an answer for all to see")
        self.answers.append(body)
        self._news.set()
        return web.Response(text="ok")


def signed(body: bytes, *, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """Return the headers by which Slack signs a request."""
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": f"v0={digest}"}


def _ok(**more: Any) -> web.Response:
    return web.json_response({"ok": True, **more})


def _error(name: str) -> web.Response:
    return web.json_response({"ok": False, "error": name})
