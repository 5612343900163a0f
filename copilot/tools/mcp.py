"""Tools of MCP servers, which look like any other tool to the rest."""

from __future__ import annotations

import asyncio
from typing import Any

from copilot.mcp import client
from copilot.mcp.errors import McpError
from copilot.mcp.listing import ListedTool, full_name, kept
from copilot.mcp.results import output_of
from copilot.tools.base import Tool, ToolContext, ToolError


class McpTool(Tool):
    """A tool of a server of ``MCP_SERVERS``, as the server described it when it was last heard.

    It asks a person unless its server says that it only reads, and is run again after a crash only if its server
    says that it may be. Servers are the operator's choice, so that they are believed in this; policy comes first.
    """

    def __init__(self, server: str, listed: ListedTool) -> None:
        self.name = full_name(server, listed.name)
        self.description = listed.description
        self.parameters = listed.schema
        self.idempotent = listed.idempotent
        self.asks = not listed.read_only
        self._server = server
        self._tool = listed.name

    # The server may call one of its arguments "context".
    async def run(self, context: ToolContext, /, **arguments: Any) -> Any:  # type: ignore[override]
        try:
            result = await client.call_tool(self._server, self._tool, arguments, context.progress)
            return await asyncio.to_thread(output_of, result)
        except McpError as error:
            raise ToolError(str(error)) from error


def mcp_tools() -> list[Tool]:
    """Return the tools of all servers, in the order of their names. It reads rows and connects to nothing."""
    return [McpTool(server, listed) for server, tools in kept().items() for listed in tools]
