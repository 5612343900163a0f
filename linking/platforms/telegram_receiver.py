"""Taking Telegram's updates: by asking for them, or one by one as they are delivered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

from linking.platforms.base import PlatformError, Press, TooFast, Unavailable
from linking.platforms.client import Unreachable
from linking.platforms.conversation import Conversations
from linking.platforms.telegram_updates import KINDS, Bot, read_update
from linking.platforms.telegram_wire import Wire

T = TypeVar("T")
log = logging.getLogger(__name__)

#: How long an unanswered call for updates stays open, in seconds.
POLL_SECONDS = 50
#: How long an adapter that was told to stop waits for Telegram, in seconds.
GOODBYE_SECONDS = 3.0
#: Seconds before updates are asked for again when that failed: the first time, and at most.
AGAIN_SECONDS = 1.0
AGAIN_MAX_SECONDS = 60.0


class Receiver:
    """Takes updates to conversations: by asking for them, or as Telegram delivers them."""

    def __init__(self, wire: Wire, bot: Bot, conversations: Conversations) -> None:
        self._wire = wire
        self._bot = bot
        self._conversations = conversations

    async def take(self, update: Any, *, patience: float | None = None) -> None:
        """Do what an update asks. On return it is dealt with for good.

        Raises:
            Unreachable: Holdfast does not answer within ``patience`` seconds; the update must come again.
        """
        asked = read_update(update, self._bot)
        if isinstance(asked, Press):
            with suppress(Unreachable):  # who pressed was told, and can press again
                await self._conversations.press(asked)
        elif asked is not None:
            await self._conversations.handle(asked, patience=patience)

    async def poll(self, stop: asyncio.Event) -> None:
        """Ask for updates until told to stop. Each is confirmed to Telegram only once it was dealt with."""
        offset, wait = 0, AGAIN_SECONDS
        while not stop.is_set():
            wish = {"offset": offset, "timeout": POLL_SECONDS, "allowed_updates": KINDS}
            try:
                found = await unless(stop, self._wire.call("getUpdates", wish, wait=POLL_SECONDS))
                updates = _numbered(found) if found is not None or not stop.is_set() else []
            except PlatformError as error:
                seconds = error.seconds if isinstance(error, TooFast) else wait
                log.warning("no updates", extra={"platform": "telegram", "error": str(error)})
                await unless(stop, asyncio.sleep(seconds))
                wait = min(AGAIN_MAX_SECONDS, wait * 2)
                continue
            wait = AGAIN_SECONDS
            if updates:
                # Each conversation takes its own in order; a slow one keeps none of the others waiting.
                taken = asyncio.gather(*(self._take_safely(update) for update in updates))
                if await unless(stop, taken) is not None:
                    offset = max(update["update_id"] for update in updates) + 1
        if offset:
            with suppress(PlatformError, TimeoutError):  # else they come again, and are known
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._wire.call("getUpdates", {"offset": offset, "timeout": 0, "limit": 1})

    async def _take_safely(self, update: Any) -> None:
        """One update that cannot be dealt with must not keep all others from coming."""
        try:
            await self.take(update)
        except Exception:
            log.exception("an update was left out", extra={"platform": "telegram"})


def _numbered(found: Any) -> list[dict[str, Any]]:
    """Return the updates of an answer.

    Raises:
        Unavailable: it is another one, a proxy's perhaps; asking on at once would have no end.
    """
    if isinstance(found, list) and all(
        isinstance(each, dict) and isinstance(each.get("update_id"), int) for each in found
    ):
        return found
    raise Unavailable("the answer holds no updates")


async def unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Return what ``work`` does, or None when told to stop before it is done."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([doing, stopping], return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        for each in (doing, stopping):
            each.cancel()
