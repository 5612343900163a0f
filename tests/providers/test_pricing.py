"""Costs are whole microdollars, and unknown is said instead of zero."""

from __future__ import annotations

from typing import Any

import pytest
from genai_prices import data_snapshot
from pytest_django import Settings

from copilot.providers import pricing
from copilot.providers.base import Usage
from copilot.providers.pricing import Cost, Facts, facts, price_call


def test_the_providers_own_figure_wins() -> None:
    assert price_call("openai/gpt-4o", Usage(1000, 1000, cost_microdollars=7)) == Cost(7, "provider")
    assert price_call("nobody/x", Usage(1, 1, cost_microdollars=0)) == Cost(0, "provider")


def test_the_table_knows_cached_input() -> None:
    full = price_call("openai/gpt-4o", Usage(1_000_000, 0))
    cached = price_call("openai/gpt-4o", Usage(1_000_000, 0, cache_read_tokens=1_000_000))
    assert full.source == cached.source == "table"
    assert full.microdollars is not None
    assert cached.microdollars is not None
    assert 0 < cached.microdollars < full.microdollars


def test_output_includes_reasoning_once() -> None:
    plain = price_call("openai/gpt-4o", Usage(10, 1000))
    assert price_call("openai/gpt-4o", Usage(10, 1000, reasoning_tokens=900)) == plain


def test_counts_that_contradict_each_other_are_priced_without_the_cache() -> None:
    odd = price_call("openai/gpt-4o", Usage(10, 10, cache_read_tokens=400))
    assert odd == price_call("openai/gpt-4o", Usage(10, 10))


def test_small_costs_round_to_the_nearest() -> None:
    rate = facts("openai/gpt-4o").input_price
    assert rate is not None
    assert price_call("openai/gpt-4o", Usage(1, 0)).microdollars == (rate + 500_000) // 1_000_000


def test_unknown_models_cost_an_unknown_amount(settings: Settings) -> None:
    settings.COPILOT_PROVIDERS = {"local": {"api": "openai", "base_url": "http://127.0.0.1:1/v1"}}
    for model_id in ("openai/no-such-model", "nobody/gpt-4o", "local/gpt-4o", "openai/whisper-1", "openai/"):
        assert price_call(model_id, Usage(10, 10)) == Cost(None, "unknown")
        assert facts(model_id).input_price is None


def test_a_provider_of_ones_own_is_known_by_its_url(settings: Settings) -> None:
    settings.COPILOT_PROVIDERS = {"mine": {"api": "openai", "base_url": "https://api.groq.com/openai/v1"}}
    assert price_call("mine/llama-3.3-70b-versatile", Usage(1000, 1000)).source == "table"


def test_facts() -> None:
    known = facts("anthropic/claude-sonnet-4-5-20250929")
    assert known.context
    assert known.input_price
    assert facts("nobody/x") == Facts()


def test_what_the_table_does_not_know_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pricing._entry.cache_clear()
    looked: list[str] = []
    snapshot = data_snapshot.get_snapshot()

    def find(name: str, *_: Any) -> Any:
        looked.append(name)
        raise LookupError(name)

    monkeypatch.setattr(snapshot, "find_provider_model", find)
    assert [facts("openai/of-our-own"), facts("openai/of-our-own")] == [Facts(), Facts()]
    assert looked == ["of-our-own"]
    pricing._entry.cache_clear()
