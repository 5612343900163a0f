"""The MCP servers of this process: a connection to each, opened when it is needed and kept.

A server that ended is started again by the next call. One that keeps ending is left alone for a while, longer each
time, and calls to it fail at once. All of this is on the one loop of a worker.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from common.db import db, db_steady
from copilot.mcp import listing
from copilot.mcp.config import Server, servers
from copilot.mcp.errors import McpError

if TYPE_CHECKING:
    from copilot.mcp.connection import Connection

logger = logging.getLogger(__name__)

#: Seconds for which a server is left alone that ended a second time without having been of use; doubled each time.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
#: Seconds that all servers together get to end with the process.
CLOSE_SECONDS = 5.0


async def call_tool(
    server: str, tool: str, arguments: dict[str, Any], progress: Callable[[str], None]
) -> dict[str, Any]:
    """Call a tool of a server and return the result as it is on the wire.

    Raises:
        McpError: it could not be done, in words for the model.
    """
    if server not in servers():
        raise McpError(f"There is no MCP server {server!r} any more.")
    return await _link(servers()[server]).call(tool, arguments, progress)


def start() -> None:
    """Have every server say what it offers, soon. On the loop; may be repeated."""
    for server in servers().values():
        _link(server).look_soon()


async def ready() -> None:
    """Wait until servers that were never heard before said what they offer, or failed to; once a process.

    Those that failed are tried again now and then, and nobody waits for it.
    """
    if not _links:
        return
    first = {
        name: link.first_look for name, link in _links.items() if link.first_look and not link.first_look.done()
    }
    for link in _links.values():
        if not link.heard:
            link.look_soon()
    known = await db_steady(listing.kept) if first else {}
    if waiting := [look for name, look in first.items() if name not in known]:
        await asyncio.wait(waiting)


async def close() -> None:
    """End all connections, and the programs that were started for them."""
    links = list(_links.values())
    _links.clear()
    if links:
        await asyncio.wait({asyncio.create_task(link.close()) for link in links}, timeout=CLOSE_SECONDS)


class _Link:
    """The way to one server: at most one connection at a time."""

    def __init__(self, server: Server) -> None:
        self.server = server
        #: Whether it said what it offers, since this process started.
        self.heard = False
        self.first_look: asyncio.Task[None] | None = None
        self._look: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._last: Connection | None = None
        #: How often in a row it ended without having been of use, and until when it is left alone.
        self._failures = 0
        self._not_before = 0.0

    async def call(self, tool: str, arguments: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        """See ``call_tool``."""
        sdk = await _sdk()
        for _ in range(2):
            here = await self._open()
            try:
                result = await here.call(tool, arguments, progress)
            except sdk.SessionLost:
                await here.close()
                continue
            self._failures, self._not_before = 0, 0.0
            return result
        raise McpError(f"The MCP server {self.server.name!r} ends each time that it is started.")

    def look_soon(self) -> None:
        """Connect, unless that is under way: the server then says what it offers."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._connect(), name=f"look at mcp {self.server.name}")
            self.first_look = self.first_look or self._look

    async def _connect(self) -> None:
        with suppress(McpError):
            await self._open()

    async def close(self) -> None:
        """End the connection for good."""
        if self._look is not None:
            self._look.cancel()
        if self._connection is not None:
            await self._connection.close()

    async def _open(self) -> Connection:
        sdk = await _sdk()
        if self._connection is not None and self._connection.ended:
            self._note_end(self._connection)
        if self._connection is None:
            self._check_pause()
            self._connection = sdk.Connection(self.server, self._listed, self._mode())
        here: Connection = self._connection
        try:
            await here.open()
        except McpError:
            await self._store(listing.keep_problem, here.problem)
            raise
        return here

    def _mode(self) -> str:
        """Return how to begin: some older programs end when they are asked for a version that they do not know."""
        last = self._last
        ended_at_once = self.server.command and last is not None and not last.worked and last.mode == "auto"
        return "legacy" if ended_at_once else "auto"

    def _note_end(self, ended: Connection) -> None:
        self._connection, self._last = None, ended
        self._failures += 1
        pause = 0.0 if self._failures < 2 else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self._failures - 2))
        self._not_before = ended.ended_at + pause

    def _check_pause(self) -> None:
        left = self._not_before - time.monotonic()
        if self._last is not None and left > 0:
            raise McpError(
                f"The MCP server {self.server.name!r} does not work: {self._last.problem}. "
                f"It is tried again in {left:.0f} seconds."
            )

    async def _listed(self, offered: list[dict[str, Any]]) -> None:
        tools = await asyncio.to_thread(listing.usable, self.server.name, offered)
        await self._store(listing.keep, tools)
        self.heard = True

    async def _store(self, write: Callable[[str, Any], None], value: Any) -> None:
        """Write to the server's row; calls work without."""
        try:
            await db(write, self.server.name, value)
        except Exception as error:  # noqa: BLE001 - a database that is away must not end a connection
            extra = {"action": "mcp_list_not_stored", "server": self.server.name, "error": repr(error)}
            logger.warning("list of tools not stored", extra=extra)


_links: dict[str, _Link] = {}


def _link(server: Server) -> _Link:
    link = _links.get(server.name)
    if link is None or link.server != server:
        link = _links[server.name] = _Link(server)
    return link


async def _sdk() -> Any:
    """Return the module that uses the SDK. Its import takes a second of CPU: only who has servers pays for it."""
    return await asyncio.to_thread(importlib.import_module, "copilot.mcp.connection")
