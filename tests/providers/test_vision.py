"""Which models are sent pictures."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.providers.registry import offered_models, provider_problems
from copilot.providers.vision import pictures_of

MIB = 1024 * 1024


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-4o", "openai/gpt-4o-mini-2024-07-18", "openai/gpt-4.1-nano", "openai/gpt-4-turbo",
        "openai/gpt-5-mini", "openai/gpt-6.1-sol", "openai/o1", "openai/o3-pro", "openai/o4-mini",
        "anthropic/claude-sonnet-5-5", "anthropic/claude-3-haiku-20240307", "x/anthropic/claude-opus-4.1",
        "x/google/gemini-2.5-flash", "x/gemma3:27b", "x/pixtral-12b-2409", "x/mistral-small-latest",
        "x/grok-4-fast", "x/meta-llama/Llama-4-Maverick-17B", "x/llama3.2-vision:11b", "x/llava:7b",
        "x/qwen2.5-vl-72b-instruct", "x/Qwen/Qwen3-VL-8B", "x/phi-3.5-vision-instruct", "x/glm-4.5v",
    ],
)  # fmt: skip
def test_these_see(model: str) -> None:
    assert pictures_of(model) is not None


@pytest.mark.parametrize(
    "model",
    [
        "demo/demo", "openai/gpt-3.5-turbo", "openai/gpt-4", "openai/gpt-4o-audio-preview", "openai/o1-mini",
        "openai/o3-mini", "openai/gpt-oss-120b", "x/deepseek-chat", "x/llama-3.3-70b", "x/qwen3-32b",
        "x/mistral-nemo", "x/claude-2.1", "x/unheard-of", "x/phi-4", "x/grok-3",
    ],
)  # fmt: skip
def test_these_do_not_as_far_as_anybody_knows(model: str) -> None:
    assert pictures_of(model) is None


def test_the_operator_knows_better(settings: Any) -> None:
    entry = {"api": "openai", "base_url": "http://127.0.0.1:1/v1"}
    settings.COPILOT_PROVIDERS = {"a": {**entry, "images": True}, "b": {**entry, "images": False}, "c": entry}
    assert pictures_of("a/unheard-of") is not None
    assert pictures_of("b/gpt-4o") is None
    assert pictures_of("c/gpt-4o") is not None


@pytest.mark.parametrize("images", ["yes", 1, None])
def test_a_wrong_word_about_images_is_told(settings: Any, images: Any) -> None:
    settings.COPILOT_PROVIDERS = {"a": {"api": "openai", "base_url": "http://127.0.0.1:1/v1", "images": images}}
    assert provider_problems() == ["COPILOT_PROVIDERS: a: images must be true or false."]


def test_claude_counts_what_is_encoded() -> None:
    claude = pictures_of("x/claude-sonnet-5-5")
    assert claude is not None
    assert (claude.each + 2) // 3 * 4 <= 5 * MIB
    assert (claude.total + 2) // 3 * 4 <= 32 * MIB


def test_the_list_of_models_says_which_see(settings: Any) -> None:
    settings.COPILOT_MODELS = ["demo/demo", "openai/gpt-4o", "openai/gpt-3.5-turbo"]
    assert [info.images for info in offered_models()] == [False, True, False]
