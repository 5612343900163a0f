"""What a server returned becomes text or JSON."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.mcp import results
from copilot.mcp.errors import McpError
from copilot.mcp.results import output_of


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"content": []}, ""),
        ({"content": [said("a"), said("b")]}, "a\nb"),
        ({"content": [said('{"a": 1}')]}, '{"a": 1}'),
        ({"content": [], "structuredContent": {"a": 1}}, {"a": 1}),
        ({"content": [said('{ "a": 1 }')], "structuredContent": {"a": 1}}, {"a": 1}),
        ({"content": [said("a")], "structuredContent": {"result": "a"}}, "a"),
        (
            {"content": [said("a")], "structuredContent": {"result": None}},
            {"text": "a", "structured": {"result": None}},
        ),
        ({"content": [said("7")], "structuredContent": {"result": 7}}, 7),
        ({"content": [said('{"result": 7}')], "structuredContent": {"result": 7}}, {"result": 7}),
        ({"content": [said("x")], "structuredContent": {"a": 1}}, {"text": "x", "structured": {"a": 1}}),
        (
            {"content": [said("see"), {"type": "image", "data": "QQ==", "mimeType": "image/png"}]},
            "see\n[image, image/png: not shown]",
        ),
        ({"content": [{"type": "audio", "data": "QQ=="}]}, "[audio, unknown type: not shown]"),
        ({"content": [{"type": "resource_link", "uri": "file:///a", "name": "a.txt"}]}, "[a.txt: file:///a]"),
        ({"content": [{"type": "resource", "resource": {"uri": "x://a", "text": "inside"}}]}, "inside"),
        (
            {"content": [{"type": "resource", "resource": {"uri": "x://a", "blob": "QQ=="}}]},
            "[resource x://a, unknown type: not shown]",
        ),
    ],
)
def test_a_result_is_its_text_or_its_json(result: dict[str, Any], expected: Any) -> None:
    assert output_of(result) == expected


def test_an_error_is_raised_in_the_servers_words() -> None:
    with pytest.raises(McpError, match="no such file"):
        output_of({"content": [said("no such file")], "isError": True})
    with pytest.raises(McpError, match="did not say why"):
        output_of({"content": [], "isError": True})


def test_a_result_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULT_MAX", 10)
    assert output_of({"content": [said("x" * 11)]}) == "x" * 10 + "\n[cut: 11 characters in all]"
    large = {"content": [said("short")], "structuredContent": {"a": "y" * 20}}
    assert output_of(large) == "short"


def test_an_error_has_a_size() -> None:
    with pytest.raises(McpError) as caught:
        output_of({"content": [said("x" * 5000)], "isError": True})
    assert len(str(caught.value)) < 4100
