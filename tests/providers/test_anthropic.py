"""The Messages API over real HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from copilot.providers.anthropic import CACHES, AnthropicProvider, messages_body
from copilot.providers.anthropic_fold import read_usage
from copilot.providers.base import (
    ModelMessage,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
    Usage,
)
from copilot.providers.wire import ToolNames
from tests.providers.answers import WEATHER, Answer, ask, collect
from tests.providers.server import Reply, failure, serve, split, sse

CACHED = {"type": "ephemeral"}


def start(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "m", "content": [], "usage": usage or {"input_tokens": 5}}}


def block(index: int, *deltas: dict[str, Any], **content: Any) -> list[dict[str, Any]]:
    opened = {"type": "content_block_start", "index": index, "content_block": content}
    pieces = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [opened, *pieces, {"type": "content_block_stop", "index": index}]


def says(*texts: str, index: int = 0) -> list[dict[str, Any]]:
    return block(index, *({"type": "text_delta", "text": text} for text in texts), type="text", text="")


def calls(index: int, ident: str, *arguments: str, name: str = "get_weather", **more: Any) -> list[dict[str, Any]]:
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in arguments)
    return block(index, *deltas, **{"type": "tool_use", "id": ident, "name": name, "input": {}, **more})


def end(reason: str | None = "end_turn", **usage: Any) -> list[dict[str, Any]]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage or {"output_tokens": 3}},
        {"type": "message_stop"},
    ]


def stream_of(*events: Any) -> bytes:
    return sse(*events, done=False, named=True)


async def answer_to(body: bytes, size: int = 0, **fields: Any) -> Answer:
    async with serve(Reply(split(body, size))) as server:
        return await collect(AnthropicProvider(api_key="sk-ant-1", base_url=server.url).stream(ask(**fields)))


@pytest.mark.parametrize("size", [0, 7, 17])
async def test_text_and_usage(size: int) -> None:
    body = stream_of(start(input_tokens=5, output_tokens=1), {"type": "ping"}, *says("Grüezi ", "🌧!"), *end())
    answer = await answer_to(body, size)
    assert answer.text == "Grüezi 🌧!"
    assert answer.usage == Usage(input_tokens=5, output_tokens=3)
    assert answer.stop is not None
    assert (answer.stop.reason, answer.stop.again) == ("stop", False)


@pytest.mark.parametrize("size", [0, 7])
async def test_signed_and_redacted_thinking(size: int) -> None:
    thinking = block(
        0,
        {"type": "thinking_delta", "thinking": "Hm, "},
        {"type": "thinking_delta", "thinking": "rain."},
        {"type": "signature_delta", "signature": "sig"},
        type="thinking",
        thinking="",
    )
    redacted = block(1, type="redacted_thinking", data="opaque")
    answer = await answer_to(stream_of(start(), *thinking, *redacted, *says("Yes", index=2), *end()), size)
    assert (answer.reasoning, answer.text) == ("Hm, rain.", "Yes")
    assert answer.extras == [{"signature": "sig"}, {"redacted": "opaque"}]


async def test_thinking_that_is_left_out_still_has_its_signature() -> None:
    thinking = block(0, {"type": "signature_delta", "signature": "sig"}, type="thinking", thinking="")
    assert (await answer_to(stream_of(start(), *thinking, *end()))).extras == [{"signature": "sig"}]


@pytest.mark.parametrize("size", [0, 17])
async def test_parallel_tool_calls(size: int) -> None:
    body = stream_of(
        start(), *says("Let me see."), *calls(1, "a", '{"city":', '"Bern"}'), *calls(2, "b", ""), *end("tool_use")
    )
    answer = await answer_to(body, size, tools=(WEATHER,))
    assert answer.called() == [("get_weather", '{"city":"Bern"}'), ("get_weather", "")]
    assert [call.id for call in answer.calls.values()] == ["a", "b"]
    assert answer.stop is not None
    assert answer.stop.reason == "tool-calls"


async def test_input_that_comes_whole() -> None:
    body = stream_of(start(), *calls(0, "a", input={"city": "Bern"}), *end("tool_use"))
    assert (await answer_to(body)).called() == [("get_weather", '{"city":"Bern"}')]


async def test_the_providers_own_tools_are_not_ours_to_run() -> None:
    own = block(
        0,
        {"type": "input_json_delta", "partial_json": '{"q":1}'},
        type="server_tool_use",
        id="s",
        name="web",
        input={},
    )
    result = block(1, type="web_search_tool_result", tool_use_id="s", content=[])
    answer = await answer_to(stream_of(start(), *own, *result, *says("Found.", index=2), *end()))
    assert answer.called() == []
    assert answer.stop is not None
    assert answer.stop.reason == "stop"


async def test_unknown_events_blocks_and_deltas_are_passed_over() -> None:
    odd = block(0, {"type": "new_delta", "x": 1}, type="new_block")
    answer = await answer_to(stream_of(start(), {"type": "new_event"}, *odd, *says("Hi", index=1), *end()))
    assert (answer.text, answer.error) == ("Hi", None)


async def test_a_message_that_starts_again_counts_its_blocks_anew() -> None:
    cut = calls(1, "first", '{"city":"Be')[:-1]
    body = stream_of(
        start(), *cut, start(input_tokens=5), *calls(1, "second", '{"city":"Bern"}'), *end("tool_use")
    )
    answer = await answer_to(body)
    assert answer.called() == [("get_weather", '{"city":"Be'), ("get_weather", '{"city":"Bern"}')]
    assert answer.usage == Usage(5, 3)


@pytest.mark.parametrize(
    ("reason", "expected", "again"),
    [
        ("end_turn", "stop", False),
        ("stop_sequence", "stop", False),
        ("max_tokens", "length", False),
        ("model_context_window_exceeded", "length", False),
        ("refusal", "content-filter", False),
        ("pause_turn", "other", True),
        ("something new", "other", False),
        (None, "other", False),
    ],
)
async def test_stop_reasons(reason: str | None, expected: str, again: bool) -> None:
    stop = (await answer_to(stream_of(start(), *says("x"), *end(reason)))).stop
    assert stop is not None
    assert (stop.reason, stop.again) == (expected, again)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        pytest.param(
            {
                "input_tokens": 10,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 20,
                "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 4},
            },
            Usage(130, 7, 4, 100, 20),
            id="cache beside the input",
        ),
        pytest.param({"input_tokens": 10, "cache_read_input_tokens": None}, Usage(10), id="null"),
        pytest.param(
            {
                "input_tokens": 30,
                "output_tokens": 6,
                "iterations": [
                    {"type": "message", "input_tokens": 10, "output_tokens": 4},
                    {
                        "type": "advisor_message",
                        "input_tokens": 50,
                        "output_tokens": 9,
                        "cache_read_input_tokens": 5,
                    },
                    {"type": "message", "input_tokens": 20, "output_tokens": 2},
                ],
            },
            Usage(85, 15, 0, 5),
            id="billed iterations",
        ),
    ],
)
def test_usage_conventions(raw: dict[str, Any], usage: Usage) -> None:
    assert read_usage(raw) == usage


async def test_later_usage_replaces_the_earlier() -> None:
    first = start(input_tokens=43, output_tokens=1, cache_read_input_tokens=2)
    answer = await answer_to(stream_of(first, *says("x"), *end(input_tokens=61, output_tokens=2)))
    assert answer.usage == Usage(63, 2, 0, 2)


@pytest.mark.parametrize("cut_at", ["complete", "cut"])
@pytest.mark.parametrize("events", [says("part"), [*says("part"), end()[0]]])
async def test_a_stream_without_its_end_is_a_network_error_and_keeps_what_came(events: Any, cut_at: Any) -> None:
    async with serve(Reply([stream_of(start(), *events)], end=cut_at)) as server:
        answer = await collect(AnthropicProvider(api_key="k", base_url=server.url).stream(ask()))
    assert answer.text == "part"
    assert answer.usage is not None
    assert answer.usage.input_tokens == 5
    assert answer.stop is None
    assert answer.error is not None
    assert answer.error.code == "network"


@pytest.mark.parametrize(
    "broken", [b'data: {"type": \n\n', b"data: 7\n\n", b'data: {"type": "content_block_start"}\n\n']
)
async def test_a_broken_event_is_a_network_error(broken: bytes) -> None:
    answer = await answer_to(stream_of(start(), *says("x")) + broken)
    assert answer.text == "x"
    assert answer.error is not None
    assert answer.error.code == "network"


async def test_overloaded_inside_the_stream() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    answer = await answer_to(stream_of(start(), *says("part"), error))
    assert answer.text == "part"
    assert answer.error is not None
    assert (answer.error.code, answer.error.transient) == ("overloaded", True)


async def test_an_answer_that_was_not_streamed() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "sig"},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "a", "name": "one", "input": {"x": 1}},
    ]
    usage = {"input_tokens": 3, "output_tokens": 2}
    message = {"type": "message", "content": content, "stop_reason": "tool_use", "usage": usage}
    answer = await answer_to(json.dumps(message).encode())
    assert (answer.text, answer.reasoning, answer.extras) == ("Hi", "Hm", [{"signature": "sig"}])
    assert answer.called() == [("one", '{"x":1}')]
    assert answer.usage == Usage(3, 2)
    assert answer.stop is not None
    assert answer.stop.reason == "tool-calls"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"type": "error", "error": {"type": "rate_limit_error", "message": "Slow"}}', "rate_limit"),
        ('{"content": "Hi"}', "unknown"),
        ("<html></html>", "unknown"),
    ],
)
async def test_something_else_with_status_200(body: str, code: str) -> None:
    error = (await answer_to(body.encode())).error
    assert error is not None
    assert error.code == code


async def test_overloaded_with_a_wish_to_wait() -> None:
    refused = failure(
        529, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, retry_after="7"
    )
    async with serve(refused) as server:
        error = (await collect(AnthropicProvider(api_key="k", base_url=server.url).stream(ask()))).error
        assert len(server.requests) == 1
    assert error is not None
    assert (error.code, error.retry_after) == ("overloaded", 7)


async def test_closing_the_stream_closes_the_connection() -> None:
    async with serve(Reply([stream_of(start(), *says("x"))], end="open")) as server:
        stream = AnthropicProvider(api_key="k", base_url=server.url).stream(ask())
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(5):
            await server.abandoned.wait()


LOOP = (
    ModelMessage("user", (TextPart("Weather?"),)),
    ModelMessage(
        "assistant",
        (
            ReasoningPart("Hm", {"signature": "sig"}),
            ReasoningPart("", {"redacted": "opaque"}),
            ReasoningPart("another provider's"),
            TextPart("  "),
            ToolCallPart("a:0", "get_weather", {"city": "Bern"}),
            ToolCallPart("b", "mcp:maps:find", {}),
        ),
    ),
    ModelMessage("tool", (ToolResultPart("a:0", "get_weather", "rain"),)),
    ModelMessage("tool", (ToolResultPart("b", "mcp:maps:find", "no", is_error=True),)),
    ModelMessage("user", (TextPart("Faster!"),)),
    ModelMessage("user", (TextPart("Please."),)),
)


@pytest.mark.parametrize("suffix", ["", "/", "/v1"])
async def test_what_is_sent(suffix: str) -> None:
    tools = (WEATHER, ToolSpec("mcp:maps:find", "Finds.", {}))
    async with serve(Reply([stream_of(start(), *says("x"), *end())])) as server:
        provider = AnthropicProvider(api_key="sk-1", base_url=server.url + suffix)
        await collect(provider.stream(ask(messages=LOOP, tools=tools)))
        request = server.requests[0]
    assert request.path == "/v1/messages"
    assert request.headers["authorization"] == "Bearer sk-1"
    body = request.body
    assert (body["model"], body["stream"], body["max_tokens"]) == ("m-1", True, 8192)
    assert "thinking" not in body
    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": CACHED}]
    assert [(tool["name"], tool.get("cache_control")) for tool in body["tools"]] == [
        ("get_weather", None),
        ("mcp__maps__find", CACHED),
    ]
    assert body["tools"][1]["input_schema"] == {"type": "object", "properties": {}}
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "opaque"},
                {"type": "tool_use", "id": "a__0", "name": "get_weather", "input": {"city": "Bern"}},
                {"type": "tool_use", "id": "b", "name": "mcp__maps__find", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a__0", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "b", "content": "no", "is_error": True},
                {"type": "text", "text": "Faster!"},
                {"type": "text", "text": "Please."},
            ],
        },
    ]


@pytest.mark.parametrize(("effort", "budget"), [("low", 2048), ("medium", 8192), ("high", 24576)])
@pytest.mark.parametrize("limit", [0, 1000])
@pytest.mark.parametrize(
    "model", ["claude-sonnet-4-5", "claude-sonnet-4-20250514", "claude-3-7-sonnet-latest", "x"]
)
def test_effort_is_a_budget_within_the_limit_of_output(model: str, limit: int, effort: str, budget: int) -> None:
    body = messages_body(ask(model=model, effort=effort, max_output_tokens=limit), ToolNames(()), CACHES["5m"])
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] >= budget + 1000
    assert "output_config" not in body


@pytest.mark.parametrize("model", ["claude-opus-4-6", "claude-opus-4-8", "claude-sonnet-5", "claude-haiku-5-5"])
def test_newer_models_take_the_effort_as_it_is(model: str) -> None:
    body = messages_body(ask(model=model, effort="high"), ToolNames(()), CACHES["5m"])
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "high"}
    assert body["max_tokens"] > 24576
    assert not {"thinking", "output_config"} & set(messages_body(ask(model=model), ToolNames(()), CACHES["5m"]))


@pytest.mark.parametrize(
    ("cache", "marker"),
    [("5m", {"type": "ephemeral"}), ("1h", {"type": "ephemeral", "ttl": "1h"}), ("off", None)],
)
async def test_how_long_system_and_tools_are_cached(cache: str, marker: dict[str, Any] | None) -> None:
    async with serve(Reply([stream_of(start(), *says("x"), *end())])) as server:
        provider = AnthropicProvider(api_key="k", base_url=server.url, cache=cache)
        await collect(provider.stream(ask(tools=(WEATHER, ToolSpec("two", "", {})))))
        (request,) = server.requests
    assert request.body["system"][0].get("cache_control") == marker
    assert [tool.get("cache_control") for tool in request.body["tools"]] == [None, marker]
    assert "cache_control" not in json.dumps(request.body["messages"])


async def test_what_its_own_tools_did_goes_back_after_a_pause() -> None:
    query = {"type": "input_json_delta", "partial_json": '{"query":"x"}'}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"encrypted_content": "E"}]}
    body = stream_of(
        start(),
        *says("Let me search."),
        *block(1, query, type="server_tool_use", id="s", name="web_search", input={}),
        *block(2, **found),
        *says("More", index=3),
        *end("pause_turn"),
    )
    answer = await answer_to(body)
    assert answer.stop is not None
    assert answer.stop.again
    assert (answer.text, answer.calls) == ("Let me search.More", {})
    messages = (ask().messages[0], *answer.as_step(""))
    assert messages_body(ask(messages=messages), ToolNames(()), {})["messages"][-1] == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Let me search."},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
            found,
            {"type": "text", "text": "More"},
        ],
    }


async def test_a_block_of_its_own_that_was_cut_stays_away() -> None:
    half = {"type": "input_json_delta", "partial_json": '{"qu'}
    cut = block(1, half, type="server_tool_use", id="s", name="web_search", input={})
    answer = await answer_to(stream_of(start(), *says("Hm"), *cut, *end("max_tokens")))
    assert answer.error is None
    assert answer.extras == []


def test_calls_of_several_steps_with_one_id_stay_apart() -> None:
    step = (
        ModelMessage("assistant", (ToolCallPart("call:0", "one", {}),)),
        ModelMessage("tool", (ToolResultPart("call:0", "one", "x"),)),
    )
    content = [item["content"][0] for item in messages_body(ask(messages=step * 2), ToolNames(()), {})["messages"]]
    assert [item.get("id") or item["tool_use_id"] for item in content] == [
        "call__0",
        "call__0",
        "call__0_2",
        "call__0_2",
    ]


@pytest.mark.parametrize("model", ["claude-3-5-haiku-20241022", "claude-3-opus-20240229"])
def test_models_that_do_not_think_get_no_budget(model: str) -> None:
    body = messages_body(ask(model=model, effort="high"), ToolNames(()), {})
    assert set(body) == {"model", "messages", "stream", "max_tokens", "system"}


def test_calls_of_earlier_are_declared_when_no_tool_is_offered() -> None:
    step = (
        ModelMessage("assistant", (ToolCallPart("a", "mcp:maps:find", {}),)),
        ModelMessage("tool", (ToolResultPart("a", "mcp:maps:find", "x"),)),
    )
    body = messages_body(ask(messages=step), ToolNames(()), CACHES["5m"])
    assert [tool["name"] for tool in body["tools"]] == ["mcp__maps__find"]
    assert body["tool_choice"] == {"type": "none"}
    offered = messages_body(ask(messages=step, tools=(WEATHER,)), ToolNames([WEATHER.name]), {})
    assert [tool["name"] for tool in offered["tools"]] == ["get_weather"]
    assert "tool_choice" not in offered


@pytest.mark.parametrize("effort", ["", "none"])
def test_no_effort_sends_nothing(effort: str) -> None:
    body = messages_body(ask(effort=effort, max_output_tokens=77), ToolNames(()), CACHES["5m"])
    assert set(body) == {"model", "messages", "stream", "max_tokens", "system"}
    assert body["max_tokens"] == 77


def test_thinking_is_not_turned_on_in_the_middle_of_a_tool_loop() -> None:
    question, signed = LOOP[0], LOOP[1]
    bare = ModelMessage("assistant", (ToolCallPart("a", "get_weather", {}),))
    result = ModelMessage("tool", (ToolResultPart("a", "get_weather", "rain"),))

    def thinks(*messages: ModelMessage) -> bool:
        return "thinking" in messages_body(ask(messages=messages, effort="low"), ToolNames(()), CACHES["5m"])

    assert not thinks(question, bare, result)
    assert thinks(question, signed, result)
    assert thinks(question, signed, result, bare, result)
    assert thinks(question, bare, result, question)
