"""What stands for OpenTelemetry's SDK, which the tests do without: it keeps the spans that are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags


@dataclass
class Span:
    """A span that was made; ``parent`` is the one around it, here or where its ``traceparent`` came from."""

    name: str
    attributes: dict[str, Any]
    id: int
    trace_id: int
    parent: int = 0
    failed: bool = False
    ended: bool = False


class _Live(NonRecordingSpan):
    def __init__(self, span: Span) -> None:
        super().__init__(SpanContext(span.trace_id, span.id, False, TraceFlags(TraceFlags.SAMPLED)))
        self._span = span

    def set_attribute(self, key: str, value: Any) -> None:
        self._span.attributes[key] = value

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        assert description is None
        self._span.failed = status == StatusCode.ERROR


@dataclass
class Tracer:
    """Makes spans as an SDK's tracer does and keeps them."""

    spans: list[Span] = field(default_factory=list)

    @contextmanager
    def start_as_current_span(
        self,
        name: str,
        *,
        context: Any,
        attributes: Mapping[str, Any],
        record_exception: bool,
        set_status_on_exception: bool,
    ) -> Iterator[_Live]:
        assert not record_exception
        assert not set_status_on_exception
        around = trace.get_current_span(context).get_span_context()
        number = len(self.spans) + 1
        span = Span(name, dict(attributes), number, around.trace_id or number, around.span_id)
        self.spans.append(span)
        live = _Live(span)
        with trace.use_span(live, record_exception=False, set_status_on_exception=False):
            yield live
        span.ended = True

    def named(self, name: str) -> list[Span]:
        """Return the spans of this name."""
        return [span for span in self.spans if span.name == name]
