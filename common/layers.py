"""The channel layer of a single process."""

from __future__ import annotations

import time
from typing import Any

from channels.layers import InMemoryChannelLayer


class LocalChannelLayer(InMemoryChannelLayer):
    """The in-memory layer, looking for expired messages once a second.

    Upstream it looks through all channels on every send and receive, which costs the square of the number of
    followers.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._clean_at = 0.0

    def _clean_expired(self) -> None:
        now = time.monotonic()
        if now >= self._clean_at:
            self._clean_at = now + 1.0
            super()._clean_expired()  # type: ignore[misc] # missing from the stubs
