"""Tool calls that a model wrote as text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from copilot.providers.base import ToolSpec
from copilot.providers.wire import ToolNames
from copilot.providers.written_calls import WrittenCalls
from tests.providers.answers import WEATHER, Answer
from tests.providers.chat import answer_to, call, chunk
from tests.providers.server import sse

BERN = [("get_weather", '{"city":"Bern"}')]
FIND = ToolSpec("mcp:maps:find", "Finds.", {"type": "object", "properties": {"near": {"type": "string"}}})
HERMES = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>'
BAR = "\N{FULLWIDTH VERTICAL LINE}"
INVOKE = '<{0}invoke name="get_weather"><{0}parameter name="city"{1}>Bern</{0}parameter></{0}invoke>'
XML = f"<function_calls>\n{INVOKE.format('', '')}\n</function_calls>"
WIDE = f"{BAR}DSML{BAR}"
DSML = f"<{WIDE}function_calls>" + INVOKE.format(WIDE, ' string="true"') + f"</{WIDE}function_calls>"
QWEN = "<tool_call>\n<function=get_weather>\n<parameter=city>\nBern\n</parameter>\n</function>\n</tool_call>"


async def read(text: str, size: int = 5, finish: str | None = "stop", *more: Any) -> Answer:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    events = [*[chunk({"content": piece}) for piece in pieces], *more, chunk({}, finish)]
    answer = await answer_to(sse(*events), tools=(WEATHER, FIND))
    assert answer.error is None
    return answer


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "markup",
    [
        pytest.param(HERMES, id="json"),
        pytest.param(HERMES.replace("arguments", "parameters"), id="parameters"),
        pytest.param(HERMES.removesuffix("</tool_call>"), id="without an end"),
        pytest.param(HERMES.replace("get_weather", "functions.get_weather"), id="with a namespace"),
        pytest.param(XML, id="invoke"),
        pytest.param(DSML, id="DSML"),
        pytest.param(DSML.replace(BAR, "|").replace("<|DSML|", "<| DSML |"), id="DSML with blanks"),
        pytest.param(QWEN, id="function"),
    ],
)
async def test_a_written_call_of_an_offered_tool_is_a_call(markup: str, size: int) -> None:
    answer = await read(f"Let me see. {markup}", size)
    assert answer.text == "Let me see. "
    assert answer.called() == BERN
    assert answer.calls[0].id.startswith("call_")
    assert answer.stop is not None
    assert answer.stop.reason == "tool-calls"


async def test_several_written_calls_and_the_text_around_them() -> None:
    answer = await read(f"a{HERMES}b{HERMES.replace('Bern', 'Genf')}c")
    assert answer.text == "abc"
    assert answer.called() == [*BERN, ("get_weather", '{"city":"Genf"}')]


@pytest.mark.parametrize(
    "markup",
    [
        pytest.param(HERMES.replace("get_weather", "rm"), id="another tool"),
        pytest.param("<tool_call>{</tool_call>", id="no JSON"),
        pytest.param('<tool_call>{"name": 3}</tool_call>', id="no name"),
        pytest.param('<tool_call>{"name": "get_weather", "arguments": "x"}</tool_call>', id="no arguments"),
        pytest.param("<function_calls>never ended", id="never ended"),
        pytest.param(f"<{BAR}DSML{BAR}tool_calls>", id="DSML alone"),
    ],
)
async def test_any_other_markup_is_only_taken_out(markup: str) -> None:
    answer = await read(f"Hi {markup}")
    assert (answer.text, answer.calls) == ("Hi ", {})
    assert answer.stop is not None
    assert answer.stop.reason == "stop"


async def test_a_call_that_was_cut_does_not_run() -> None:
    answer = await read(HERMES[:45], finish="length")
    assert answer.calls == {}
    assert answer.stop is not None
    assert answer.stop.reason == "length"


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"Like this:\n```xml\n{HERMES}\n```\nEasy.", id="a block"),
        pytest.param("It writes `<tool_call>` first.", id="in a line"),
        pytest.param("a < b and <b>bold</b> <tool_calling> <", id="other tags"),
    ],
)
async def test_markup_that_somebody_writes_about_is_text(text: str, size: int) -> None:
    answer = await read(text, size)
    assert (answer.text, answer.calls) == (text, {})


async def test_a_call_that_the_server_understood_too_is_made_once() -> None:
    real = chunk(call('{"city":"Bern"}', index=0, id="a", name="get_weather"))
    answer = await read(HERMES, 5, "tool_calls", real)
    assert answer.called() == BERN
    assert answer.calls[0].id == "a"


@pytest.mark.parametrize(
    ("attribute", "text", "value"),
    [
        pytest.param("", "12", "12", id="declared a string"),
        pytest.param(' string="false"', "[1]", [1], id="said to be JSON"),
        pytest.param(' string="false"', "[1", "[1", id="no JSON after all"),
    ],
)
def test_values_of_parameters(attribute: str, text: str, value: Any) -> None:
    written = WrittenCalls((FIND,), ToolNames([FIND.name]))
    parameter = f'<parameter name="near"{attribute}>{text}</parameter>'
    assert (
        written.feed(f'<function_calls><invoke name="mcp__maps__find">{parameter}</invoke></function_calls>') == ""
    )
    ((name, arguments),) = written.calls
    assert name == "mcp__maps__find"
    assert json.loads(arguments) == {"near": value}
