"""Which models there are, and what is said about those that are not."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from copilot.providers import registry
from copilot.providers.anthropic import AnthropicProvider
from copilot.providers.base import ProviderError
from copilot.providers.demo import DemoProvider
from copilot.providers.openai import OpenAIProvider
from copilot.providers.responses import ResponsesProvider

GROQ = {"api": "openai", "base_url": "https://groq.example/v1", "api_key": "gsk-1"}


@pytest.fixture(autouse=True)
def _nothing_configured(settings: Settings) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        setattr(settings, name, "")
    settings.COPILOT_PROVIDERS = {}
    settings.COPILOT_MODELS = []
    settings.COPILOT_DEFAULT_MODEL = ""


def test_without_any_key_there_is_the_demo() -> None:
    assert [model.id for model in registry.offered_models()] == ["demo/demo"]
    assert registry.default_model() == "demo/demo"
    provider, name = registry.provider_for("demo/demo")
    assert isinstance(provider, DemoProvider)
    assert name == "demo"
    assert registry.provider_problems() == []


@pytest.mark.parametrize(
    "model_id", ["", "demo", "demo/", "demo/other", "nobody/x", "/x", "openai", "openai-responses"]
)
def test_unknown_models(model_id: str) -> None:
    with pytest.raises(registry.UnknownModel):
        registry.check_model(model_id)
    with pytest.raises(registry.UnknownModel):
        registry.provider_for(model_id)


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("openai", "OPENAI_API_KEY"), ("openai-responses", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY")],
)
def test_a_provider_without_its_key_names_the_variable(provider: str, variable: str) -> None:
    registry.check_model(f"{provider}/x")
    with pytest.raises(ProviderError) as caught:
        registry.provider_for(f"{provider}/x")
    assert caught.value.code == "not_configured"
    assert variable in caught.value.hint


def test_a_key_with_odd_characters_is_not_sent(settings: Settings) -> None:
    settings.OPENAI_API_KEY = "sk-1\nsk-2"
    with pytest.raises(ProviderError) as caught:
        registry.provider_for("openai/x")
    assert caught.value.code == "not_configured"


def test_a_key_makes_real_models_the_default(settings: Settings) -> None:
    settings.ANTHROPIC_API_KEY = "sk-ant"
    assert registry.default_model().startswith("anthropic/claude-")
    settings.OPENAI_API_KEY = "sk"
    assert registry.default_model().startswith("openai/")
    assert isinstance(registry.provider_for("openai/gpt-x")[0], OpenAIProvider)
    assert isinstance(registry.provider_for("anthropic/claude-x")[0], AnthropicProvider)


@pytest.mark.parametrize(
    ("url", "model", "adapter"),
    [
        ("", "gpt-6.1-sol", ResponsesProvider),
        ("", "gpt-5.6-terra", ResponsesProvider),
        ("https://api.openai.com/v1", "gpt-5.4", ResponsesProvider),
        ("", "gpt-5-mini", OpenAIProvider),
        ("", "gpt-4.1", OpenAIProvider),
        ("", "gpt-5.3-chat-latest", OpenAIProvider),
        ("https://openrouter.ai/api/v1", "gpt-6.1-sol", OpenAIProvider),
        ("http://127.0.0.1:8000/v1", "gpt-6.1-sol", OpenAIProvider),
    ],
)
def test_openais_newer_models_take_tools_in_the_responses_api_only(
    settings: Settings, url: str, model: str, adapter: type
) -> None:
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "sk", url
    assert type(registry.provider_for(f"openai/{model}")[0]) is adapter


def test_a_base_url_of_ones_own_needs_no_key(settings: Settings) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:11434/v1"
    assert registry.provider_for("openai/llama:8b/x")[1] == "llama:8b/x"


def test_every_offered_model_is_in_the_price_table(settings: Settings) -> None:
    settings.OPENAI_API_KEY = settings.ANTHROPIC_API_KEY = "sk"
    models = registry.offered_models()[1:]
    assert {model.id.partition("/")[0] for model in models} == {"openai", "anthropic"}
    for model in models:
        assert model.context
        assert model.input_price
        assert model.output_price


def test_the_operators_list_is_the_whole_list(settings: Settings) -> None:
    settings.OPENAI_API_KEY = "sk"
    settings.COPILOT_MODELS = ["openai/a", "demo/demo"]
    settings.COPILOT_FALLBACK_MODEL = "openai/spare"
    assert [model.id for model in registry.offered_models()] == ["openai/a", "demo/demo"]
    assert registry.default_model() == "openai/a"
    registry.check_model("openai/spare")
    with pytest.raises(registry.UnknownModel):
        registry.check_model("openai/b")
    settings.COPILOT_DEFAULT_MODEL = "openai/b"
    registry.check_model("openai/b")
    assert registry.default_model() == "openai/b"


def test_the_responses_api_shares_openais_settings(settings: Settings) -> None:
    settings.OPENAI_API_KEY = "sk"
    provider, name = registry.provider_for("openai-responses/gpt-x")
    assert isinstance(provider, ResponsesProvider)
    assert name == "gpt-x"
    assert not any(model.id.startswith("openai-responses/") for model in registry.offered_models())


@pytest.mark.parametrize(
    ("api", "adapter"),
    [("openai", OpenAIProvider), ("openai-responses", ResponsesProvider), ("anthropic", AnthropicProvider)],
)
def test_providers_of_ones_own(settings: Settings, api: str, adapter: type) -> None:
    settings.COPILOT_PROVIDERS = {"groq": {**GROQ, "api": api}}
    provider, name = registry.provider_for("groq/openai/gpt-oss-120b")
    assert isinstance(provider, adapter)
    assert name == "openai/gpt-oss-120b"
    assert registry.provider_problems() == []


def test_a_provider_of_ones_own_needs_a_key_only_if_it_names_one(settings: Settings) -> None:
    settings.COPILOT_PROVIDERS = {"local": {"api": "openai", "base_url": "http://127.0.0.1:1/v1"}, "groq": GROQ}
    registry.provider_for("local/x")
    settings.COPILOT_PROVIDERS = {"groq": {**GROQ, "api_key": ""}}
    with pytest.raises(ProviderError) as caught:
        registry.provider_for("groq/x")
    assert "COPILOT_PROVIDERS" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "entry", "words"),
    [
        ("groq", {**GROQ, "api": "soap"}, "api must be one of openai, openai-responses, anthropic"),
        ("groq", {"base_url": "https://x.example"}, "api must be"),
        ("groq", {"api": "openai"}, "base_url"),
        ("groq", {**GROQ, "base_url": "groq.example"}, "base_url"),
        ("groq", {**GROQ, "apikey": "x"}, "unknown field apikey"),
        ("groq", "https://groq.example", "expected an object"),
        ("openai", GROQ, "built-in"),
        ("a/b", GROQ, "letters"),
    ],
)
def test_mistakes_in_the_settings_are_named(settings: Settings, name: str, entry: Any, words: str) -> None:
    settings.COPILOT_PROVIDERS = {name: entry}
    (problem,) = registry.provider_problems()
    assert problem.startswith(f"COPILOT_PROVIDERS: {name}: ")
    assert words in problem


def test_a_provider_with_a_mistake_is_not_configured(settings: Settings) -> None:
    settings.COPILOT_PROVIDERS = {"groq": {**GROQ, "api": "soap"}}
    registry.check_model("groq/x")
    with pytest.raises(ProviderError) as caught:
        registry.provider_for("groq/x")
    assert caught.value.code == "not_configured"
    assert [model.id for model in registry.offered_models()] == ["demo/demo"]


def test_models_of_unknown_providers_are_named(settings: Settings) -> None:
    settings.COPILOT_MODELS = ["openai/a", "nobody/x"]
    settings.COPILOT_DEFAULT_MODEL = "gpt"
    problems = registry.provider_problems()
    assert [problem.partition(":")[0] for problem in problems] == ["COPILOT_MODELS", "COPILOT_DEFAULT_MODEL"]
    assert "nobody/x" in problems[0]
