"""Counts what arrives of one model call and tells whoever listens how fast it comes."""

from __future__ import annotations

import time
from collections.abc import Callable

from copilot.agent.estimate import characters_tokens
from copilot.events import schema

#: Seconds from the first delta to the first figure, which needs something to measure, and from one to the next.
FIRST_SECONDS = 0.1
EVERY_SECONDS = 0.5
#: How much less often figures are sent when the log is written less often than at rest.
_SLACK = 10


class Meter:
    """Counts characters; says something twice a second at most, and less often when much is going on.

    Args:
        send: takes a chunk that is not stored.
    """

    def __init__(self, send: Callable[[schema.Chunk], None]) -> None:
        self._send = send
        self._began = 0.0
        self._due = 0.0
        #: Characters of text, reasoning and arguments so far, and those of reasoning alone.
        self.characters = 0
        self.thought = 0
        #: Seconds by which things are slow, see ``ModelRequest``.
        self.pause: Callable[[], float] = lambda: 0.0

    def count(self, delta: str) -> None:
        """Count more of the answer. It is called for every delta: mostly one comparison."""
        self.characters += len(delta)
        if (now := time.monotonic()) >= self._due:
            self._tell(now)

    def _tell(self, now: float) -> None:
        if not self._began:
            self._began = now
            self._due = now + FIRST_SECONDS
            return
        self._send(schema.metering(characters_tokens(self.characters), now - self._began))
        self._due = now + EVERY_SECONDS + _SLACK * self.pause()
