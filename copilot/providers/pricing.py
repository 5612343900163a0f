"""What a model call costs, in integer microdollars.

The provider's own figure comes first, then a maintained price table; else the cost is unknown, never zero.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from django.conf import settings
from genai_prices import Usage as TableUsage
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo as TableModel
from genai_prices.types import Provider as TableProvider
from genai_prices.types import TieredPrices

from copilot.providers.base import Usage

_MICRO = Decimal(1_000_000)
Entry = tuple[TableProvider, TableModel]
#: Who may have said what something cost, the least certain first.
UNKNOWN = "unknown"
SOURCES = (UNKNOWN, "estimate", "table", "provider")


@dataclass(frozen=True, slots=True)
class Cost:
    """Microdollars, None when nobody knows; ``source`` says who said so.

    ``estimate``: the price is known, but not how much was used.
    """

    microdollars: int | None
    source: Literal["provider", "table", "estimate", "unknown"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the table knows about a model: its context window, prices in microdollars per million tokens."""

    name: str = ""
    context: int | None = None
    input_price: int | None = None
    output_price: int | None = None


def worst_source(sources: Iterable[str]) -> str:
    """Return the least certain of them: a sum is as good as its worst part. Of none it is unknown."""
    return min(sources, key=SOURCES.index, default=SOURCES[0])


def price_call(model_id: str, usage: Usage, *, answered_by: str = "") -> Cost:
    """Return what a call cost.

    Args:
        model_id: ``provider/name`` that was asked.
        answered_by: the name of the model that answered, where the provider gives another: its price counts.
    """
    if usage.cost_microdollars is not None and not usage.estimated:
        return Cost(usage.cost_microdollars, "provider")
    cost = _table_cost(model_id, usage, answered_by)
    if not usage.estimated:
        return cost
    # A provider that counts along has said what it cost so far.
    known = [each for each in (cost.microdollars, usage.cost_microdollars) if each is not None]
    return Cost(max(known), "estimate") if known else Cost(None, "unknown")


def _table_cost(model_id: str, usage: Usage, answered_by: str) -> Cost:
    provider_name = model_id.partition("/")[0]
    if provider_name == "demo":
        return Cost(0, "table")
    found = (_find(f"{provider_name}/{answered_by}") if answered_by else None) or _find(model_id)
    if found is None:
        return Cost(None, "unknown")
    provider, model = found
    # The table refuses counts that contradict each other.
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    fits = cached <= usage.input_tokens
    table_usage = TableUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens if fits else 0,
        cache_write_tokens=usage.cache_write_tokens if fits else 0,
    )
    try:
        price = model.calc_price(table_usage, provider, genai_request_timestamp=datetime.now(UTC))
    except (LookupError, ValueError):
        return Cost(None, "unknown")
    return Cost(_micro(price.total_price), "table")


def facts(model_id: str) -> Facts:
    """Return what the table knows about ``provider/name``; empty when it does not know it."""
    found = _find(model_id)
    if found is None:
        return Facts()
    model = found[1]
    prices = model.get_prices(datetime.now(UTC))
    return Facts(
        name=model.name or "",
        context=model.context_window,
        input_price=_rate(prices.input_mtok),
        output_price=_rate(prices.output_mtok),
    )


def _find(model_id: str) -> Entry | None:
    """Return the table's entry; a model with no price per token counts as unknown."""
    provider, _, name = model_id.partition("/")
    entry = settings.COPILOT_PROVIDERS.get(provider)
    # The table knows companies, not their APIs.
    provider = "openai" if provider == "openai-responses" else provider
    # The URL of a provider that an operator named says more than its name does.
    url = entry.get("base_url") if isinstance(entry, dict) else None
    attempts: list[tuple[str | None, str | None]] = [(None, url), (provider, None)] if url else [(provider, None)]
    for provider_id, provider_url in attempts:
        found = _entry(name, provider_id, provider_url)
        if found is None:
            continue
        prices = found[1].get_prices(datetime.now(UTC))
        return found if prices.input_mtok is not None and prices.output_mtok is not None else None
    return None


@functools.lru_cache(maxsize=1000)
def _entry(
    name: str, provider_id: str | None, provider_url: str | None
) -> tuple[TableProvider, TableModel] | None:
    """Find an entry of the table, which tries the rules of hundreds of models; None where none fits."""
    try:
        return data_snapshot.get_snapshot().find_provider_model(name, None, provider_id, provider_url)
    except LookupError:
        return None


def _rate(price: Decimal | TieredPrices | None) -> int | None:
    base = price.base if isinstance(price, TieredPrices) else price
    return None if base is None else _micro(base)


def _micro(dollars: Decimal) -> int:
    return int((dollars * _MICRO).to_integral_value(rounding=ROUND_HALF_UP))
