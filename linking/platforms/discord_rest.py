"""Discord's REST API, within its rate limits.

Discord counts by buckets that it names in its answers: a route learns its bucket from the first one. A request
whose bucket is used up is not sent at all, because too many refused requests get the address banned.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from common.version import VERSION
from linking.platforms import discord_wire as wire
from linking.platforms.asking import patiently, read_object, read_seconds
from linking.platforms.base import Refused, TooFast, Unavailable

#: Seconds after which no answer comes any more.
TIMEOUT_SECONDS = 15.0
#: Buckets that are remembered; those whose window has ended are then forgotten.
BUCKETS_MAX = 1000

_IDS = re.compile(r"\d{15,}")
#: What follows one of these in a path has limits of its own.
_MAJOR = re.compile(r"/(?:channels|guilds)/[^/]+|/(?:interactions|webhooks)/[^/]+/[^/]+")


class DiscordRefused(Refused):
    """Discord will not do this: ``status`` of the answer, and Discord's own ``code`` (0 if there was none)."""

    def __init__(self, status: int, code: int, words: str) -> None:
        super().__init__(f"Discord answered {status} ({code}): {words}")
        self.status = status
        self.code = code


@dataclass(slots=True)
class _Bucket:
    """How many requests Discord takes in a window, how many more in this one, and when (monotonic) it ends."""

    limit: int = 1
    window: float = 0.0
    remaining: int = 1
    resets_at: float = 0.0

    def seconds(self, now: float) -> float:
        """Return for how long nothing may be sent; begins a new window when the last one has ended."""
        if self.resets_at <= now:
            self.remaining, self.resets_at = self.limit, now + self.window
        return self.resets_at - now if self.remaining <= 0 else 0.0


@dataclass(slots=True)
class Limits:
    """What Discord said about its rate limits."""

    _names: dict[str, str] = field(default_factory=dict)
    _buckets: dict[str, _Bucket] = field(default_factory=dict)
    _everything_at: float = 0.0

    def admit(self, route: str, major: str) -> None:
        """Count a request that is about to be sent.

        Raises:
            TooFast: it must not be sent yet.
        """
        bucket, now = self._buckets.get(self._key(route, major)), time.monotonic()
        seconds = max(bucket.seconds(now) if bucket else 0.0, self._everything_at - now)
        if seconds > 0:
            raise TooFast(seconds)
        if bucket:
            bucket.remaining -= 1

    def _key(self, route: str, major: str) -> str:
        return f"{self._names.get(route, route)} {major}"

    def _bucket(self, route: str, major: str) -> _Bucket:
        if len(self._buckets) >= BUCKETS_MAX:
            # Answers to interactions have a bucket each, which is of no use later.
            now = time.monotonic()
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.resets_at > now}
        return self._buckets.setdefault(self._key(route, major), _Bucket())

    def learn(self, route: str, major: str, headers: Mapping[str, str]) -> None:
        """Take in what an answer says about the route's bucket."""
        if name := headers.get("X-RateLimit-Bucket"):
            self._names[route] = name
        try:
            remaining, limit = int(headers["X-RateLimit-Remaining"]), int(headers["X-RateLimit-Limit"])
            after = float(headers["X-RateLimit-Reset-After"])
        except (KeyError, ValueError):
            return
        bucket, now = self._bucket(route, major), time.monotonic()
        # Answers overtake each other: within a window only a smaller count is news.
        fresh = bucket.resets_at <= now
        bucket.remaining = remaining if fresh else min(bucket.remaining, remaining)
        bucket.limit, bucket.window = max(limit, 1), max(bucket.window, after)
        bucket.resets_at = now + after

    def refused(self, route: str, major: str, seconds: float, *, everything: bool) -> None:
        """Send nothing on this route, or on any, for so many seconds."""
        at = time.monotonic() + seconds
        if everything:
            self._everything_at = max(self._everything_at, at)
            return
        bucket = self._bucket(route, major)
        bucket.remaining, bucket.resets_at = 0, max(bucket.resets_at, at)


class DiscordRest:
    """Sends requests as the bot. Use it as an async context manager.

    Args:
        token: the bot's.
        url: of the API, with its version.
    """

    def __init__(self, token: str, url: str = wire.API_URL) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bot {token}", "User-Agent": f"DiscordBot (holdfast, {VERSION})"}
        self._limits = Limits()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        limit = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self._http = aiohttp.ClientSession(headers=self._headers, timeout=limit, trust_env=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def ask(self, method: str, path: str, body: Any = None, *, patience: float = 0.0) -> Any:
        """Send a request and return its answer, None if that is empty.

        Args:
            patience: seconds for which it is tried again when Discord asks to wait, fails or is not reached.

        Raises:
            TooFast, Unavailable, DiscordRefused: it was not done.
        """
        return await patiently(lambda: self._ask(method, path, body), patience)

    async def _ask(self, method: str, path: str, body: Any) -> Any:
        assert self._http is not None, "use it as a context manager"  # noqa: S101 # how it is meant to be used
        found = _MAJOR.match(path)
        major = found.group() if found else ""
        route = f"{method} {_IDS.sub('{id}', path.removeprefix(major))}"
        self._limits.admit(route, major)
        try:
            async with self._http.request(method, self._url + path, json=body) as answer:
                status, headers, raw = answer.status, answer.headers, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(type(error).__name__) from None  # its text may have an interaction's token in it
        self._limits.learn(route, major, headers)
        if status < 300:
            return json.loads(raw) if raw else None
        said = read_object(raw) or {}
        if status == 429:
            seconds = read_seconds(said.get("retry_after") or headers.get("Retry-After"))
            everything = bool(said.get("global")) or headers.get("X-RateLimit-Global", "").lower() == "true"
            self._limits.refused(route, major, seconds, everything=everything)
            raise TooFast(seconds)
        if status >= 500:
            raise Unavailable(f"Discord answered {status}")
        code = said.get("code")
        raise DiscordRefused(status, code if isinstance(code, int) else 0, str(said.get("message") or "no reason"))
