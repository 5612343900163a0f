"""The Responses API over real HTTP: what is read, and what is sent."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.providers.base import (
    ImagePart,
    ModelMessage,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
    Usage,
)
from copilot.providers.responses import ResponsesProvider, responses_body
from copilot.providers.responses_fold import read_usage
from copilot.providers.wire import ToolNames
from tests.providers.answers import WEATHER, Answer, ask, collect
from tests.providers.server import Reply, failure, serve, split, sse

USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 14,
}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}


def event(kind: str, place: int = 0, **fields: Any) -> dict[str, Any]:
    """Return an event; the item's id is another one each time, as some proxies have it."""
    fields.setdefault("item_id", f"id_{len(str(fields))}")
    return {"type": f"response.{kind}", "output_index": place, **fields}


def added(place: int, **item: Any) -> dict[str, Any]:
    return event("output_item.added", place, item=item)


def whole(place: int, **item: Any) -> dict[str, Any]:
    return event("output_item.done", place, item=item)


def text(delta: str, place: int = 0) -> dict[str, Any]:
    return event("output_text.delta", place, content_index=0, delta=delta)


def call(place: int, call_id: str, name: str = "get_weather", arguments: str = "") -> dict[str, Any]:
    return added(place, type="function_call", call_id=call_id, name=name, arguments=arguments)


def end(kind: str = "completed", **response: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": {"status": kind, "output": [], "usage": USAGE, **response}}


CREATED = {"type": "response.created", "response": {"status": "in_progress", "usage": None}}


async def answer_to(*events: Any, size: int = 0, **fields: Any) -> Answer:
    async with serve(Reply(split(sse(*events, done=False, named=True), size))) as server:
        provider = ResponsesProvider(api_key="sk-test-0123456789", base_url=f"{server.url}/v1")
        return await collect(provider.stream(ask(**fields)))


def stopped(answer: Answer) -> str:
    assert answer.error is None, answer.error
    assert answer.stop is not None
    return answer.stop.reason


@pytest.mark.parametrize("size", [0, 7, 17])
async def test_text_reasoning_and_usage(size: int) -> None:
    answer = await answer_to(
        CREATED,
        added(0, type="reasoning", summary=[]),
        event("reasoning_summary_text.delta", 0, summary_index=0, delta="**Zürich**"),
        event("reasoning_summary_text.done", 0, summary_index=0, text="**Zürich**"),
        event("reasoning_summary_text.delta", 0, summary_index=1, delta="Rain."),
        whole(0, **THOUGHT),
        added(1, type="message", content=[]),
        text("Grüezi", 1),
        text(" 🌧", 1),
        event("output_text.done", 1, content_index=0, text="Grüezi 🌧"),
        whole(1, type="message", content=[{"type": "output_text", "text": "Grüezi 🌧"}]),
        end(),
        size=size,
    )
    assert (answer.text, answer.reasoning) == ("Grüezi 🌧", "**Zürich**\n\nRain.")
    assert answer.usage == Usage(9, 5, 2, 4)
    assert answer.extras == [{"openai_item": THOUGHT, "after_calls": 0}]
    assert stopped(answer) == "stop"


@pytest.mark.parametrize("size", [0, 7])
async def test_parallel_calls_are_told_apart_by_their_place(size: int) -> None:
    answer = await answer_to(
        call(0, "call_a"),
        event("function_call_arguments.delta", 0, item_id="one", delta='{"city":'),
        call(1, "call_b"),
        event("function_call_arguments.delta", 0, item_id="two", delta='"Bern"}'),
        event("function_call_arguments.done", 1, arguments='{"city":"Genf"}'),
        whole(0, type="function_call", call_id="call_a", name="get_weather", arguments='{"city":"Bern"}'),
        end(),
        size=size,
        tools=(WEATHER,),
    )
    assert answer.called() == [("get_weather", '{"city":"Bern"}'), ("get_weather", '{"city":"Genf"}')]
    assert [start.id for start in answer.calls.values()] == ["call_a", "call_b"]
    assert stopped(answer) == "tool-calls"


async def test_a_call_that_only_comes_whole() -> None:
    item = {"type": "function_call", "call_id": "a", "name": "mcp__maps__find", "arguments": '{"x":1}'}
    answer = await answer_to(whole(0, **item), end(), tools=(ToolSpec("mcp:maps:find", "", {}),))
    assert answer.called() == [("mcp:maps:find", '{"x":1}')]


async def test_a_call_id_that_comes_twice_is_made_distinct() -> None:
    answer = await answer_to(call(0, "call_0", arguments="{}"), call(1, "call_0", arguments="{}"), end())
    ids = [start.id for start in answer.calls.values()]
    assert ids[0] == "call_0"
    assert ids[1] not in ("", "call_0")


async def test_everything_may_come_in_the_last_event() -> None:
    output = [
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "a", "name": "one", "arguments": "{}"},
    ]
    answer = await answer_to(CREATED, end(output=output))
    assert answer.text == "Hi"
    assert answer.called() == [("one", "{}")]


async def test_an_answer_behind_a_tool_of_the_servers_own() -> None:
    answer = await answer_to(
        CREATED,
        added(0, type="shell_call"),
        whole(0, type="shell_call"),
        end(usage={**USAGE, "output_tokens": 1, "total_tokens": 10}),
        CREATED,
        added(0, type="message", content=[]),
        text("Done."),
        end(),
    )
    assert answer.text == "Done."
    assert answer.usage == Usage(9, 5, 2, 4)


async def test_a_second_response_that_is_cut_off_is_not_whole() -> None:
    answer = await answer_to(CREATED, whole(0, type="shell_call"), end(), CREATED, added(0, type="message"))
    assert answer.error is not None
    assert answer.error.code == "network"


async def test_a_refusal_is_visible_text() -> None:
    answer = await answer_to(event("refusal.delta", delta="No."), event("refusal.done", refusal="No."), end())
    assert answer.text == "No."
    assert stopped(answer) == "content-filter"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("max_output_tokens", "length"), ("content_filter", "content-filter"), ("other", "other")],
)
async def test_an_incomplete_response_is_cut(reason: str, expected: str) -> None:
    cut = [call(1, "a"), event("function_call_arguments.delta", 1, delta='{"ci')]
    answer = await answer_to(text("Half"), *cut, end("incomplete", incomplete_details={"reason": reason}))
    assert stopped(answer) == expected
    assert answer.text == "Half"
    assert answer.usage is not None


@pytest.mark.parametrize(
    ("events", "code"),
    [
        pytest.param(
            [end("failed", error={"code": "server_error", "message": "Oops"})], "overloaded", id="failed"
        ),
        pytest.param(
            [{"type": "error", "error": {"code": "insufficient_quota", "message": "No."}}], "quota", id="error"
        ),
        pytest.param(
            [{"type": "error", "code": "rate_limit_exceeded", "message": "Slow."}], "rate_limit", id="flat"
        ),
        pytest.param([end("completed", status="failed", error=None)], "unknown", id="failed without a reason"),
        pytest.param([end("cancelled")], "unknown", id="cancelled"),
        pytest.param([], "network", id="cut"),
        pytest.param(['{"type":"response.completed","response":{'], "network", id="broken"),
    ],
)
async def test_failures_after_text(events: list[Any], code: str) -> None:
    body = sse(CREATED, text("Half"), *events, done=False)
    async with serve(Reply([body])) as server:
        answer = await collect(ResponsesProvider(api_key="k", base_url=f"{server.url}/v1").stream(ask()))
    assert answer.text == "Half"
    assert answer.error is not None
    assert answer.error.code == code
    if events and "usage" in str(events):
        assert answer.usage == Usage(9, 5, 2, 4)


async def test_an_answer_that_was_not_streamed() -> None:
    body = {
        "object": "response",
        "status": "completed",
        "output": [THOUGHT, {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}],
        "usage": USAGE,
    }
    async with serve(failure(200, body)) as server:
        answer = await collect(ResponsesProvider(api_key="k", base_url=f"{server.url}/v1").stream(ask()))
    assert (answer.text, stopped(answer)) == ("Hi", "stop")
    async with serve(failure(200, "<html><title>Hello</title></html>")) as server:
        answer = await collect(ResponsesProvider(api_key="k", base_url=f"{server.url}/v1").stream(ask()))
    assert answer.error is not None


async def test_done_without_an_end_is_an_unknown_end() -> None:
    async with serve(Reply([sse(CREATED, text("x"))])) as server:
        answer = await collect(ResponsesProvider(api_key="k", base_url=f"{server.url}/v1").stream(ask()))
    assert stopped(answer) == "other"


async def test_what_is_sent() -> None:
    later = {**THOUGHT, "id": "rs_2"}
    history = (
        ModelMessage("user", (TextPart("Look"), ImagePart("image/png", b"png", "a.png"))),
        ModelMessage(
            "assistant",
            (
                ReasoningPart("Hm", {"openai_item": THOUGHT, "after_calls": 0}),
                TextPart("Let me see."),
                ReasoningPart("", {"openai_phase": "commentary"}),
                ReasoningPart("", {"openai_item": later, "after_calls": 1}),
                ReasoningPart("x", {"signature": "another provider's"}),
                ToolCallPart("a", "get_weather", {"c": 1}),
                ToolCallPart("b", "mcp:maps:find", {}),
            ),
        ),
        ModelMessage("tool", (ToolResultPart("a", "get_weather", "rain"), ToolResultPart("b", "x", "here"))),
    )
    async with serve(Reply([sse(text("x"), end(), done=False)])) as server:
        provider = ResponsesProvider(api_key="sk-1", base_url=f"{server.url}/v1")
        tools = (WEATHER, ToolSpec("mcp:maps:find", "Finds.", {"type": "object"}))
        request = ask(messages=history, tools=tools, effort="low", max_output_tokens=9, model="gpt-6")
        await collect(provider.stream(request))
        (sent,) = server.requests
    assert sent.path == "/v1/responses"
    assert sent.headers["authorization"] == "Bearer sk-1"
    body = sent.body
    assert set(body) == {
        "model", "input", "stream", "store", "instructions", "tools", "include", "reasoning", "max_output_tokens",
    }  # fmt: skip
    assert (body["store"], body["instructions"], body["max_output_tokens"]) == (False, "Be brief.", 16)
    assert body["include"] == ["reasoning.encrypted_content"]
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert [(tool["name"], tool["strict"]) for tool in body["tools"]] == [
        ("get_weather", False),
        ("mcp__maps__find", False),
    ]
    image = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,cG5n"}
    assert body["input"] == [
        {"role": "user", "content": [{"type": "input_text", "text": "Look"}, image]},
        THOUGHT,
        {"role": "assistant", "content": "Let me see.", "phase": "commentary"},
        {"type": "function_call", "call_id": "a", "name": "get_weather", "arguments": '{"c":1}'},
        later,
        {"type": "function_call", "call_id": "b", "name": "mcp__maps__find", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "rain"},
        {"type": "function_call_output", "call_id": "b", "output": "here"},
    ]


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "chatgpt-4o-latest", "gpt-5-chat-latest"])
def test_a_model_that_does_not_reason_is_asked_for_no_reasoning(model: str) -> None:
    body = responses_body(ask(model=model, effort="high"), ToolNames(()))
    assert set(body) == {"model", "input", "stream", "store", "instructions"}


@pytest.mark.parametrize("effort", ["", "none"])
def test_no_effort_sends_nothing(effort: str) -> None:
    assert "reasoning" not in responses_body(ask(effort=effort, model="gpt-6"), ToolNames(()))


def test_calls_of_several_steps_with_one_id_stay_apart() -> None:
    steps = [
        message
        for output in ("one", "two")
        for message in (
            ModelMessage("assistant", (ToolCallPart("call_0", "tell", {}),)),
            ModelMessage("tool", (ToolResultPart("call_0", "tell", output),)),
        )
    ]
    items = responses_body(ask(messages=tuple(steps)), ToolNames(()))["input"]
    assert [item["call_id"] for item in items] == ["call_0", "call_0", "call_0_2", "call_0_2"]
    assert [item["output"] for item in items[1::2]] == ["one", "two"]


def test_usage_conventions() -> None:
    raw = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 35, "cost": 0.5}
    assert read_usage(raw) == Usage(10, 25, cost_microdollars=500_000)
    assert read_usage({"input_tokens": None, "input_tokens_details": None}) == Usage()
