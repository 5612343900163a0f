"""The MCP server of these tests, as settings name it, and what it is asked."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.db import db
from copilot.mcp import client, listing
from copilot.mcp.results import output_of

SCRIPT = str(Path(__file__).with_name("server.py"))
OLD_SCRIPT = str(Path(__file__).with_name("old_server.py"))


def program(**env: str) -> dict[str, Any]:
    """Return the entry of a server that is started."""
    return {"command": sys.executable, "args": [SCRIPT], "env": env}


def old_program(*args: str) -> dict[str, Any]:
    """Return the entry of a server that starts at once and knows no more than it must."""
    return {"command": sys.executable, "args": ["-S", OLD_SCRIPT, *args]}


def script(text: str) -> dict[str, Any]:
    """Return the entry of a server that does what a line of shell says."""
    return {"command": "/bin/sh", "args": ["-c", text]}


async def call(tool: str, /, server: str = "probe", **arguments: Any) -> Any:
    """Call a tool of a server and return its output."""
    return output_of(await client.call_tool(server, tool, arguments, lambda _: None))


async def eventually(check: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def offered(tool: str, server: str = "probe") -> None:
    """Wait until a server's stored list has this tool."""
    async with asyncio.timeout(20):
        while tool not in [each.name for each in (await db(listing.kept)).get(server, [])]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class HttpServer:
    """The same server at an address; it can be stopped and started again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def entry(self) -> dict[str, Any]:
        return {"url": f"http://127.0.0.1:{self.port}/mcp", "headers": {"X-Token": "open-sesame"}}

    def start(self) -> None:
        """Start it and wait until it can be connected to."""
        self._process = subprocess.Popen([sys.executable, SCRIPT, str(self.port)], stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < until, "the server does not start"
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
