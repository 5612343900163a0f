"""A server at an address: calls, the headers it is sent, and what happens when it goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from django.conf import settings

from copilot.mcp import client
from copilot.mcp.config import servers
from copilot.mcp.connection import Connection, SessionLost
from copilot.mcp.errors import McpError
from tests.mcp.servers import HttpServer, call, eventually, offered
from tests.process.servers import free_port

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def http() -> AsyncIterator[HttpServer]:
    """The server of all these tests."""
    server = HttpServer(free_port())
    await asyncio.to_thread(server.start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "MCP_SERVERS", {"probe": server.entry})
        yield server
        await client.close()
    server.stop()


async def test_a_tool_is_called_with_the_headers_of_the_settings(http: HttpServer) -> None:
    assert await call("echo", text="hello") == "hello"
    assert await call("header", name="x-token") == "open-sesame"


async def test_a_failing_tool_leaves_the_connection(http: HttpServer) -> None:
    with pytest.raises(McpError, match="boom"):
        await call("boom")
    assert await call("echo", text="still here") == "still here"


async def test_a_cancelled_call_is_cancelled_on_the_server(http: HttpServer, tmp_path: Any) -> None:
    left = tmp_path / "left"
    task = asyncio.create_task(call("slow", seconds=600, note=str(left)))
    await eventually(left.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: left.read_text() == "cancelled")
    assert await call("echo", text="still here") == "still here"


async def test_a_server_that_was_restarted_is_connected_to_again(http: HttpServer) -> None:
    async def listed(tools: list[dict[str, Any]]) -> None:
        return None

    before = await call("pid")
    here = client._links["probe"]._connection
    assert here is not None
    older = Connection(servers()["probe"], listed, "legacy")
    await older.open()
    await older.call("pid", {}, lambda _: None)
    await asyncio.to_thread(http.stop)
    await asyncio.to_thread(http.start)
    await eventually(lambda: here.ended)
    assert await call("pid") != before
    with pytest.raises(SessionLost):  # an older protocol learns of it only now
        await older.call("pid", {}, lambda _: None)
    await older.close()


async def test_a_server_that_is_away_fails_its_calls_and_is_used_when_it_is_back(http: HttpServer) -> None:
    await call("pid")
    await asyncio.to_thread(http.stop)
    with pytest.raises(McpError, match="'probe'"):
        await call("pid")
    await asyncio.to_thread(http.start)
    async with asyncio.timeout(30):
        while True:
            try:
                assert isinstance(await call("pid"), int)
            except McpError:
                await asyncio.sleep(0.1)  # left alone for a moment
            else:
                return


async def test_a_changed_list_is_heard(http: HttpServer) -> None:
    await call("grow", name="newcomer")
    await offered("newcomer")
