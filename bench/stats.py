"""Percentiles, and the summary of a list of durations."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of ``values``: the smallest that ``share`` (0..1) do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def in_ms(values: Sequence[float]) -> dict[str, float]:
    """Summarise durations in seconds as milliseconds: p50, p95, p99, max."""
    if not values:
        return {}
    picks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(percentile(values, share) * 1000, 1) for name, share in picks.items()}
