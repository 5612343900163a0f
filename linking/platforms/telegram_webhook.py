"""Updates that Telegram delivers itself."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from aiohttp import web

from linking.platforms.base import SetupError
from linking.platforms.client import Unreachable

log = logging.getLogger(__name__)

#: Bytes of an update; Telegram's are far smaller.
BODY_MAX = 1_000_000
#: Seconds that an update may wait for Holdfast before Telegram is told to deliver it again.
PATIENCE_SECONDS = 20.0
HEADER = "X-Telegram-Bot-Api-Secret-Token"


class Take(Protocol):
    """Deals with an update, or raises ``Unreachable``."""

    async def __call__(self, update: Any, *, patience: float | None = None) -> None: ...


def is_telegram(secret: str, header: str | None) -> bool:
    """Whether a request proves to be Telegram's; how long that takes to see tells nothing of the secret."""
    return bool(header) and hmac.compare_digest(secret.encode(), (header or "").encode("utf-8", "surrogateescape"))


def application(secret: str, take: Take) -> web.Application:
    """Return the server that takes updates, at any path.

    It answers 200 also to what it cannot read, because Telegram would deliver that again and again.
    """

    async def receive(request: web.Request) -> web.Response:
        if not is_telegram(secret, request.headers.get(HEADER)):
            return web.Response(status=403)
        try:
            update = json.loads(await request.read())
        except ValueError:
            return web.Response()
        # Not cut off when Telegram hangs up: a message that was taken half would come again.
        taking = asyncio.ensure_future(take(update, patience=PATIENCE_SECONDS))
        try:
            await asyncio.shield(taking)
        except Unreachable:
            return web.Response(status=503)
        except Exception:
            log.exception("an update was left out", extra={"platform": "telegram"})
        return web.Response()

    app = web.Application(client_max_size=BODY_MAX)
    app.router.add_post("/{path:.*}", receive)
    return app


@asynccontextmanager
async def listening(address: str, secret: str, take: Take) -> AsyncIterator[int]:
    """Listen on ``host:port`` and give the port, which is chosen by the system for 0.

    Raises:
        SetupError: it is no address to listen on.
    """
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(application(secret, take), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host.strip("[]") or "127.0.0.1", int(port)).start()
        except (OSError, ValueError, OverflowError) as error:
            raise SetupError("TELEGRAM_WEBHOOK_LISTEN", f"cannot listen on {address}: {error}.") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
