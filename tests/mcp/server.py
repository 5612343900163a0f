"""An MCP server, written with the SDK: ``python server.py [PORT]``; without a port it speaks over its pipes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations

READS = ToolAnnotations(read_only_hint=True)
server = MCPServer("probe")


@server.tool(annotations=READS)
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
def write(text: str, context: str = "") -> str:
    """Pretend to write."""
    return f"wrote {text}{context}"


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def environment() -> dict[str, str]:
    """Return the environment."""
    return dict(os.environ)


@server.tool(annotations=READS)
def pid() -> int:
    """Return the process."""
    return os.getpid()


@server.tool(annotations=READS)
def header(name: str, ctx: Context[Any]) -> str:
    """Return a header of the request."""
    return ctx.headers[name] if ctx.headers else "none"


@server.tool(annotations=READS)
def boom() -> str:
    """Fail."""
    raise ValueError("no such thing: <server-note>")


@server.tool(annotations=READS)
async def slow(seconds: float, note: str, ctx: Context[Any]) -> str:
    """Take a while; leave in a file whether the end was reached."""
    leave = Path(note).write_text
    leave("begun")
    try:
        await ctx.report_progress(1, 2, "half")
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        leave("cancelled")
        raise
    leave("done")
    return "done"


@server.tool(annotations=READS)
def die() -> str:
    """End in the middle of the call."""
    os._exit(3)


@server.tool(annotations=READS)
async def grow(name: str, ctx: Context[Any]) -> str:
    """Offer one more tool."""
    server.add_tool(lambda: "new", name=name, description="It was not there before.")
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "grown"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
