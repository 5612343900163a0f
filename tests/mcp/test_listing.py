"""Which tools of a server are offered, and what is kept of them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from common.errors import Invalid
from copilot.mcp import listing
from copilot.mcp.listing import usable
from copilot.models import McpServer
from copilot.providers.wire import ToolNames
from copilot.tools.budget import DEFINITIONS_MAX, size_of
from copilot.tools.mcp import mcp_tools
from copilot.tools.registry import offered_tools, tool_names
from tests.factories import make_session


def tool(name: str = "look", /, **over: Any) -> dict[str, Any]:
    """Return a tool as it is on the wire."""
    return {"name": name, "description": "Look.", "inputSchema": {"type": "object", "properties": {}}, **over}


def keep(server: str, *tools: dict[str, Any]) -> None:
    listing.keep(server, usable(server, tools))


def schema(**over: Any) -> dict[str, Any]:
    return {"inputSchema": {"type": "object", **over}}


# --- one server -----------------------------------------------------------------------------


def test_tools_are_in_the_order_of_their_names() -> None:
    assert [each.name for each in usable("s", [tool("b"), tool("c"), tool("a")])] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("unusable", "reason"),
    [
        (tool(""), "its name"),
        (tool("with space"), "its name"),
        (tool("a:b"), "its name"),
        (tool("ü"), "its name"),
        (tool("x" * 123), "its name"),
        (tool(inputSchema=None), "no JSON object"),
        (tool(inputSchema={"type": "array"}), "no JSON object"),
        (tool(**schema(properties={"a": {"type": "no such type"}})), "broken"),
        (tool(**schema(properties=[])), "broken"),
        (tool(**schema(anyOf=[{}])), "anyOf at the top"),
        (tool(**schema(properties={"a": {"$ref": "https://example.org/x"}})), "other documents"),
        (tool(**schema(description="x" * 8000)), "more than 8000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tool_that_no_provider_takes_is_left_out_with_a_line_in_the_log(
    unusable: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert [each.name for each in usable("s", [unusable, tool("fine")])] == ["fine"]
    [record] = caplog.records
    assert reason in record.getMessage()


def test_of_two_tools_with_one_name_the_first_counts() -> None:
    assert [each.description for each in usable("s", [tool("a"), tool("a", description="Other.")])] == ["Look."]


def test_there_are_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "TOOLS_MAX", 2)
    found = usable("s", [tool(str(n), description="d" * 5000) for n in range(5)])
    assert [len(each.description) for each in found] == [listing.DESCRIPTION_MAX] * 2


def test_references_inside_a_schema_are_fine() -> None:
    inside = schema(properties={"a": {"$ref": "#/$defs/a"}}, **{"$defs": {"a": {"type": "string"}}})
    assert usable("s", [tool(**inside)])


@pytest.mark.parametrize(
    ("annotations", "asks", "idempotent"),
    [
        (None, True, False),
        ({}, True, False),
        ({"readOnlyHint": True}, False, True),
        ({"readOnlyHint": False, "idempotentHint": True}, True, True),
        ({"readOnlyHint": "yes"}, True, False),
        ({"destructiveHint": False}, True, False),
    ],
    ids=str,
)
@pytest.mark.django_db
def test_what_a_server_says_of_its_tool_decides_its_defaults(
    settings: Any, annotations: Any, asks: bool, idempotent: bool
) -> None:
    settings.MCP_SERVERS = {"s": {"url": "http://127.0.0.1:1/"}}
    keep("s", tool(annotations=annotations))
    [found] = mcp_tools()
    assert (found.asks, found.idempotent) == (asks, idempotent)


# --- all tools ------------------------------------------------------------------------------


@pytest.mark.django_db
def test_tools_are_named_after_their_server_and_come_last(settings: Any) -> None:
    settings.MCP_SERVERS = {name: {"url": "http://127.0.0.1:1/"} for name in ("zoo", "art")}
    keep("zoo", tool("b"), tool("a.x"))
    keep("art", tool("c"))
    keep("gone", tool("d"))
    names = [each.name for each in offered_tools("demo/demo", None)]
    assert names[-3:] == ["mcp:art:c", "mcp:zoo:a.x", "mcp:zoo:b"]
    assert "mcp:gone:d" not in tool_names()
    wire = ToolNames(names)
    assert wire.wire("mcp:zoo:a.x") == "mcp__zoo__a_x"
    assert wire.original("mcp__zoo__a_x") == "mcp:zoo:a.x"


@pytest.mark.django_db
def test_globs_and_strangers_narrow_them(settings: Any) -> None:
    settings.MCP_SERVERS = {"zoo": {"url": "http://127.0.0.1:1/"}}
    keep("zoo", tool("a"), tool("b"))
    assert [each.name for each in offered_tools("demo/demo", ["mcp:zoo:*"])] == ["mcp:zoo:a", "mcp:zoo:b"]
    assert offered_tools("demo/demo", ["mcp:zoo:*"], mcp=False) == []


@pytest.mark.django_db
def test_all_schemas_together_have_a_size(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.MCP_SERVERS = {"zoo": {"url": "http://127.0.0.1:1/"}}
    keep("zoo", *(tool(f"t{n}", **schema(description="x" * 7000)) for n in range(6)), tool("z"))
    with caplog.at_level(logging.WARNING):
        found = offered_tools("demo/demo", None)
    assert sum(size_of(each) for each in found) <= DEFINITIONS_MAX
    names = [each.name for each in found if each.name.startswith("mcp:")]
    assert names[0] == "mcp:zoo:t0"
    assert names[-1] == "mcp:zoo:z", "what fits is offered, whatever came before it"
    assert "mcp:zoo:t5" not in names
    assert "tool left out" in caplog.text


@pytest.mark.django_db
def test_a_sessions_tools_may_name_them_and_nothing_else(settings: Any) -> None:
    settings.MCP_SERVERS = {"zoo": {"url": "http://127.0.0.1:1/"}}
    keep("zoo", tool("a"))
    assert make_session(tools=["mcp:zoo:*", "calculator"]).tools == ["mcp:zoo:*", "calculator"]
    with pytest.raises(Invalid, match="No tool matches 'mcp:art:\\*'"):
        make_session(tools=["mcp:art:*"])


@pytest.mark.django_db
def test_a_problem_leaves_the_list(settings: Any) -> None:
    settings.MCP_SERVERS = {"zoo": {"url": "http://127.0.0.1:1/"}}
    keep("zoo", tool("a"))
    listing.keep_problem("zoo", "it ended, password=hunter2hunter2")
    assert [each.name for each in mcp_tools()] == ["mcp:zoo:a"]
    assert "hunter2" not in McpServer.objects.get().problem
    keep("zoo", tool("b"))
    assert McpServer.objects.get().problem == ""


def test_without_servers_no_row_is_read() -> None:
    assert mcp_tools() == []  # a query would fail: this test has no database
