"""Thoughts between tags at the beginning of an answer."""

from __future__ import annotations

import pytest

from tests.providers.chat import answer_to, chunk
from tests.providers.server import sse


async def read(text: str, size: int, *, cut: bool = False) -> tuple[str, str]:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    end = [] if cut else [chunk({}, "stop")]
    answer = await answer_to(sse(*[chunk({"content": piece}) for piece in pieces], *end, done=not cut))
    assert (answer.error is not None) == cut
    return answer.reasoning, answer.text


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "reasoning", "shown"),
    [
        pytest.param("<think>\nHm\n</think>\n\nHi", "\nHm\n", "Hi", id="think"),
        pytest.param("\n <thinking>a < b</thinking>Hi", "a < b", "Hi", id="thinking"),
        pytest.param("<think></think>Hi", "", "Hi", id="no thoughts"),
        pytest.param("<think>Hm</thinking></think>x", "Hm</thinking>", "x", id="another tag inside"),
        pytest.param("<think>never ended </thi", "never ended </thi", "", id="without an end"),
        pytest.param(
            "Use `<think>` as in <think>x</think>.", "", "Use `<think>` as in <think>x</think>.", id="text"
        ),
        pytest.param("<thin ice>", "", "<thin ice>", id="another tag"),
        pytest.param("<thi", "", "<thi", id="half a tag"),
        pytest.param(" \n ", "", " \n ", id="blanks"),
        pytest.param("  Hi <b>", "", "  Hi <b>", id="leading blanks"),
        pytest.param("<think>a</think>b<think>c</think>", "a", "b<think>c</think>", id="only the first"),
        pytest.param("```\n<think>x</think>\n```", "", "```\n<think>x</think>\n```", id="code"),
    ],
)
async def test_inline_thinking(text: str, reasoning: str, shown: str, size: int) -> None:
    assert await read(text, size) == (reasoning, shown)


async def test_what_was_held_back_is_kept_when_the_stream_breaks() -> None:
    assert await read("<think>Hm </th", 3, cut=True) == ("Hm </th", "")
    assert await read("Hi <tool", 3, cut=True) == ("", "Hi <tool")
