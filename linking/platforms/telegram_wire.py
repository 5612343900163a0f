"""Telegram's Bot API over HTTP."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import aiohttp

from linking.platforms.base import PlatformError, Refused, TooFast, Unavailable

#: Seconds that a call may take beyond what it waits for.
TIMEOUT_SECONDS = 20.0
#: Waited after a limit was met for which Telegram names no time, in seconds.
TOO_FAST_SECONDS = 3.0


class BadMarkup(Refused):
    """Telegram cannot read the markup of a text, or finds it too long."""


class NotModified(Refused):
    """The message says that already."""


class BadToken(PlatformError):
    """Telegram does not know the token."""


class Moved(PlatformError):
    """The group has a new id."""

    def __init__(self, chat: str) -> None:
        super().__init__("the group has a new id")
        self.chat = chat


class Wire:
    """Calls of one bot. Use it as a context manager.

    Addresses of calls hold the token: they are in no message of an error and no log line.
    """

    def __init__(self, token: str, url: str) -> None:
        self._base = f"{url.rstrip('/')}/bot{token}/"
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Some places reach Telegram only by a proxy that the environment names.
        self._http = aiohttp.ClientSession(trust_env=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def call(self, method: str, parameters: dict[str, Any] | None = None, *, wait: float = 0) -> Any:
        """Make a call; return its result. None as a value leaves a parameter out.

        Raises:
            TooFast, Unavailable, Refused, BadMarkup, NotModified, Moved, BadToken: as Telegram answers.
        """
        assert self._http is not None, "use it as a context manager"  # noqa: S101 # how it is meant to be used
        body = {name: value for name, value in (parameters or {}).items() if value is not None}
        limit = aiohttp.ClientTimeout(total=wait + TIMEOUT_SECONDS)
        try:
            async with self._http.post(self._base + method, json=body, timeout=limit) as answer:
                status, found = answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(type(error).__name__) from None  # its text has the address in it
        except ValueError:
            raise Unavailable("the answer is no JSON") from None
        if not isinstance(found, dict):
            raise Unavailable(f"status {status}")
        if found.get("ok"):
            return found.get("result")
        raise _failure(int(found.get("error_code") or status), found)


def _failure(status: int, found: dict[str, Any]) -> PlatformError:
    said = str(found.get("description", ""))
    text, more = said.lower(), found.get("parameters") or {}
    if status == 429:
        return TooFast(float(more.get("retry_after") or TOO_FAST_SECONDS))
    if status in (401, 404):
        return BadToken(said)
    if status >= 500 or status == 409:
        return Unavailable(said)
    if "migrate_to_chat_id" in more:
        return Moved(str(more["migrate_to_chat_id"]))
    if "not modified" in text:
        return NotModified(said)
    if "parse entities" in text or "too long" in text or "too_long" in text:
        return BadMarkup(said)
    return Refused(said)
