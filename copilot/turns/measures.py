"""What the engine's transitions count: after their commit, so that what was rolled back is not counted."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from common import metrics
from copilot.providers.registry import known_model


def count_end_on_commit(*, origin: str, status: str, outcome: str, running_ms: int) -> None:
    """Count a turn that ends in this transaction, and how long it ran, pauses not counted."""
    transaction.on_commit(lambda: _count_end(origin, status, outcome, running_ms / 1000), robust=True)


def _count_end(origin: str, status: str, outcome: str, seconds: float) -> None:
    metrics.turns_ended.labels(origin, status, outcome).inc()
    metrics.turn_running_seconds.labels(status).observe(seconds)


def count_use_on_commit(model: str, amounts: Mapping[str, int], microdollars: int | None) -> None:
    """Count what a model call used, as this transaction records it.

    Args:
        model: ``provider/name`` that was asked.
        amounts: the columns of its usage record that count tokens.
        microdollars: what it cost; None when nobody knows.
    """
    transaction.on_commit(lambda: _count_use(known_model(model), amounts, microdollars), robust=True)


def _count_use(model: str, amounts: Mapping[str, int], microdollars: int | None) -> None:
    for column, amount in amounts.items():
        metrics.tokens.labels(model, column.removesuffix("_tokens")).inc(amount)
    if microdollars is None:
        metrics.unpriced_calls.labels(model).inc()
    else:
        metrics.cost_microdollars.labels(model).inc(microdollars)
