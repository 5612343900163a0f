"""The channel layer of a single process."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from channels.layers import InMemoryChannelLayer


class LocalChannelLayer(InMemoryChannelLayer):
    """The in-memory layer, made for many followers: receivers share a message, which nobody may change.

    Upstream it looks through all channels for expired messages on every send and receive, which costs the square
    of the number of followers, and gives each receiver a task and a deep copy.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._clean_at = 0.0

    def _clean_expired(self) -> None:
        now = time.monotonic()
        if now >= self._clean_at:
            self._clean_at = now + 1.0
            super()._clean_expired()  # type: ignore[misc] # missing from the stubs

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Put ``message`` into each channel of ``group``; a full one misses it."""
        self.require_valid_group_name(group)
        self._clean_expired()
        expires = time.time() + self.expiry
        for channel in self.groups.get(group, ()):
            if channel not in self.channels:
                self.channels[channel] = asyncio.Queue(maxsize=self.get_capacity(channel))
            with suppress(asyncio.QueueFull):
                self.channels[channel].put_nowait((expires, message))
