"""``MCP_SERVERS``: what is understood, and what is said about the rest."""

from __future__ import annotations

from typing import Any

import pytest

from common.redaction import redact_text
from copilot.mcp.config import Server, server_problems, servers


def test_programs_and_addresses_are_understood(settings: Any) -> None:
    settings.MCP_SERVERS = {
        "web": {"url": "https://a.example/mcp", "headers": {"Authorization": "Bearer x"}},
        "local": {"command": "npx", "args": ["-y", "files"], "env": {"A": "b"}},
        "bare": {"command": "x"},
    }
    assert server_problems() == []
    assert list(servers().values()) == [
        Server("bare", command="x"),
        Server("local", command="npx", args=("-y", "files"), env={"A": "b"}),
        Server("web", url="https://a.example/mcp", headers={"Authorization": "Bearer x"}),
    ]


@pytest.mark.parametrize(
    ("name", "entry", "said"),
    [
        ("Upper", {"command": "x"}, "a name is made of"),
        ("", {"command": "x"}, "a name is made of"),
        ("a" * 33, {"command": "x"}, "a name is made of"),
        ("a:b", {"command": "x"}, "a name is made of"),
        ("zoo", "npx files", "expected {"),
        ("zoo", {}, "expected {"),
        ("zoo", {"command": "x", "url": "https://a.example"}, "expected {"),
        ("zoo", {"command": ""}, "command must be"),
        ("zoo", {"command": ["x"]}, "command must be"),
        ("zoo", {"command": "x", "args": "-y"}, "args must be"),
        ("zoo", {"command": "x", "args": [1]}, "args must be"),
        ("zoo", {"command": "x", "env": ["A=b"]}, "env must be"),
        ("zoo", {"command": "x", "env": {"A": 1}}, "env must be"),
        ("zoo", {"command": "x", "env": {"A=B": "c"}}, "env must be"),
        ("zoo", {"command": "x", "headers": {}}, "unknown field headers"),
        ("zoo", {"url": "ftp://a.example"}, "url must be"),
        ("zoo", {"url": 1}, "url must be"),
        ("zoo", {"url": "https://a.example", "headers": {"A": "b\nc"}}, "headers must be"),
        ("zoo", {"url": "https://a.example", "env": {}}, "unknown field env"),
    ],
)
def test_what_is_not_is_said_in_one_sentence(settings: Any, name: str, entry: Any, said: str) -> None:
    settings.MCP_SERVERS = {name: entry, "fine": {"command": "x"}}
    [problem] = server_problems()
    assert problem.startswith(f"MCP_SERVERS: {name}: ")
    assert said in problem
    assert list(servers()) == ["fine"], "nothing half understood is started"


def test_what_servers_are_given_is_hidden_everywhere(settings: Any) -> None:
    settings.MCP_SERVERS = {
        "web": {
            "url": "https://a.example/mcp",
            "headers": {"Authorization": "Bearer zebra-crossing", "Accept-Language": "en-GB,en;q=0.5"},
        },
        "local": {"command": "x", "env": {"ZOO_TOKEN": "giraffe-feeding", "ZOO_HOME": "/srv/zoo/house"}},
        "broken": "x",
    }
    text = redact_text("zebra-crossing giraffe-feeding /srv/zoo/house en-GB,en;q=0.5")
    assert "zebra" not in text
    assert "giraffe" not in text
    assert text.endswith(" /srv/zoo/house en-GB,en;q=0.5")
