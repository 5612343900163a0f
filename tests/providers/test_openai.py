"""Chat completions over real HTTP, in the dialects that servers speak."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from copilot.providers.base import (
    ModelMessage,
    ReasoningPart,
    Text,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
    Usage,
)
from copilot.providers.openai import OpenAIProvider, chat_body
from copilot.providers.openai_fold import read_usage
from copilot.providers.wire import ToolNames
from tests.providers.answers import WEATHER, Answer, ask, collect
from tests.providers.server import EVENT_STREAM, Reply, failure, serve, split, sse


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "choices": [choice], **more}


def call(arguments: Any = None, **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", None)
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"tool_calls": [{**fields, "type": "function", "function": function}]}


async def answer_to(body: bytes, size: int = 0, **fields: Any) -> Answer:
    async with serve(Reply(split(body, size))) as server:
        provider = OpenAIProvider(api_key="sk-test-0123456789", base_url=f"{server.url}/v1")
        return await collect(provider.stream(ask(**fields)))


@pytest.mark.parametrize("size", [0, 7, 17])
async def test_text_reasoning_and_usage(size: int) -> None:
    body = b": PROCESSING\n\n" + sse(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "Hm, ", "content": None}),
        chunk({"reasoning": "Zürich."}),
        chunk({"content": "Grüezi 🌧"}),
        chunk({"content": "!"}),
        chunk({}, "stop"),
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}},
    )
    answer = await answer_to(body, size)
    assert (answer.text, answer.reasoning) == ("Grüezi 🌧!", "Hm, Zürich.")
    assert answer.usage == Usage(input_tokens=9, output_tokens=4)
    assert answer.stop is not None
    assert (answer.stop.reason, answer.stop.again) == ("stop", False)


async def test_text_arrives_before_the_answer_is_complete() -> None:
    async with serve(Reply([sse(chunk({"content": "first"}), done=False)], end="open")) as server:
        stream = OpenAIProvider(api_key="k", base_url=server.url).stream(ask())
        assert await anext(stream) == Text("first")
        await stream.aclose()


@pytest.mark.parametrize("size", [0, 7])
async def test_parallel_tool_calls_are_told_apart_by_index(size: int) -> None:
    body = sse(
        chunk(call("", index=0, id="call_a", name="get_weather")),
        chunk(call('{"city":', index=0)),
        chunk(call("", index=1, id="call_b", name="get_weather")),
        chunk(call('"Bern"}', index=0)),
        chunk(call('{"city":"Genf"}', index=1)),
        chunk({}, "tool_calls"),
    )
    answer = await answer_to(body, size, tools=(WEATHER,))
    assert answer.called() == [("get_weather", '{"city":"Bern"}'), ("get_weather", '{"city":"Genf"}')]
    assert [start.id for start in answer.calls.values()] == ["call_a", "call_b"]
    assert answer.stop is not None
    assert answer.stop.reason == "tool-calls"


async def test_tool_calls_without_an_index() -> None:
    both = call("{}", id="a", name="one")["tool_calls"] + call('{"x":1}', id="b", name="two")["tool_calls"]
    answer = await answer_to(sse(chunk({"tool_calls": both}), chunk({}, "tool_calls")))
    assert answer.called() == [("one", "{}"), ("two", '{"x":1}')]


async def test_a_call_without_an_index_goes_on_in_later_chunks() -> None:
    body = sse(
        chunk(call(None, id="a", name="one")), chunk(call('{"x"')), chunk(call(":1}")), chunk({}, "tool_calls")
    )
    assert (await answer_to(body)).called() == [("one", '{"x":1}')]


async def test_a_repeated_name_and_id_are_not_joined() -> None:
    again = {"index": 0, "id": "a", "name": "version"}
    body = sse(chunk(call("", **again)), chunk(call("{}", **again)), chunk({}, "tool_calls"))
    answer = await answer_to(body)
    assert answer.called() == [("version", "{}")]
    assert answer.calls[0].id == "a"


async def test_calls_that_share_one_index_but_not_their_id_are_two() -> None:
    body = sse(
        chunk(call('{"x":1}', index=0, id="a", name="one")),
        chunk(call('{"x":2}', index=0, id="b", name="one")),
        chunk({}, "stop"),
    )
    assert (await answer_to(body)).called() == [("one", '{"x":1}'), ("one", '{"x":2}')]


@pytest.mark.parametrize("ident", [{}, {"id": ""}, {"id": None}])
async def test_a_call_without_an_id_gets_one(ident: dict[str, Any]) -> None:
    answer = await answer_to(sse(chunk(call("{}", index=1, name="one", **ident)), chunk({}, "tool_calls")))
    assert answer.calls[0].id.startswith("call_")


async def test_two_calls_with_the_same_id_get_different_ones() -> None:
    body = sse(
        chunk(call("{}", index=0, id="a", name="one")),
        chunk(call("{}", index=1, id="a", name="two")),
        chunk({}, "tool_calls"),
    )
    ids = [start.id for start in (await answer_to(body)).calls.values()]
    assert ids[0] == "a"
    assert ids[1] != "a"


@pytest.mark.parametrize("arguments", [None, "", {"x": 1}])
async def test_arguments_may_be_absent_or_an_object(arguments: Any) -> None:
    body = sse(chunk(call(arguments, index=0, id="a", name="one")), chunk({}, "tool_calls"))
    assert (await answer_to(body)).called() == [("one", '{"x":1}' if arguments else "")]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content-filter"),
        ("error", "error"),
        ("something new", "other"),
        ("", "other"),
        (None, "other"),
    ],
)
async def test_finish_reasons(reason: str | None, expected: str) -> None:
    answer = await answer_to(sse(chunk({"content": "x"}), chunk({}, reason)))
    assert answer.error is None
    assert answer.stop is not None
    assert answer.stop.reason == expected


@pytest.mark.parametrize(
    ("reason", "arguments", "expected"),
    [
        ("stop", "{}", "tool-calls"),
        ("length", '{"x', "length"),
        (None, '{"x":1}', "tool-calls"),
        (None, '{"x', "other"),
    ],
)
async def test_finish_reasons_beside_tool_calls(reason: str | None, arguments: str, expected: str) -> None:
    answer = await answer_to(sse(chunk(call(arguments, index=0, id="a", name="one")), chunk({}, reason)))
    assert answer.stop is not None
    assert answer.stop.reason == expected


async def test_a_refusal_is_visible_text() -> None:
    answer = await answer_to(sse(chunk({"refusal": "No."}), chunk({}, "stop")))
    assert answer.text == "No."
    assert answer.stop is not None
    assert answer.stop.reason == "content-filter"


async def test_only_the_first_choice_is_read() -> None:
    body = sse(chunk({"content": "a"}), chunk({"content": "z"}, index=1), {"choices": []}, chunk({}, "stop"))
    assert (await answer_to(body)).text == "a"


async def test_content_may_be_a_list() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    body = sse(
        chunk({"content": [thinking]}), chunk({"content": [{"type": "text", "text": "Hi"}]}), chunk({}, "stop")
    )
    answer = await answer_to(body)
    assert (answer.reasoning, answer.text) == ("Hm", "Hi")


async def test_reasoning_may_only_be_in_its_details() -> None:
    details = [{"type": "reasoning.text", "text": "Hm"}]
    assert (await answer_to(sse(chunk({"reasoning_details": details}), chunk({}, "stop")))).reasoning == "Hm"
    both = {"reasoning": "Hm", "reasoning_details": details}
    assert (await answer_to(sse(chunk(both), chunk({}, "stop")))).reasoning == "Hm"


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 80},
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(100, 50, 30, 80),
            id="both included",
        ),
        pytest.param(
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 35,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            Usage(10, 25, 20),
            id="reasoning beside the output",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 35},
            Usage(10, 25, 20),
            id="hidden reasoning",
        ),
        pytest.param(
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 45,
                "prompt_tokens_details": {"cached_tokens": 30},
            },
            Usage(40, 5, 0, 30),
            id="cache beside the input",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4},
            Usage(10, 5, 0, 4),
            id="cache hits",
        ),
        pytest.param(
            {"prompt_tokens": 1, "completion_tokens": 1, "cost": 5.952e-05},
            Usage(1, 1, cost_microdollars=60),
            id="dollars",
        ),
        pytest.param(
            {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0},
            Usage(1, 1, cost_microdollars=0),
            id="for nothing",
        ),
        pytest.param(
            {"prompt_tokens": 1, "completion_tokens": 1, "cost": {"total_cost": 0.5}},
            Usage(1, 1, cost_microdollars=500_000),
            id="cost in an object",
        ),
        pytest.param(
            {"prompt_tokens": 1, "completion_tokens": 1, "cost_in_usd_ticks": 1_330_500},
            Usage(1, 1, cost_microdollars=133),
            id="ticks",
        ),
        pytest.param({"prompt_tokens": None, "completion_tokens": "x", "cost": "free"}, Usage(), id="nonsense"),
    ],
)
def test_usage_conventions(raw: dict[str, Any], usage: Usage) -> None:
    assert read_usage(raw) == usage


async def test_usage_beside_the_finish_and_elsewhere() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    expected = Usage(3, 2)
    assert (await answer_to(sse(chunk({"content": "x"}), chunk({}, "stop", usage=usage)))).usage == expected
    assert (
        await answer_to(sse(chunk({}, "stop", x_groq={"usage": usage}), chunk({"content": "x"})))
    ).usage == expected
    counted = [chunk({"content": "x"}, usage={"prompt_tokens": 3, "completion_tokens": n}) for n in (1, 2)]
    assert (await answer_to(sse(*counted, chunk({}, "stop", usage=usage)))).usage == expected
    assert (await answer_to(sse(chunk({"content": "x"}, "stop", usage=None)))).usage is None


@pytest.mark.parametrize("end", ["complete", "cut"])
async def test_a_stream_that_ends_early_is_a_network_error_and_keeps_what_came(end: Any) -> None:
    usage = [{"prompt_tokens": 3, "completion_tokens": n} for n in (1, 2)]
    body = sse(chunk({"content": "par"}, usage=usage[0]), chunk({"content": "tial"}, usage=usage[1]), done=False)
    async with serve(Reply([body], end=end)) as server:
        answer = await collect(OpenAIProvider(api_key="k", base_url=server.url).stream(ask()))
    assert answer.text == "partial"
    assert answer.usage == Usage(3, 2)
    assert answer.stop is None
    assert answer.error is not None
    assert (answer.error.code, answer.error.transient) == ("network", True)


@pytest.mark.parametrize("end", ["complete", "cut"])
async def test_an_answer_that_said_why_it_ended_is_complete_without_a_marker(end: Any) -> None:
    body = sse(chunk({"content": "x"}), chunk({}, "stop"), done=False)
    async with serve(Reply([body], end=end)) as server:
        answer = await collect(OpenAIProvider(api_key="k", base_url=server.url).stream(ask()))
    assert answer.error is None
    assert answer.stop is not None


@pytest.mark.parametrize("broken", ['{"choices": [', "[1]", '{"choices": [7]}', '{"choices": [{"delta": 7}]}'])
async def test_a_broken_chunk_is_a_network_error(broken: str) -> None:
    answer = await answer_to(sse(chunk({"content": "x"}), broken))
    assert answer.text == "x"
    assert answer.error is not None
    assert answer.error.code == "network"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"message": "Rate limit reached", "code": 429}, "rate_limit"),
        ({"message": "Upstream", "code": 502}, "overloaded"),
        ({"message": "No", "type": "insufficient_quota", "code": "insufficient_quota"}, "quota"),
        ({"message": "The server had an error", "type": "server_error"}, "overloaded"),
        ({"message": "no tool was called", "code": "tool_use_failed", "status_code": 400}, "unknown"),
        ("the model is overloaded", "overloaded"),
    ],
)
async def test_an_error_inside_the_stream(error: Any, code: str) -> None:
    answer = await answer_to(sse(chunk({"content": "partial"}), {"error": error}, done=False))
    assert answer.text == "partial"
    assert answer.error is not None
    assert answer.error.code == code


async def test_an_error_event_without_an_error_object() -> None:
    body = sse(chunk({"content": "x"}), done=False) + b'event: error\ndata: {"message": "overloaded"}\n\n'
    answer = await answer_to(body)
    assert answer.error is not None
    assert answer.error.code == "overloaded"


async def test_a_server_that_does_not_stream_is_read_all_the_same() -> None:
    message = {"role": "assistant", "content": "Hi", **call("{}", id="a", name="one")}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    answer = await answer_to(json.dumps(body, indent=1).encode(), 7)
    assert (answer.text, answer.called()) == ("Hi", [("one", "{}")])
    assert answer.usage == Usage(1)
    assert answer.stop is not None
    assert answer.stop.reason == "tool-calls"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"error": {"message": "slow down", "code": 429}}', "rate_limit"),
        ('{"hello": "world"}', "unknown"),
        ("<html><title>Welcome</title></html>", "unknown"),
        ("[]", "unknown"),
        ("", "network"),
    ],
)
async def test_something_else_with_status_200(body: str, code: str) -> None:
    answer = await answer_to(body.encode())
    assert answer.error is not None
    assert answer.error.code == code


async def test_the_key_is_not_shown_in_an_error() -> None:
    refused = failure(401, {"error": {"message": "Incorrect API key provided: sk-test-0123456789."}})
    async with serve(refused) as server:
        provider = OpenAIProvider(api_key="sk-test-0123456789", base_url=server.url)
        error = (await collect(provider.stream(ask()))).error
    assert error is not None
    assert error.code == "auth"
    assert "0123456789" not in error.detail


async def test_nobody_listens() -> None:
    async with serve(Reply()) as server:
        url = server.url
    error = (await collect(OpenAIProvider(api_key="k", base_url=url).stream(ask()))).error
    assert error is not None
    assert error.code == "network"


@pytest.mark.parametrize("sent", [[], [sse(chunk({"content": "x"}), done=False)]])
async def test_silence_is_a_timeout(sent: list[bytes]) -> None:
    never = asyncio.Event()
    async with serve(Reply(sent, end="open", wait=None if sent else never)) as server:
        provider = OpenAIProvider(api_key="k", base_url=server.url, idle_seconds=0.05)
        error = (await collect(provider.stream(ask()))).error
        never.set()
    assert error is not None
    assert error.code == "timeout"


async def test_a_call_is_made_once_whatever_happens() -> None:
    async with serve(failure(503, "<html><h1>503</h1></html>", retry_after="2")) as server:
        error = (await collect(OpenAIProvider(api_key="k", base_url=server.url).stream(ask()))).error
        assert len(server.requests) == 1
    assert error is not None
    assert (error.code, error.retry_after) == ("overloaded", 2)
    assert "<" not in error.detail


async def test_closing_the_stream_closes_the_connection() -> None:
    async with serve(Reply([sse(chunk({"content": "x"}), done=False)], end="open")) as server:
        stream = OpenAIProvider(api_key="k", base_url=server.url).stream(ask())
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(5):
            await server.abandoned.wait()


async def test_cancelling_the_task_closes_the_connection() -> None:
    async with serve(Reply([sse(chunk({"content": "x"}), done=False)], end="open")) as server:
        stream = OpenAIProvider(api_key="k", base_url=server.url).stream(ask())
        await anext(stream)
        task = asyncio.create_task(collect(stream))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await server.abandoned.wait()


async def test_a_connection_is_used_again() -> None:
    async with serve(Reply([sse(chunk({"content": "x"}, "stop"))])) as server:
        for _ in range(3):
            await collect(OpenAIProvider(api_key="k", base_url=server.url).stream(ask()))
        assert (len(server.requests), server.connections) == (3, 1)


async def test_an_answered_stream_that_the_server_leaves_open_ends() -> None:
    async with serve(Reply([sse(chunk({"content": "x"}, "stop"))], end="open")) as server:
        answer = await collect(OpenAIProvider(api_key="k", base_url=server.url).stream(ask()))
    assert answer.stop is not None


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
    body = chat_body(ask(effort=effort), ToolNames(()), official=True)
    assert set(body) == {"model", "messages", "stream", "stream_options"}


def test_openai_itself_wants_newer_names_and_short_ids() -> None:
    long = "toolu_" + "x" * 60
    history = (
        ModelMessage("assistant", (ToolCallPart(long, "one", {}),)),
        ModelMessage("tool", (ToolResultPart(long, "one", "x"),)),
    )
    body = chat_body(ask(messages=history, max_output_tokens=5), ToolNames(()), official=True)
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
