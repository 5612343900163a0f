"""Slack's Web API.

A refusal for haste holds for one method in one workspace.
"""

from __future__ import annotations

import time
from typing import Any, Self

import aiohttp

from linking.platforms import slack_wire as wire
from linking.platforms.asking import patiently, read_object, read_seconds
from linking.platforms.base import Refused, TooFast, Unavailable

#: Seconds after which no answer comes any more.
TIMEOUT_SECONDS = 15.0
#: Errors that a second try mends.
_PASSING = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"}
)
#: Errors of a token, with the mend: no request with it will ever be answered.
TOKEN_ERRORS = {
    "not_authed": "Slack was sent no token. Set SLACK_BOT_TOKEN and SLACK_APP_TOKEN.",
    "invalid_auth": "Slack does not know the token. Set SLACK_BOT_TOKEN (xoxb-…) and SLACK_APP_TOKEN (xapp-…).",
    "account_inactive": "The app was removed from the workspace. Install it again and set SLACK_BOT_TOKEN.",
    "token_revoked": "The token was revoked. Install the app again and set SLACK_BOT_TOKEN.",
    "token_expired": "The token has expired. Switch token rotation off for the app, and set SLACK_BOT_TOKEN.",
    "not_allowed_token_type": "The tokens are mixed up: SLACK_BOT_TOKEN is xoxb-…, SLACK_APP_TOKEN is xapp-….",
    "missing_scope": "The app lacks a permission (scope) of docs/platforms.md. Add it and install the app again.",
    "forbidden_team": "The workspace may not use this app. Ask an administrator of the workspace.",
}


class SlackRefused(Refused):
    """Slack will not do this; ``error`` is its word for why."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"{method}: {TOKEN_ERRORS.get(error) or error}")
        self.error = error

    @property
    def is_lasting(self) -> bool:
        """Whether no request with this token will ever be answered."""
        return self.error in TOKEN_ERRORS


class SlackWeb:
    """Sends requests with one token. Use it as an async context manager.

    Args:
        token: the bot's (``xoxb-…``), or the app's (``xapp-…``) to open sockets.
    """

    def __init__(self, token: str, url: str = wire.API_URL) -> None:
        self._url = url.rstrip("/") + "/"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._held: dict[str, float] = {}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # The token goes with single requests: addresses that answer a command must not get it.
        limit = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self._http = aiohttp.ClientSession(timeout=limit, trust_env=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def ask(
        self, method: str, body: dict[str, Any] | None = None, *, patience: float = 0.0
    ) -> dict[str, Any]:
        """Call a method and return its answer.

        Args:
            patience: seconds for which it is tried again when Slack asks to wait, fails or is not reached.

        Raises:
            TooFast, Unavailable, SlackRefused: it was not done.
        """
        return await patiently(lambda: self._ask(method, body or {}), patience)

    async def _ask(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        if (left := self._held.get(method, 0.0) - time.monotonic()) > 0:
            raise TooFast(left)
        status, retry_after, raw = await self._post(self._url + method, body, self._headers)
        found = read_object(raw) or {}
        if status < 300 and found.get("ok"):
            return found
        error = str(found.get("error") or ("ratelimited" if status == 429 else f"status_{status}"))
        if error == "ratelimited":
            seconds = read_seconds(retry_after)
            self._held[method] = time.monotonic() + seconds
            raise TooFast(seconds)
        if error in _PASSING or status >= 500:
            raise Unavailable(f"{method}: {error}")
        raise SlackRefused(method, error)

    async def answer(self, url: str, body: dict[str, Any]) -> None:
        """Answer a command or a button at the address that came with it.

        It takes 5 answers within 30 minutes.

        Raises:
            Unavailable, SlackRefused: the answer was not taken.
        """
        status, _, _ = await self._post(url, body, {})
        if status >= 500:
            raise Unavailable(f"status {status}")
        if status >= 300:
            raise SlackRefused("response_url", f"status_{status}")

    async def _post(self, url: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, str, bytes]:
        """Return the status, how long to wait, and the body of the answer."""
        assert self._http is not None, "use it as a context manager"  # noqa: S101 # how it is meant to be used
        try:
            async with self._http.post(url, json=body, headers=headers, allow_redirects=False) as answer:
                return answer.status, answer.headers.get("Retry-After", ""), await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable(type(error).__name__) from None  # its text may have an answer's address in it
