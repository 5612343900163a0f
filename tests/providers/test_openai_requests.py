"""What a server of chat completions is asked."""

from __future__ import annotations

import pytest

from copilot.providers.base import (
    ModelMessage,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
)
from copilot.providers.dialects import OPENAI
from copilot.providers.openai import OpenAIProvider, chat_body
from copilot.providers.wire import ToolNames
from tests.providers.answers import WEATHER, ask, collect
from tests.providers.chat import answer_to, call, chunk
from tests.providers.server import EVENT_STREAM, Reply, serve, sse


async def test_what_is_sent() -> None:
    history = (
        ModelMessage("user", (TextPart("Weather?"),)),
        ModelMessage(
            "assistant",
            (
                ReasoningPart("Hm", {"signature": "s"}),
                TextPart("Let me see."),
                ToolCallPart("a", "get_weather", {"c": 1}),
            ),
        ),
        ModelMessage("tool", (ToolResultPart("a", "get_weather", "rain"),)),
        ModelMessage("assistant", (ToolCallPart("b", "mcp:maps:find", {}), ToolCallPart("c", "get_weather", {}))),
        ModelMessage("tool", (ToolResultPart("b", "mcp:maps:find", "x"), ToolResultPart("c", "get_weather", "y"))),
        ModelMessage("user", (TextPart("And"), TextPart(" now?"))),
    )
    async with serve(Reply([sse(chunk({"content": "x"}, "stop"))], headers=EVENT_STREAM)) as server:
        provider = OpenAIProvider(api_key="sk-1", base_url=f"{server.url}/v1")
        tools = (WEATHER, ToolSpec("mcp:maps:find", "Finds.", {"type": "object"}))
        await collect(
            provider.stream(ask(messages=history, tools=tools, effort="low", max_output_tokens=9, model="x/y"))
        )
        request = server.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer sk-1"
    body = request.body
    assert (body["model"], body["stream"], body["stream_options"]) == ("x/y", True, {"include_usage": True})
    assert (body["reasoning_effort"], body["max_tokens"]) == ("low", 9)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_weather", "mcp__maps__find"]
    assert [message["role"] for message in body["messages"]] == [
        "system", "user", "assistant", "tool", "assistant", "tool", "tool", "user",
    ]  # fmt: skip
    assert body["messages"][2] == {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": '{"c":1}'}}
        ],
    }
    assert body["messages"][3] == {"role": "tool", "tool_call_id": "a", "content": "rain"}
    assert body["messages"][7]["content"] == "And now?"


@pytest.mark.parametrize("effort", ["", "none"])
def test_no_effort_sends_nothing(effort: str) -> None:
    body = chat_body(ask(effort=effort), ToolNames(()), OPENAI)
    assert set(body) == {"model", "messages", "stream", "stream_options"}


def test_openai_itself_wants_newer_names_and_short_ids() -> None:
    long = "toolu_" + "x" * 60
    history = (
        ModelMessage("assistant", (ToolCallPart(long, "one", {}),)),
        ModelMessage("tool", (ToolResultPart(long, "one", "x"),)),
    )
    body = chat_body(ask(messages=history, max_output_tokens=5), ToolNames(()), OPENAI)
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body
    ident = body["messages"][1]["tool_calls"][0]["id"]
    assert len(ident) <= 40
    assert body["messages"][2]["tool_call_id"] == ident


async def test_a_called_tool_has_our_name_again() -> None:
    tools = (ToolSpec("mcp:maps:find", "", {}),)
    body = sse(chunk(call("{}", index=0, id="a", name="mcp__maps__find")), chunk({}, "tool_calls"))
    assert (await answer_to(body, tools=tools)).called() == [("mcp:maps:find", "{}")]


def test_names_on_the_wire_are_allowed_and_distinct() -> None:
    ours = ["a.b", "a_b", "x" * 70, "x" * 71, "", "fine-name"]
    names = ToolNames(ours)
    wire = [names.wire(name) for name in ours]
    assert len(set(wire)) == len(ours)
    assert all(0 < len(name) <= 64 and name.replace("-", "_").isidentifier() for name in wire)
    assert [names.original(name) for name in wire] == ours
    assert names.wire("fine-name") == "fine-name"
