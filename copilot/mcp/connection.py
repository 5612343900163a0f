"""One connection to an MCP server, over the official SDK: opened once, and gone for good when it ends.

What the SDK opens must be closed by the task that opened it, so each connection lives in a task of its own. Calls
come from other tasks of the same loop, as many at once as there are.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import httpx2
import mcp_types as types
import pydantic
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost

from common.redaction import redact_text
from common.version import VERSION
from copilot.mcp.config import Server
from copilot.mcp.errors import McpError
from copilot.mcp.stderr import Stderr

logger = logging.getLogger(__name__)

#: Seconds that a server gets to start and to say what it offers.
CONNECT_SECONDS = 15.0
#: Pages of a list of tools that are read.
PAGES_MAX = 20
#: Least seconds between two signs of progress of a call, and characters of one: the rest is not shown.
PROGRESS_SECONDS, PROGRESS_MAX = 0.25, 1000
Listed = Callable[[list[dict[str, Any]]], Awaitable[None]]
Mode = Literal["auto", "legacy"]


class SessionLost(Exception):
    """The server does not know this connection any more and did nothing. It can be asked again over a new one."""


class Connection:
    """A connection to one server, from its beginning to its end. Make it on the loop that it is used on.

    Args:
        listed: hears what the server offers, at the beginning and whenever that changes.
        mode: how to agree on a version: ``legacy`` is for servers that end when they are asked for the newest.
    """

    def __init__(self, server: Server, listed: Listed, mode: Mode = "auto") -> None:
        self.server = server
        self.mode = mode
        self.problem = ""
        #: Whether calls could ever be made.
        self.worked = False
        #: When it ended, on the monotonic clock.
        self.ended_at = 0.0
        self._listed = listed
        self._client: Client | None = None
        self._opened = asyncio.Event()
        self._stale = asyncio.Event()
        self._scope = anyio.CancelScope()
        self._closing = False
        self._task = asyncio.create_task(self._live(), name=f"mcp {server.name}")

    @property
    def ended(self) -> bool:
        """Whether it is of no more use."""
        return self._opened.is_set() and self._client is None

    async def open(self) -> None:
        """Wait until calls can be made.

        Raises:
            McpError: they cannot.
        """
        await self._opened.wait()
        if self._client is None:
            raise McpError(f"The MCP server {self.server.name!r} could not be reached: {self.problem}.")

    async def close(self) -> None:
        """End it, with the program that was started for it; what runs over it fails."""
        self._closing = True
        self._end("it was closed")
        await asyncio.wait({self._task})

    async def call(self, tool: str, arguments: dict[str, Any], show: Callable[[str], None]) -> dict[str, Any]:
        """Call a tool and return its result as it is on the wire. Who is cancelled has the call cancelled.

        Raises:
            McpError: the server refused or is gone.
            SessionLost: it must be asked over another connection.
        """
        name = self.server.name

        shown_at = -math.inf

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at >= PROGRESS_SECONDS:
                shown_at = time.monotonic()
                show((message or (f"{progress:g} of {total:g}" if total else f"{progress:g}"))[:PROGRESS_MAX])

        if self._client is None:
            raise SessionLost
        try:
            result = await self._client.call_tool(tool, arguments, progress_callback=on_progress)
        except MCPError as error:
            if error.code == types.CONNECTION_CLOSED:
                self._end("it ended")
                raise McpError(
                    f"The MCP server {name!r} ended while the call ran. It is not known whether the call had its "
                    "effect; check before repeating it. The server is started again with the next call."
                ) from error
            if self.server.url and error.message in ("Session terminated", "Session not found"):
                raise SessionLost from error
            raise McpError(f"The MCP server {name!r} refused the call: {error.message}") from error
        except (RuntimeError, pydantic.ValidationError) as error:
            logger.warning("answer not understood", extra={"action": "mcp_bad_answer", "server": name})
            raise McpError(
                f"The MCP server {name!r} gave an answer that does not fit its own description."
            ) from error
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)

    # --- its own task -----------------------------------------------------------------------

    async def _live(self) -> None:
        self._scope.deadline = anyio.current_time() + CONNECT_SECONDS
        stderr = Stderr(self.server.name)
        try:
            with self._scope:
                await self._connected(stderr)
            self.problem = self.problem or f"it did not answer within {CONNECT_SECONDS:g} seconds"
        except Exception as error:  # noqa: BLE001 - whatever the SDK or the server raises ends the connection
            self.problem = redact_text(_reason(error))
        finally:
            self._client = None
            self.ended_at = time.monotonic()
            self._opened.set()
            stderr.close()
        if not self._closing:
            extra = {"action": "mcp_connection_ended", "server": self.server.name}
            logger.warning("connection ended: %s%s", self.problem, stderr.last_words(), extra=extra)

    async def _connected(self, stderr: Stderr) -> None:
        """Connect, and keep the list of tools current until something ends the connection."""
        client = Client(
            self._transport(stderr),
            mode=self.mode,
            cache=None,
            client_info=types.Implementation(name="holdfast", version=VERSION),
            message_handler=self._hear,
        )
        async with client:
            await self._list(client)
            self._scope.deadline = math.inf
            self.worked = stderr.started = True
            self._client = client
            self._opened.set()
            async with anyio.create_task_group() as group:
                group.start_soon(self._listen, client)
                while True:
                    await self._stale.wait()
                    self._stale.clear()
                    await self._list(client)

    async def _list(self, client: Client) -> None:
        tools: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            try:
                page = await client.list_tools(cursor=cursor)
            except MCPError as error:
                if error.code != types.METHOD_NOT_FOUND:
                    raise
                break  # a server without tools
            tools += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
            if not (cursor := page.next_cursor):
                break
        await self._listed(tools)

    async def _hear(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._stale.set()

    async def _listen(self, client: Client) -> None:
        """Hear of changes where the protocol has a stream of its own for them; older ones tell by themselves."""
        if client.server_capabilities.tools is None or not client.server_capabilities.tools.list_changed:
            return
        try:
            async with client.listen(tools_list_changed=True) as changes:
                self._stale.set()  # it may have changed since it was asked for
                async for _ in changes:
                    self._stale.set()
        except SubscriptionLost:
            self._end("it ended")
        except (MCPError, RuntimeError):
            return  # an older protocol, or a server that does not offer it

    def _end(self, problem: str) -> None:
        if not self._scope.cancel_called:
            self.problem = problem
            self.ended_at = time.monotonic()
        self._client = None
        self._scope.cancel()

    @asynccontextmanager
    async def _transport(self, stderr: Stderr) -> AsyncIterator[tuple[Any, Any]]:
        async with self._opened_transport(stderr) as (reading, writing):
            yield _Watched(reading, lambda: self._end("it ended")), writing

    @asynccontextmanager
    async def _opened_transport(self, stderr: Stderr) -> AsyncIterator[tuple[Any, Any]]:
        server = self.server
        if server.command:
            program = StdioServerParameters(
                command=server.command,
                args=list(server.args),
                env=dict(server.env),
                encoding_error_handler="replace",
            )
            async with stderr.collected() as errlog, stdio_client(program, errlog=errlog) as streams:
                yield streams
        else:
            # Calls have a limit of their own, and a stream that is listened to may be silent for hours.
            timeout = httpx2.Timeout(CONNECT_SECONDS, read=None)
            async with (
                httpx2.AsyncClient(headers=dict(server.headers), timeout=timeout) as http,
                streamable_http_client(server.url, http_client=http) as streams,
            ):
                yield streams


class _Watched:
    """A stream of messages that tells when it has ended; the SDK tells only those who wait for an answer."""

    def __init__(self, stream: Any, ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> Any:
        return self._stream.__aiter__()

    async def __aenter__(self) -> _Watched:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()
        self._ended()


def _reason(error: BaseException) -> str:
    """Return the first line of what went wrong first, whatever it is wrapped in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip().rstrip('.')}" if lines else type(error).__name__
