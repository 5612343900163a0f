"""What the programs of MCP servers print on their standard error."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

from common.redaction import redact_text

logger = logging.getLogger(__name__)

#: Characters of a line, and lines of one run of a program, that are kept.
LINE_MAX = 500
LINES_MAX = 1000


class Stderr(asyncio.Protocol):
    """Reads a program's standard error, without secrets and never more than it should.

    Until ``started`` is set the last lines are kept for whoever wants to know why the program does not start.
    Afterwards it may print what people write, so its lines only go to the log for debugging.
    """

    def __init__(self, server: str) -> None:
        self.started = False
        self._server = server
        self._rest = b""
        self._last: deque[str] = deque(maxlen=5)
        self._lines = 0
        self._transport: asyncio.BaseTransport | None = None

    @asynccontextmanager
    async def collected(self) -> AsyncIterator[TextIO]:
        """Yield a file for a program to print to, which is read until the end of the block."""
        reading, writing = os.pipe()
        with os.fdopen(writing, "w") as errlog:
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.connect_read_pipe(lambda: self, os.fdopen(reading, "rb", 0))
            yield errlog

    def close(self) -> None:
        """Read no more."""
        if self._transport is not None:
            self._transport.close()

    def last_words(self) -> str:
        """Return what was printed by a program that never started, to be put behind a sentence."""
        return f" ({' / '.join(self._last)})" if self._last and not self.started else ""

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LINE_MAX]
        for line in lines:
            self._take(line[:LINE_MAX].decode("utf-8", "replace").strip())

    def _take(self, line: str) -> None:
        self._lines += 1
        if not line or self._lines > LINES_MAX:
            return
        line = redact_text(line)
        self._last.append(line)
        if self.started:
            logger.debug("%s", line, extra={"action": "mcp_stderr", "server": self._server})
