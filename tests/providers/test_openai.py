"""Chat completions over real HTTP, in the dialects that servers speak."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.providers.base import (
    Text,
    Usage,
)
from copilot.providers.openai import OpenAIProvider
from copilot.providers.openai_fold import read_usage
from tests.providers.answers import WEATHER, ask
from tests.providers.chat import answer_to, call, chunk
from tests.providers.server import Reply, serve, sse


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


@pytest.mark.parametrize("index", [{}, {"index": "0"}, {"index": None}])
async def test_an_index_may_be_anything(index: dict[str, Any]) -> None:
    first = chunk(call('{"x"', id="a", name="one", **index))
    answer = await answer_to(sse(first, chunk(call(":1}", **index)), chunk({}, "tool_calls")))
    assert answer.called() == [("one", '{"x":1}')]


async def test_a_call_of_nothing_is_none() -> None:
    empty = chunk({"tool_calls": [{"index": 0, "id": None, "function": {"name": "", "arguments": ""}}]})
    answer = await answer_to(sse(empty, chunk({"content": "Hi"}), chunk({}, "stop")))
    assert (answer.text, answer.calls) == ("Hi", {})
    assert answer.stop is not None
    assert answer.stop.reason == "stop"


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
