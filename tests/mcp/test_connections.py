"""A program that speaks MCP: started when it is needed, kept, cancelled, lost and started again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from django.conf import settings

from common.db import db
from copilot.mcp import client, connection
from copilot.mcp.config import servers
from copilot.mcp.errors import McpError
from copilot.mcp.results import output_of
from copilot.models import McpServer
from tests.mcp.servers import call, eventually, offered, old_program, program, script

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def _servers() -> AsyncIterator[None]:
    """One server for all these tests; some of them end it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERVER_SECRET", "of the server's own")
        patch.setattr(settings, "MCP_SERVERS", {"probe": program(GIVEN="yes")})
        yield
        await client.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_tool_is_called_over_one_connection_that_is_kept() -> None:
    assert await call("echo", text="hello <there>") == "hello <there>"
    assert await call("pid") == await call("pid")


async def test_calls_run_beside_each_other(tmp_path: Path) -> None:
    notes = [tmp_path / str(number) for number in range(8)]
    calls = [asyncio.create_task(call("slow", seconds=600, note=str(note))) for note in notes]
    await eventually(lambda: all(note.exists() for note in notes))
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert all(task.cancelled() for task in calls)


async def test_a_program_sees_nothing_of_the_servers_environment() -> None:
    seen = await call("environment")
    assert seen.pop("GIVEN") == "yes"
    assert "SERVER_SECRET" in os.environ
    assert set(seen) <= {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LC_CTYPE"}


async def test_an_argument_may_have_any_name() -> None:
    assert await call("write", text="a", context="b") == "wrote ab"


async def test_a_tool_that_fails_is_an_error_and_nothing_more() -> None:
    before = await call("pid")
    with pytest.raises(McpError, match="boom"):
        await call("boom")
    with pytest.raises(McpError, match="nowhere"):
        await call("nowhere")
    assert await call("pid") == before


async def test_who_is_cancelled_has_the_call_cancelled_and_no_other(tmp_path: Path) -> None:
    cut, other = tmp_path / "cut", tmp_path / "other"
    before = await call("pid")
    going_on = asyncio.create_task(call("slow", seconds=1, note=str(other)))
    task = asyncio.create_task(call("slow", seconds=600, note=str(cut)))
    await eventually(lambda: cut.exists() and cut.read_text() == "begun")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: cut.read_text() == "cancelled")
    assert await going_on == "done"
    assert await call("pid") == before


async def test_progress_is_shown(tmp_path: Path) -> None:
    shown: list[str] = []
    await client.call_tool("probe", "slow", {"seconds": 0, "note": str(tmp_path / "x")}, shown.append)
    await eventually(lambda: shown == ["half"])


async def test_a_server_that_ends_in_a_call_fails_the_call_and_is_started_by_the_next(tmp_path: Path) -> None:
    before = await call("pid")
    other = asyncio.create_task(call("slow", seconds=600, note=str(tmp_path / "other")))
    await eventually((tmp_path / "other").exists)
    with pytest.raises(McpError, match="not known whether the call had its effect"):
        await call("die")
    with pytest.raises(McpError, match="ended while the call ran"):
        await other
    assert await call("pid") != before


async def test_a_server_that_was_killed_between_calls_costs_no_call() -> None:
    before = await call("pid")
    os.kill(before, signal.SIGKILL)
    here = client._links["probe"]._connection
    assert here is not None
    await eventually(lambda: here.ended)
    assert await call("pid") != before


async def test_a_changed_list_is_heard_and_stored() -> None:
    await call("echo", text="connected")
    await call("grow", name="newcomer")
    await offered("newcomer")


async def test_the_program_ends_with_the_worker() -> None:
    pid = await call("pid")
    await client.close()
    assert not alive(pid)


# --- servers that do not work ------------------------------------------------------------------


async def test_a_server_that_dies_at_once_says_why_and_is_not_started_again_and_again(
    settings: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    settings.MCP_SERVERS = {
        "broken": script(f"echo started >>{starts}; echo starting with pass''word=hunter2hunter2 >&2; exit 3")
    }
    with caplog.at_level(logging.WARNING), pytest.raises(McpError, match="could not be reached"):
        await call("echo", "broken", text="x")
    assert "starting with" in caplog.text
    assert "hunter2" not in caplog.text, "what it prints is redacted"
    with pytest.raises(McpError, match="could not be reached"):
        await call("echo", "broken", text="x")
    with pytest.raises(McpError, match="tried again in"):
        await call("echo", "broken", text="x")
    assert starts.read_text() == "started\n" * 2
    row = await db(McpServer.objects.get, name="broken")
    assert row.problem
    assert row.listed_at is None


async def test_a_server_that_says_nothing_is_given_up(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.3)
    settings.MCP_SERVERS = {"silent": script("exec sleep 600")}
    with pytest.raises(McpError, match=r"did not answer within 0\.3 seconds"):
        await call("echo", "silent", text="x")


async def test_a_program_that_is_not_there_is_an_error(settings: Any) -> None:
    settings.MCP_SERVERS = {"missing": {"command": "/nonexistent/program"}}
    with pytest.raises(McpError, match="could not be reached: FileNotFoundError"):
        await call("echo", "missing", text="x")


async def test_a_server_that_is_not_named_any_more_is_an_error() -> None:
    with pytest.raises(McpError, match="no MCP server 'gone' any more"):
        await call("echo", "gone", text="x")


# --- older protocols -------------------------------------------------------------------------


async def test_an_older_server_is_spoken_to_and_heard() -> None:
    heard: list[list[str]] = []

    async def listed(tools: list[dict[str, Any]]) -> None:
        heard.append([tool["name"] for tool in tools])

    old = connection.Connection(servers()["probe"], listed, "legacy")
    await old.open()
    assert output_of(await old.call("echo", {"text": "x"}, lambda _: None)) == "x"
    await old.call("grow", {"name": "newcomer"}, lambda _: None)
    await eventually(lambda: "newcomer" in heard[-1])
    await old.close()
    assert old.ended


async def test_a_program_that_ends_when_asked_for_a_newer_protocol_is_asked_for_an_older_one(
    settings: Any,
) -> None:
    settings.MCP_SERVERS = {"old": old_program("strict")}
    with pytest.raises(McpError, match="could not be reached"):
        await call("echo", "old", text="hello")
    assert await call("echo", "old", text="hello") == "hello"


async def test_a_program_that_refuses_a_newer_protocol_is_spoken_to_at_once(settings: Any) -> None:
    settings.MCP_SERVERS = {"polite": old_program()}
    assert await call("echo", "polite", text="hello") == "hello"
