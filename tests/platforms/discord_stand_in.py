"""What stands in for Discord: its REST API and its gateway on a local port, as strict as the real ones are.

It refuses what Discord would refuse, and keeps ``violations``: what a bot must never do, whatever comes of it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import WSCloseCode, WSMsgType, web

TOKEN = "made-up.discord.token"
ME = "900000000000000001"
APPLICATION = "900000000000000002"
OWN_ROLE = "900000000000000003"
GUILD = "700000000000000001"
INTENTS = 1 << 0 | 1 << 9 | 1 << 12 | 1 << 15

Object = dict[str, Any]


@dataclass
class Message:
    """A message as it stands in a channel, and every text that it ever had."""

    id: str
    channel: str
    content: str
    author: str
    components: list[Object] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    reply_to: str = ""

    @property
    def buttons(self) -> list[Object]:
        return [button for row in self.components for button in row["components"]]


@dataclass
class GatewaySession:
    """What a session got, and where it is connected now."""

    id: str
    events: list[Object] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None
    beats: int = 0


@dataclass
class Used:
    """An interaction and what was answered."""

    data: Object
    at: float
    answers: list[Object] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The last text of the answer."""
        texts = [str(answer.get("content") or "") for answer in self.answers]
        return next((text for text in reversed(texts) if text), "")


class DiscordStandIn:
    """Use it as an async context manager.

    Args:
        beat_seconds: how often the bot must send a heartbeat.
        bucket: requests that a channel takes in ``window`` seconds, of each kind.
    """

    def __init__(self, *, beat_seconds: float = 5.0, bucket: int = 5, window: float = 0.2) -> None:
        self.beat_seconds = beat_seconds
        self.bucket, self.window = bucket, window
        self.violations: list[str] = []
        self.messages: dict[str, Message] = {}
        self.channels: dict[str, Object] = {}
        self.typing: list[str] = []
        self.commands: list[Object] = []
        self.interactions: dict[str, Used] = {}
        self.sessions: dict[str, GatewaySession] = {}
        self.identifies: list[Object] = []
        self.resumes: list[Object] = []
        self.refusals = 0
        #: Turned by tests: people who take no direct messages; no acks; the next answers to REST requests; what
        #: ends the next connection right after its hello; whether the answer to the next message gets lost.
        self.shy: set[str] = set()
        self.deaf = False
        self.next_answers: list[tuple[int, Object, dict[str, str]]] = []
        self.close_next: int | None = None
        self.lose_next_answer = False
        self.repeated = 0
        self.starts_left = 1000
        self.resume_port = 0
        self._ids = itertools.count(1_000_000_000_000_000_001)
        self._times: dict[tuple[str, str], list[float]] = {}
        self._nonces: dict[tuple[str, str], str] = {}
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        api = "/api/v10"
        app.add_routes(
            [
                web.get(f"{api}/applications/@me", self._application),
                web.get(f"{api}/gateway/bot", self._gateway_bot),
                web.get(api + "/guilds/{guild}", self._guild),
                web.put(api + "/applications/{app}/commands", self._put_commands),
                web.post(f"{api}/users/@me/channels", self._open_private),
                web.post(api + "/channels/{channel}/messages", self._post_message),
                web.patch(api + "/channels/{channel}/messages/{message}", self._edit_message),
                web.delete(api + "/channels/{channel}/messages/{message}", self._delete_message),
                web.post(api + "/channels/{channel}/typing", self._typing),
                web.post(api + "/interactions/{id}/{token}/callback", self._callback),
                web.post(api + "/webhooks/{app}/{token}", self._follow_up),
                web.patch(api + "/webhooks/{app}/{token}/messages/@original", self._follow_up),
                web.get("/ws/", self._websocket),
                web.get("/resume/", self._websocket),
            ]
        )
        app.middlewares.append(self._guard)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in list(self.sessions.values()):
            if session.socket is not None and not session.socket.closed:
                await session.socket.close(code=WSCloseCode.GOING_AWAY)
        await self._runner.cleanup()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v10"

    def settings(self, **over: str) -> dict[str, str]:
        """Return the settings of an adapter of it."""
        return {
            "DISCORD_TOKEN": TOKEN,
            "DISCORD_API_URL": self.api_url,
            "DISCORD_PUBLIC_KEY": "",
            "DISCORD_WEBHOOK_LISTEN": "127.0.0.1:0",
            **over,
        }

    # What tests do.

    async def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait until ``condition()`` is true and return it; looked at after everything that happens here."""
        async with asyncio.timeout(seconds):
            while not (value := condition()):
                self._news.clear()
                await self._news.wait()
        return value

    def new_id(self) -> str:
        return str(next(self._ids))

    def private(self, person: str) -> str:
        """Return the id of the channel between the bot and a person."""
        for channel, data in self.channels.items():
            if data.get("recipient") == person:
                return channel
        channel = self.new_id()
        self.channels[channel] = {"recipient": person}
        return channel

    def public(self, guild: str = GUILD) -> str:
        """Return the id of a new channel of a server."""
        channel = self.new_id()
        self.channels[channel] = {"guild": guild}
        return channel

    def of_bot(self, channel: str) -> list[Message]:
        """Return what the bot wrote in a channel, in order."""
        return [each for each in self.messages.values() if each.channel == channel and each.author == ME]

    async def say(self, channel: str, person: str, text: str, **more: Any) -> str:
        """Have a person write a message; return its id. ``more`` are further fields of the event."""
        message = more.pop("id", "") or self.new_id()
        self.messages.setdefault(message, Message(message, channel, text, person))
        data = {
            "id": message,
            "type": 0,
            "channel_id": channel,
            "content": text,
            "author": {"id": person, "username": f"name{person[-2:]}"},
            "mentions": [{"id": ME}] if f"<@{ME}>" in text else [],
            "mention_roles": [],
            "attachments": [],
        }
        if guild := self.channels[channel].get("guild"):
            data["guild_id"] = guild
        await self.event("MESSAGE_CREATE", {**data, **more})
        return message

    def interaction(self, kind: int, channel: str, person: str, data: Object, message: str = "") -> Object:
        """Make an interaction and expect an answer to it."""
        made: Object = {
            "id": self.new_id(),
            "application_id": APPLICATION,
            "type": kind,
            "token": f"token-{next(self._ids)}",
            "channel_id": channel,
            "data": data,
            "version": 1,
        }
        user = {"id": person, "username": f"name{person[-2:]}"}
        if guild := self.channels[channel].get("guild"):
            made.update(guild_id=guild, member={"user": user, "nick": None})
        else:
            made["user"] = user
        if message:
            made["message"] = {"id": message, "author": {"id": ME}}
        self.interactions[made["token"]] = Used(made, time.monotonic())
        return made

    async def press(self, message: Message, label: str, person: str) -> Used:
        """Have a person press the button with this label; return what becomes of it."""
        button = next(each for each in message.buttons if each["label"] == label)
        data = {"custom_id": button["custom_id"], "component_type": 2}
        made = self.interaction(3, message.channel, person, data, message.id)
        await self.event("INTERACTION_CREATE", made)
        return self.interactions[made["token"]]

    async def command(self, channel: str, person: str, name: str, **options: str) -> Used:
        """Have a person use a slash command; return what becomes of it."""
        given = [{"name": key, "type": 3, "value": value} for key, value in options.items()]
        made = self.interaction(2, channel, person, {"id": "1", "name": name, "type": 1, "options": given})
        await self.event("INTERACTION_CREATE", made)
        return self.interactions[made["token"]]

    async def event(self, name: str, data: Object) -> None:
        """Send an event to every session; one that is away gets it when it resumes."""
        for session in list(self.sessions.values()):
            await self._dispatch(session, name, data)

    async def drop(self, code: int) -> None:
        """Close every connection."""
        for session in list(self.sessions.values()):
            if session.socket is not None:
                socket, session.socket = session.socket, None
                await socket.close(code=code)

    async def tell(self, op: int, data: Any = None) -> None:
        """Send something that is no event over every connection."""
        for session in list(self.sessions.values()):
            if session.socket is not None:
                await session.socket.send_json({"op": op, "d": data, "s": None, "t": None})

    # The gateway.

    async def _gateway_bot(self, _: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": self.starts_left, "reset_after": 100, "max_concurrency": 1}
        return web.json_response(
            {"url": f"ws://127.0.0.1:{self.port}/ws", "shards": 1, "session_start_limit": limit}
        )

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        if request.query.get("v") != "10" or request.query.get("encoding") != "json":
            await socket.close(code=4012)
            return socket
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": self.beat_seconds * 1000}})
        if self.close_next is not None:
            code, self.close_next = self.close_next, None
            await socket.close(code=code)
            return socket
        session: GatewaySession | None = None
        while True:
            # Two intervals without a heartbeat, and Discord closes.
            with suppress(TimeoutError):
                message = await socket.receive(timeout=self.beat_seconds * 2)
                if message.type != WSMsgType.TEXT:
                    break
                session = await self._received(socket, session, json.loads(message.data), request.path)
                self._news.set()
                continue
            await socket.close(code=4009)
            break
        if session is not None and session.socket is socket:
            session.socket = None
            if socket.close_code in (1000, 1001):
                del self.sessions[session.id]
        self._news.set()
        return socket

    async def _received(
        self, socket: web.WebSocketResponse, session: GatewaySession | None, message: Object, path: str
    ) -> GatewaySession | None:
        op, data = message["op"], message["d"]
        if op == 1:
            if session is not None:
                session.beats += 1
            if not self.deaf:
                await socket.send_json({"op": 11})
        elif op == 2:
            return await self._identify(socket, data)
        elif op == 6:
            return await self._resume(socket, data, path)
        else:
            await socket.close(code=4001)
        return session

    async def _identify(self, socket: web.WebSocketResponse, data: Object) -> GatewaySession | None:
        self.identifies.append(data)
        if data["token"] != TOKEN:
            await socket.close(code=4004)
            return None
        if data["intents"] != INTENTS:
            await socket.close(code=4014)
            return None
        session = GatewaySession(f"session{len(self.identifies)}", socket=socket)
        self.sessions[session.id] = session
        ready = {
            "v": 10,
            "user": {"id": ME, "username": "holdfast", "bot": True},
            "application": {"id": APPLICATION},
            "session_id": session.id,
            "resume_gateway_url": f"ws://127.0.0.1:{self.resume_port or self.port}/resume",
            "guilds": [{"id": GUILD, "unavailable": True}],
        }
        await self._dispatch(session, "READY", ready)
        roles = [{"id": OWN_ROLE, "name": "holdfast", "tags": {"bot_id": ME}}, {"id": GUILD, "name": "@everyone"}]
        await self._dispatch(session, "GUILD_CREATE", {"id": GUILD, "name": "The harbour", "roles": roles})
        return session

    async def _resume(self, socket: web.WebSocketResponse, data: Object, path: str) -> GatewaySession | None:
        self.resumes.append(data)
        if path != "/resume/":
            self.violations.append("resumed at another address than Discord named")
        session = self.sessions.get(data["session_id"])
        if session is None or data["token"] != TOKEN:
            await socket.send_json({"op": 9, "d": False})
            return None
        session.socket = socket
        for event in session.events[data["seq"] :]:
            await socket.send_json(event)
        await self._dispatch(session, "RESUMED", {})
        return session

    async def _dispatch(self, session: GatewaySession, name: str, data: Object) -> None:
        event = {"op": 0, "t": name, "s": len(session.events) + 1, "d": data}
        session.events.append(event)
        if session.socket is not None and not session.socket.closed:
            with suppress(ConnectionError):
                await session.socket.send_json(event)

    # The REST API.

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Check the token and the limits, and name them in the answer."""
        if not request.path.startswith("/api/"):
            return await handler(request)  # type: ignore[no-any-return]
        open_to_all = "/interactions/" in request.path or "/webhooks/" in request.path
        if not open_to_all and request.headers.get("Authorization") != f"Bot {TOKEN}":
            return web.json_response({"message": "401: Unauthorized", "code": 0}, status=401)
        if self.next_answers:
            status, body, headers = self.next_answers.pop(0)
            return web.json_response(body, status=status, headers=headers)
        limits, left = self._count(request)
        if left:
            self.refusals += 1
            body = {"message": "You are being rate limited.", "retry_after": left, "global": False}
            return web.json_response(body, status=429, headers={**limits, "Retry-After": str(int(left) + 1)})
        answer: web.StreamResponse = await handler(request)
        answer.headers.update(limits)
        self._news.set()
        return answer

    def _count(self, request: web.Request) -> tuple[dict[str, str], float]:
        channel = request.match_info.get("channel")
        if channel is None:
            return {}, 0.0
        kind = f"{request.method} {'typing' if request.path.endswith('typing') else 'messages'}"
        now = time.monotonic()
        times = [at for at in self._times.get((channel, kind), []) if at > now - self.window]
        left = times[0] + self.window - now if len(times) >= self.bucket else 0.0
        if not left:
            times.append(now)
        self._times[channel, kind] = times
        headers = {
            "X-RateLimit-Bucket": f"bucket-{kind.replace(' ', '-')}",
            "X-RateLimit-Limit": str(self.bucket),
            "X-RateLimit-Remaining": str(self.bucket - len(times)),
            "X-RateLimit-Reset-After": f"{times[0] + self.window - now:.3f}",
        }
        return headers, left

    def _refusal(self, body: Object) -> web.Response | None:
        """Return what is wrong with a message."""
        content = body.get("content") or ""
        buttons = [each for row in body.get("components") or () for each in row.get("components") or ()]
        if body.get("allowed_mentions", {}).get("parse") != []:
            self.violations.append("a message that may mention people")
        if len(content) > 2000:
            return _bad(50035, "content must be 2000 or fewer in length")
        if not content.strip() and not buttons:
            return _bad(50006, "Cannot send an empty message")
        if len(body.get("components") or ()) > 5 or any(
            not 1 <= len(row["components"]) <= 5 for row in body.get("components") or ()
        ):
            return _bad(50035, "components")
        ids = [button["custom_id"] for button in buttons]
        if len(set(ids)) != len(ids) or any(not 1 <= len(each) <= 100 for each in ids):
            return _bad(50035, "custom_id")
        if any(not 1 <= len(button["label"]) <= 80 or button["style"] not in (1, 2, 3, 4) for button in buttons):
            return _bad(50035, "label")
        return None

    async def _post_message(self, request: web.Request) -> web.Response:
        body, channel = await request.json(), request.match_info["channel"]
        data = self.channels.get(channel)
        if data is None:
            return _bad(10003, "Unknown Channel", 404)
        if data.get("recipient") in self.shy:
            return _bad(50007, "Cannot send messages to this user", 403)
        if refusal := self._refusal(body):
            return refusal
        nonce = str(body.get("nonce") or "")
        if len(nonce) > 25:
            return _bad(50035, "nonce")
        if body.get("enforce_nonce") and (channel, nonce) in self._nonces:
            self.repeated += 1
            return web.json_response({"id": self._nonces[channel, nonce], "channel_id": channel})
        reference = body.get("message_reference") or {}
        if (
            reference
            and reference["message_id"] not in self.messages
            and reference.get("fail_if_not_exists", True)
        ):
            return _bad(50035, "Unknown message")
        made = Message(self.new_id(), channel, body["content"], ME, body.get("components") or [])
        made.texts.append(made.content)
        made.reply_to = reference.get("message_id", "")
        self.messages[made.id] = made
        self._nonces[channel, nonce] = made.id
        if self.lose_next_answer and request.transport:
            self.lose_next_answer = False
            request.transport.close()
        return web.json_response({"id": made.id, "channel_id": channel})

    async def _edit_message(self, request: web.Request) -> web.Response:
        body, message = await request.json(), self.messages.get(request.match_info["message"])
        if message is None or message.channel != request.match_info["channel"]:
            return _bad(10008, "Unknown Message", 404)
        if message.author != ME:
            return _bad(50005, "Cannot edit a message authored by another user", 403)
        if refusal := self._refusal(body):
            return refusal
        message.content = body["content"]
        message.texts.append(message.content)
        if "components" in body:
            message.components = body["components"]
        return web.json_response({"id": message.id, "channel_id": message.channel})

    async def _delete_message(self, request: web.Request) -> web.Response:
        if self.messages.pop(request.match_info["message"], None) is None:
            return _bad(10008, "Unknown Message", 404)
        return web.Response(status=204)

    async def _typing(self, request: web.Request) -> web.Response:
        self.typing.append(request.match_info["channel"])
        return web.Response(status=204)

    async def _open_private(self, request: web.Request) -> web.Response:
        person = str((await request.json())["recipient_id"])
        return web.json_response({"id": self.private(person), "type": 1})

    async def _application(self, _: web.Request) -> web.Response:
        return web.json_response({"id": APPLICATION, "name": "holdfast", "bot": {"id": ME}})

    async def _guild(self, request: web.Request) -> web.Response:
        if request.match_info["guild"] != GUILD:
            return _bad(10004, "Unknown Guild", 404)
        return web.json_response({"id": GUILD, "name": "The harbour"})

    async def _put_commands(self, request: web.Request) -> web.Response:
        if request.match_info["app"] != APPLICATION:
            return _bad(10002, "Unknown Application", 404)
        self.commands = await request.json()
        return web.json_response(self.commands)

    async def _callback(self, request: web.Request) -> web.Response:
        used = self.interactions.get(request.match_info["token"])
        if used is None or used.data["id"] != request.match_info["id"] or time.monotonic() - used.at > 3:
            return _bad(10062, "Unknown interaction", 404)
        if used.answers:
            return _bad(40060, "Interaction has already been acknowledged.")
        body = await request.json()
        used.answers.append({"type": body["type"], **(body.get("data") or {})})
        self._must_be_quiet(body.get("data") or {})
        return web.Response(status=204)

    async def _follow_up(self, request: web.Request) -> web.Response:
        used = self.interactions.get(request.match_info["token"])
        if used is None or not used.answers or request.match_info["app"] != APPLICATION:
            return _bad(10015, "Unknown Webhook", 404)
        body = await request.json()
        used.answers.append(body)
        self._must_be_quiet(body)
        return web.json_response({"id": self.new_id()})

    def _must_be_quiet(self, data: Object) -> None:
        if data.get("content") and data.get("allowed_mentions", {}).get("parse") != []:
            self.violations.append("an answer that may mention people")


def _bad(code: int, words: str, status: int = 400) -> web.Response:
    return web.json_response({"message": words, "code": code}, status=status)
