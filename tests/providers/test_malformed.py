"""Events that are JSON but not what they should be: an error of the answer, never of the server."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.providers.errors import from_payload
from tests.providers import test_anthropic, test_responses
from tests.providers.answers import Answer
from tests.providers.chat import answer_to, call, chunk
from tests.providers.server import sse

#: Their helpers, which are given here what they are not made for.
messages: Any = test_anthropic
responses: Any = test_responses


async def chat(*events: Any) -> Answer:
    return await answer_to(sse(*events))


async def anthropic(*events: Any) -> Answer:
    answer: Answer = await messages.answer_to(messages.stream_of(*events))
    return answer


THOUGHT = messages.block(1, {"type": "thinking_delta", "thinking": 7}, type="thinking", thinking="")


@pytest.mark.parametrize(
    ("ask", "events"),
    [
        pytest.param(chat, [chunk(call("{}", index=0, id="c", name=7))], id="chat-name"),
        pytest.param(anthropic, messages.says("x", 7), id="messages-text"),
        pytest.param(anthropic, THOUGHT, id="messages-thought"),
        pytest.param(anthropic, messages.calls(1, "c", 7), id="messages-arguments"),
        pytest.param(anthropic, messages.calls(1, "c", name=None), id="messages-name"),
        pytest.param(responses.answer_to, [responses.text(7)], id="responses-text"),
        pytest.param(responses.answer_to, [responses.call(1, "c", name=7)], id="responses-name"),
    ],
)
async def test_what_is_no_text_breaks_the_stream(ask: Any, events: list[Any]) -> None:
    answer = await ask(*events)
    assert answer.error is not None
    assert answer.error.code == "network"


async def test_usage_with_odd_details_still_counts() -> None:
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "prompt_tokens_details": 7,
        "completion_tokens_details": [1],
    }
    answer = await chat(chunk({"content": "x"}, "stop", usage=usage))
    assert answer.error is None
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 2)


async def test_an_odd_reason_to_stop_is_another_reason() -> None:
    answer = await anthropic(messages.start(), *messages.says("x"), *messages.end(["end_turn"]))
    assert answer.error is None
    assert answer.stop is not None
    assert answer.stop.reason == "other"


async def test_a_call_without_an_id_gets_one() -> None:
    answer = await anthropic(messages.start(), *messages.calls(0, None, "{}"), *messages.end("tool_use"))
    assert answer.error is None
    [made] = answer.calls.values()
    assert made.id


def test_an_error_with_an_endless_code_is_an_error() -> None:
    assert from_payload({"error": {"code": float("inf"), "message": "x"}}).code == "unknown"
