"""Spans for OpenTelemetry, where ``OTEL_EXPORTER_OTLP_ENDPOINT`` names who collects them; otherwise nothing.

Spans carry ids and classes, never texts. The tracer is our own and not the process's: libraries that look for that
one find none, and send nothing of what people write.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from django.conf import settings

#: What has to be installed: ``requirements-otel.txt``.
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

_tracer: Any = None


def missing_packages() -> list[str]:
    """Return those of the packages that tracing needs and that are not installed."""
    return [name for name in PACKAGES if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False  # not even what it is a part of


def start(role: str) -> None:
    """Begin to send spans, if the settings name who collects them. Once a process.

    Args:
        role: web, worker or embedded.
    """
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT or _tracer is not None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": "holdfast", "holdfast.role": role})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    set_tracer(provider.get_tracer("holdfast"))


def set_tracer(tracer: Any) -> None:
    """Name what makes spans; None: nothing does."""
    global _tracer
    _tracer = tracer


@contextmanager
def span(name: str, *, parent: str = "", **attributes: object) -> Iterator[None]:
    """Have what runs in here shown as a span.

    Args:
        parent: the ``traceparent`` of the span that it belongs to; empty: that around it here.
        attributes: ids and classes. Texts and what people choose have no place in them.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import StatusCode

    about = {
        f"holdfast.{key}": value if isinstance(value, int) else str(value) for key, value in attributes.items()
    }
    with _tracer.start_as_current_span(
        name,
        context=_context(parent) if parent else None,
        attributes=about,
        # Not by itself: what an error says may be what somebody wrote.
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield
        except Exception as error:
            made.set_attribute("error.type", type(error).__name__)
            made.set_status(StatusCode.ERROR)
            raise


def traceparent() -> str:
    """Return how the span around this is named to others (W3C Trace Context); empty without one."""
    if _tracer is None:
        return ""
    carrier: dict[str, str] = {}
    _propagator().inject(carrier)
    return carrier.get("traceparent", "")


def _context(parent: str) -> Any:
    return _propagator().extract({"traceparent": parent})


def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()
