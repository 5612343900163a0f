"""Tools of MCP servers in turns: policy, approvals, stops, servers that are down."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from common.db import db
from common.errors import Invalid
from copilot.mcp import client, listing
from copilot.turns.cancel import cancel_turn
from tests.approvals.asking import People
from tests.factories import accept, make_session
from tests.harness import Crew
from tests.mcp.servers import OLD_SCRIPT, old_program, program, script

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _servers(settings: Any) -> None:
    settings.MCP_SERVERS = {"probe": old_program()}


def tool(name: str, /, **arguments: Any) -> str:
    return f"/tool mcp:probe:{name} {json.dumps(arguments)}"


async def test_a_call_that_only_reads_runs_and_the_model_is_offered_the_same_bytes(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.say(f"{tool('echo', text='ni hao')}\n/results")
    assert turn.status == "completed"
    [call] = await db(lambda: list(turn.tool_calls.all()))
    assert (call.name, call.state, call.output) == ("mcp:probe:echo", "done", "ni hao")
    first, second = (request.tools for request in crew.requests)
    assert first == second
    names = [spec.name for spec in first if spec.name.startswith("mcp:")]
    assert names == sorted(names)
    assert "mcp:probe:echo" in names


async def test_programs_end_with_the_worker(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.say(tool("pid"))
    [call] = await db(lambda: list(turn.tool_calls.all()))
    await crew.dismiss()
    with pytest.raises(ProcessLookupError):
        os.kill(int(call.output), 0)


async def test_a_call_that_writes_asks_and_runs_as_it_was_approved_after_a_restart(
    crew: Crew, people: People
) -> None:
    here = await crew.hire()
    turn, action = await people.ask(f"{tool('write', text='draft')}\n/results")
    [request] = action.requests
    assert request["name"] == "mcp:probe:write"
    assert request["schema"]["properties"]["text"]["type"] == "string"
    await crew.lose(here)
    await crew.hire()
    await people.decide(action, "edit", arguments={"text": "final"})
    turn = await crew.ended(turn)
    [call] = await people.calls(turn)
    assert (call.state, call.output) == ("done", "wrote final")


async def test_an_edit_has_to_fit_the_servers_schema(crew: Crew, people: People) -> None:
    await crew.hire()
    _, action = await people.ask(tool("write", text="draft"))
    with pytest.raises(Invalid, match="not of type"):
        await people.decide(action, "edit", arguments={"text": 7})


async def test_what_was_approved_gets_a_clear_error_when_the_server_is_gone(
    crew: Crew, people: People, settings: Any
) -> None:
    here = await crew.hire()
    turn, action = await people.ask(tool("write", text="draft"))
    await crew.lose(here)
    settings.MCP_SERVERS = {"probe": script("exit 3")}
    await crew.hire()
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    [call] = await people.calls(turn)
    assert call.state == "error"
    assert "The MCP server 'probe'" in call.error
    assert turn.status == "completed"


@pytest.mark.parametrize(
    ("lists", "name", "state"),
    [
        ({"APPROVALS_ALLOW": ["mcp:probe:*"]}, "write", "done"),
        ({"APPROVALS_DENY": ["mcp:probe:e*"]}, "echo", "denied"),
        ({"APPROVALS_ASK": ["mcp:*"]}, "echo", "waiting"),
    ],
    ids=["allowed", "denied", "asked"],
)
async def test_policy_speaks_of_full_names(
    crew: Crew, settings: Any, lists: dict[str, list[str]], name: str, state: str
) -> None:
    for key, value in lists.items():
        setattr(settings, key, value)
    await crew.hire()
    turn = await crew.send(tool(name, text="x"))
    await crew.true(lambda: turn.tool_calls.filter(state=state).exists())
    await cancel_turn(user=turn.session.user, turn_id=turn.id)
    await crew.ended(turn)


async def test_a_stop_cancels_the_call_on_the_server(crew: Crew, settings: Any, tmp_path: Path) -> None:
    settings.MCP_SERVERS = {"probe": program()}
    left = tmp_path / "left"
    await crew.hire()
    turn = await crew.send(tool("slow", seconds=600, note=str(left)))
    await crew.true(lambda: left.exists() and left.read_text() == "begun")
    await cancel_turn(user=turn.session.user, turn_id=turn.id)
    assert (await crew.ended(turn)).status == "cancelled"
    await crew.true(lambda: left.read_text() == "cancelled")


async def test_a_call_that_takes_too_long_is_cancelled_on_the_server(
    crew: Crew, settings: Any, tmp_path: Path
) -> None:
    settings.MCP_SERVERS = {"probe": program()}
    left = tmp_path / "left"
    await crew.hire()
    await client.ready()
    settings.TOOL_MAX_SECONDS = 1
    turn = await crew.say(tool("slow", seconds=600, note=str(left)))
    [call] = await db(lambda: list(turn.tool_calls.all()))
    assert (call.state, call.error) == ("error", "The tool took longer than 1 seconds.")
    await crew.true(lambda: left.read_text() == "cancelled")


async def test_turns_of_strangers_are_offered_none(crew: Crew, settings: Any) -> None:
    settings.MCP_SERVERS = {"probe": script("exit 3")}
    await db(listing.keep, "probe", listing.usable("probe", [{"name": "echo", "inputSchema": {}}]))
    await crew.hire()
    for who in (
        {},
        {"origin": "bot", "standing": "owner"},
        {"origin": "bot", "standing": "guest"},
        {"origin": "bot"},
    ):
        await crew.say("/words 1", **who)
    offered = [[spec.name for spec in request.tools if spec.name.startswith("mcp:")] for request in crew.requests]
    assert offered == [["mcp:probe:echo"], ["mcp:probe:echo"], ["mcp:probe:echo"], []]


async def test_a_strangers_message_in_the_middle_of_the_owners_turn_reaches_none(crew: Crew) -> None:
    await crew.hire()
    session = await db(make_session)
    turn = await crew.send(f"{tool('echo', text='mine')}\n/sleep 0.3\n/words 1\n/step\n/words 1", session)
    await crew.until(turn, "tool-output-available")
    await db(lambda: accept(session, tool("echo", text="theirs"), origin="bot"))
    await crew.ended(turn)
    mine, theirs = await db(lambda: list(turn.tool_calls.order_by("step")))
    assert (mine.state, theirs.state) == ("done", "error")
    assert theirs.error == "There is no tool named 'mcp:probe:echo'."


# --- a server that is down ---------------------------------------------------------------------


async def test_a_server_that_is_down_delays_no_turn_and_its_tools_stay(crew: Crew, settings: Any) -> None:
    settings.MCP_SERVERS = {"probe": script("exec sleep 600")}
    await db(listing.keep, "probe", listing.usable("probe", [{"name": "echo", "inputSchema": {}}]))
    await crew.hire()
    async with asyncio.timeout(10):
        assert (await crew.say("/words 1")).status == "completed"
    assert "mcp:probe:echo" in [spec.name for spec in crew.requests[0].tools]


async def test_a_server_that_was_never_heard_is_tried_again_by_later_turns(
    crew: Crew, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0)
    there = tmp_path / "there"
    settings.MCP_SERVERS = {"probe": script(f"test -e {there} && exec {sys.executable} -S {OLD_SCRIPT}")}
    await crew.hire()
    await crew.say("/words 1")
    there.touch()
    async with asyncio.timeout(20):
        while not await db(listing.kept):
            await crew.say("/words 1")
    await crew.say("/words 1")
    assert "mcp:probe:echo" not in [spec.name for spec in crew.requests[0].tools]
    assert "mcp:probe:echo" in [spec.name for spec in crew.requests[-1].tools]


async def test_turns_wait_for_a_server_that_was_never_heard(crew: Crew) -> None:
    await crew.hire()
    await crew.say("/words 1")
    assert "mcp:probe:echo" in [spec.name for spec in crew.requests[0].tools]
