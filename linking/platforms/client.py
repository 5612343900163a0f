"""Holdfast's REST API for bots, as an outside program uses it."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from linking.platforms.base import Person, Place

#: Seconds that a call may take beyond what it waits for.
TIMEOUT_SECONDS = 20.0
#: The longest wait that the API takes.
WAIT_SECONDS = 25

Object = dict[str, Any]


class ApiError(Exception):
    """Holdfast refused: ``status``, ``code``, ``detail`` (for people) and ``fields`` as in its error body."""

    def __init__(self, status: int, code: str, detail: str, fields: Object, retry_after: float | None) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.detail = detail
        self.fields = fields
        self.retry_after = retry_after


class Unreachable(Exception):
    """Holdfast did not answer, or is too busy or broken to: the same call may be repeated."""


@dataclass(frozen=True, slots=True)
class LinkToken:
    """An invitation to link: where to go, and the code to type there."""

    token: str
    code: str
    url: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a message: it began or joined ``turn``, or it waits (``turn`` is empty) for something."""

    message: str
    turn: str
    queued: bool
    held: bool
    waiting_for: str = ""


@dataclass(frozen=True, slots=True)
class Events:
    """A page of a turn's events; ``next`` is the value for the next ``after``."""

    events: list[Object]
    next: int
    terminal: bool


class Holdfast:
    """A client with a bot's key. Use it as a context manager.

    Every call raises ``ApiError`` or ``Unreachable``.

    Args:
        url: where Holdfast is, without a path: ``https://holdfast.example``.
        key: the bot's key, ``hfb_…``.
    """

    def __init__(self, url: str, key: str) -> None:
        self._base = f"{url.rstrip('/')}/api/v1/bot/"
        self._headers = {"Authorization": f"Bearer {key}"}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # As many long polls as turns that are followed: each holds a connection.
        self._http = aiohttp.ClientSession(
            headers=self._headers, connector=aiohttp.TCPConnector(limit=0), raise_for_status=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def is_linked(self, place: Place) -> bool:
        """Tell whether somebody linked the person of a private chat, or the group."""
        return await self.is_linked_id(place.kind, place.platform_id)

    async def is_linked_id(self, kind: str, platform_id: str) -> bool:
        """Tell the same of an id."""
        found = await self._call("POST", "links/resolve", {"kind": kind, "platform_id": platform_id})
        return bool(found["linked"])

    async def link_token(self, place: Place, person: Person, place_name: str = "") -> LinkToken:
        """Make an invitation to link ``place``, which ``person`` asked for; older ones of it die.

        Raises:
            ApiError: 409 ``already_linked``.
        """
        wish = {
            "kind": place.kind,
            "platform_id": place.platform_id,
            "platform_name": place_name or (person.name if place.kind == "user" else ""),
            "platform_user_id": person.id,
            "platform_user_name": person.name,
        }
        made = await self._call("POST", "link-tokens", {name: value for name, value in wish.items() if value})
        return LinkToken(made["token"], str(made["code"]), made["url"])

    async def link_status(self, token: str) -> str:
        """Return ``pending``, ``linked`` or ``expired``."""
        return str((await self._call("GET", f"link-tokens/{token}"))["status"])

    async def send(self, place: Place, person: Person, text: str, client_id: str) -> Accepted:
        """Hand over a message. The same ``client_id`` again is the same message, and tells what became of it.

        Raises:
            ApiError: 403 ``not_linked``; 409 ``queue_full``; 413; 429; 400 ``refused_text``.
        """
        wish = {
            "kind": place.kind,
            "platform_id": place.platform_id,
            "thread_id": place.thread_id,
            "platform_user_id": person.id,
            "author": person.name,
        }
        body = {name: value for name, value in wish.items() if value}
        found = await self._call("POST", "turns", {**body, "text": text, "client_id": client_id})
        message, turn = found["message"], found.get("turn")
        turn_id = str(turn["id"]) if turn else str(message.get("turn") or "")
        queued, held = bool(found["queued"]), bool(message.get("held"))
        return Accepted(str(message["id"]), turn_id, queued, held, str(found.get("waiting_for") or ""))

    async def turn(self, turn: str) -> Object:
        """Return a turn of this bot."""
        return await self._call("GET", f"turns/{turn}")

    async def events(self, turn: str, after: int, wait: int = WAIT_SECONDS) -> Events:
        """Return a turn's events after a cursor; with none yet, wait up to ``wait`` seconds."""
        found = await self._call("GET", f"turns/{turn}/events?after={after}&wait={wait}", wait=wait)
        return Events(found["events"], int(found["next"]), bool(found["terminal"]))

    async def cancel(self, turn: str) -> bool:
        """Stop a turn; return whether there was anything to stop."""
        return bool((await self._call("POST", f"turns/{turn}/cancel", {}))["cancelled"])

    async def decide(self, approval: str, person: Person, decision: Object) -> Object:
        """Pass on what a person decided: ``{"decisions": […]}`` or ``{"answer": …}``; return the approval.

        Raises:
            ApiError: 404 when it is not theirs to decide; 403 ``scope``; 409 when it is decided or over.
        """
        body = {**decision, "platform_user_id": person.id}
        return await self._call("POST", f"approvals/{approval}/decide", body)

    async def _call(self, method: str, path: str, body: Object | None = None, *, wait: float = 0) -> Object:
        assert self._http is not None, "use it as a context manager"  # noqa: S101 # how it is meant to be used
        limit = aiohttp.ClientTimeout(total=wait + TIMEOUT_SECONDS)
        try:
            async with self._http.request(method, self._base + path, json=body, timeout=limit) as answer:
                status, headers = answer.status, answer.headers
                found = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(type(error).__name__) from None  # its text may have a link token in it
        except ValueError:  # a proxy's page, perhaps
            raise Unreachable("the answer is no JSON") from None
        if status < 400 and isinstance(found, dict):
            return found
        if status >= 500 or not isinstance(found, dict):
            raise Unreachable(f"status {status}")
        raise ApiError(
            status,
            str(found.get("code", "")),
            str(found.get("detail", "")),
            dict(found.get("fields") or {}),
            _seconds(headers.get("Retry-After")),
        )


def _seconds(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None
