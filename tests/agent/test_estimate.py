"""Rough token counts: of texts, and of all that a model call sends."""

from __future__ import annotations

import pytest

from copilot.agent.estimate import IMAGE_TOKENS, MESSAGE_TOKENS, request_tokens, text_tokens
from copilot.providers.base import (
    ImagePart,
    ModelMessage,
    ModelRequest,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolSpec,
)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("x" * 4000, 1000)])
def test_four_characters_are_a_token(text: str, tokens: int) -> None:
    assert text_tokens(text) == tokens


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        (TextPart("x" * 400), 100),
        (ImagePart("image/png", b"x" * 100_000), IMAGE_TOKENS),
        (ReasoningPart("x" * 40), 10),
        (ReasoningPart("x" * 40, {"signature": "y" * 384}), 110),
        (ToolCallPart("1", "tool", {"text": "x" * 25}), 10),
        (ToolResultPart("1", "tool", "x" * 80), 20),
    ],
    ids=["text", "image", "reasoning", "signed-reasoning", "call", "result"],
)
def test_every_part_of_a_message_counts(part: Part, tokens: int) -> None:
    without = request_tokens(ModelRequest("m", "", (ModelMessage("user", ()),)))
    assert without == MESSAGE_TOKENS
    assert request_tokens(ModelRequest("m", "", (ModelMessage("user", (part,)),))) == without + tokens


def test_the_system_prompt_and_the_tools_count() -> None:
    tool = ToolSpec("tool", "x" * 34, {})
    assert request_tokens(ModelRequest("m", "x" * 100, (), tools=(tool,))) == 25 + 10
