"""Updates that Telegram delivers itself."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from linking.platforms.client import Unreachable
from linking.platforms.serving import Answer, Handle

log = logging.getLogger(__name__)

#: Seconds that an update may wait for Holdfast before Telegram is told to deliver it again.
PATIENCE_SECONDS = 20.0
HEADER = "X-Telegram-Bot-Api-Secret-Token"


class Take(Protocol):
    """Deals with an update, or raises ``Unreachable``."""

    async def __call__(self, update: Any, *, patience: float | None = None) -> None: ...


def is_telegram(secret: str, header: str | None) -> bool:
    """Whether a request proves to be Telegram's; how long that takes to see tells nothing of the secret."""
    return bool(header) and hmac.compare_digest(secret.encode(), (header or "").encode("utf-8", "surrogateescape"))


def taking(secret: str, take: Take) -> Handle:
    """Return what answers Telegram's requests.

    It answers 200 also to what it cannot read, because Telegram would deliver that again and again.
    """

    async def handle(headers: Mapping[str, str], body: bytes) -> Answer:
        if not is_telegram(secret, headers.get(HEADER)):
            return Answer(403)
        try:
            update = json.loads(body)
        except (ValueError, RecursionError):
            return Answer(200)
        # Not cut off when Telegram hangs up: a message that was taken half would come again.
        taken = asyncio.ensure_future(take(update, patience=PATIENCE_SECONDS))
        try:
            await asyncio.shield(taken)
        except Unreachable:
            return Answer(503)
        except Exception:
            log.exception("an update was left out", extra={"platform": "telegram"})
        return Answer(200)

    return handle
