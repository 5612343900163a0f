"""One call of a model, measured from its beginning to its end however it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from common import metrics
from common.tracing import span
from copilot.providers.base import ProviderError
from copilot.providers.registry import known_model


@contextmanager
def measured_call(model: str) -> Iterator[None]:
    """Measure the call of ``provider/name`` that is made in here, and count its failure by class."""
    label, began = known_model(model), time.monotonic()
    try:
        with span("model call", model=label):
            yield
    except ProviderError as error:
        metrics.provider_errors.labels(label.partition("/")[0], error.code).inc()
        raise
    finally:
        metrics.model_call_seconds.labels(label).observe(time.monotonic() - began)
