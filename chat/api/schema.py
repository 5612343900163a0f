"""The plain async views in the API document.

The generator sees DRF views only. Each async operation has a twin here that is documented and never served.
"""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from chat.agui import schema as agui
from chat.api.serializers import AsideBody, CancelBody
from chat.openai import schema as openai
from chat.ui import schema as ui
from common.apidocs import (
    AFTER,
    LAST_EVENT_ID,
    WAIT,
    Endpoints,
    endpoints_of,
    errors,
    event_stream,
    found,
)
from common.rest import ApiView
from copilot import components
from copilot.examples import ASIDE, CANCELLED, EVENTS, STREAM, TURN

_CONTENT = OpenApiExample("example", value="a,b\n1,2\n", media_type="application/octet-stream")
_ANY_CONTENT = OpenApiExample("any", value="a,b\n1,2\n", media_type="*/*")


class _TurnTwin(ApiView):
    @extend_schema(
        operation_id="read_turn",
        summary="Read a turn",
        description="With `wait`, answers once it has ended or waits for a person, or when the time is over.",
        parameters=[WAIT],
        responses=found(components.Turn, TURN) | errors("invalid", "not_found"),
    )
    def get(self, request: Request, turn_id: str) -> Response:
        raise NotImplementedError


class _CancelInSessionTwin(ApiView):
    @extend_schema(
        operation_id="cancel_in_session",
        summary="Stop what runs in a session",
        description="Answers within six seconds. With `turn` it stops that turn and no other.",
        request=CancelBody,
        responses=found(components.Cancelled, CANCELLED)
        | errors("invalid", "unknown_field", "not_found", "text_too_long", unsafe=True),
    )
    def post(self, request: Request, session_id: str) -> Response:
        raise NotImplementedError


class _AsideTwin(ApiView):
    @extend_schema(
        operation_id="ask_aside",
        summary="Ask a side question",
        description="Answers with server-sent events from what the session shows by now, without tools, also "
        "while a turn runs. Nothing is written to the session; the cost is the caller's. The chunks are those of "
        "a turn, without `id`; one of `finish`, `error` and `abort` comes last, then `[DONE]`. Closing the stream "
        "ends the answer. A person can have two at once.",
        request=AsideBody,
        responses=event_stream(ASIDE)
        | errors(
            "invalid", "unknown_field", "not_found", "text_too_long", "rate_limited", "usage_limit", unsafe=True
        ),
    )
    def post(self, request: Request, session_id: str) -> Response:
        raise NotImplementedError


class _CancelTurnTwin(ApiView):
    @extend_schema(
        operation_id="cancel_turn",
        summary="Stop a turn",
        description="Answers within six seconds. A turn that has ended is left alone.",
        request=None,
        responses=found(components.Cancelled, CANCELLED)
        | errors("invalid", "unknown_field", "not_found", "text_too_long", unsafe=True),
    )
    def post(self, request: Request, turn_id: str) -> Response:
        raise NotImplementedError


class _EventsTwin(ApiView):
    @extend_schema(
        operation_id="read_turn_events",
        summary="Read a turn's events",
        description="At most 500. With `wait`, answers as soon as there is one, or when the time is over.",
        parameters=[AFTER, WAIT],
        responses=found(components.EventPage, EVENTS) | errors("invalid", "not_found"),
    )
    def get(self, request: Request, turn_id: str) -> Response:
        raise NotImplementedError


class _StreamTwin(ApiView):
    @extend_schema(
        operation_id="stream_turn",
        summary="Stream a turn's events",
        description="Server-sent events: the `id` of each is its `seq`, heartbeats are comments, and the last one "
        "is `[DONE]`. `Last-Event-ID` resumes.",
        parameters=[LAST_EVENT_ID, AFTER],
        responses=event_stream(STREAM) | errors("invalid", "not_found"),
    )
    def get(self, request: Request, turn_id: str) -> Response:
        raise NotImplementedError


class _FileTwin(ApiView):
    @extend_schema(
        operation_id="read_file",
        summary="Read a file",
        description="Its content, of whatever type it is, never run as a page of this server: with `nosniff` "
        "and a sandbox. PNG, JPEG, GIF, WebP and PDF may be shown where they are; everything else is to be saved "
        "(`Content-Disposition`).",
        responses={
            # The first is what makers of clients know, the second is true.
            (200, "application/octet-stream"): OpenApiResponse(OpenApiTypes.BINARY, examples=[_CONTENT]),
            (200, "*/*"): OpenApiResponse(OpenApiTypes.BINARY, examples=[_ANY_CONTENT]),
            **errors("not_found"),
        },
    )
    def get(self, request: Request, file_id: str) -> Response:
        raise NotImplementedError


_TWINS: list[tuple[str, str, type[ApiView]]] = [
    ("turns/{turn_id}", "GET", _TurnTwin),
    ("sessions/{session_id}/aside", "POST", _AsideTwin),
    ("sessions/{session_id}/cancel", "POST", _CancelInSessionTwin),
    ("turns/{turn_id}/cancel", "POST", _CancelTurnTwin),
    ("turns/{turn_id}/events", "GET", _EventsTwin),
    ("turns/{turn_id}/stream", "GET", _StreamTwin),
    ("files/{file_id}", "GET", _FileTwin),
]


def add_async_operations(endpoints: Endpoints) -> Endpoints:
    """Add the operations that the generator cannot see (a preprocessing hook of drf-spectacular)."""
    return [*endpoints, *endpoints_of([*_TWINS, *openai.TWINS, *ui.TWINS, *agui.TWINS])]
