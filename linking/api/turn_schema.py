"""The plain async views for bots in the API document: documented twins, never served."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.apidocs import AFTER, LAST_EVENT_ID, WAIT, Endpoints, bot_errors, endpoints_of, event_stream, found
from copilot import components
from copilot.examples import CANCELLED, EVENTS, STREAM
from linking.api.turn_examples import TURN
from linking.bot_auth import BotView


class _TurnTwin(BotView):
    @extend_schema(
        operation_id="read_bot_turn",
        summary="Read a turn of your threads",
        description="With `wait`, answers once it has ended or waits for a person, or when the time is over. "
        "Never tells what it cost.",
        parameters=[WAIT],
        responses=found(components.Turn, TURN) | bot_errors("invalid", "not_found"),
    )
    def get(self, request: Request, turn_id: str) -> Response:
        raise NotImplementedError


class _EventsTwin(BotView):
    @extend_schema(
        operation_id="read_bot_turn_events",
        summary="Read the events of a turn of your threads",
        description="At most 500. With `wait`, answers as soon as there is one, or when the time is over.",
        parameters=[AFTER, WAIT],
        responses=found(components.EventPage, EVENTS) | bot_errors("invalid", "not_found"),
    )
    def get(self, request: Request, turn_id: str) -> Response:
        raise NotImplementedError


class _StreamTwin(BotView):
    @extend_schema(
        operation_id="stream_bot_turn",
        summary="Stream the events of a turn of your threads",
        description="Server-sent events: the `id` of each is its `seq`, heartbeats are comments, and the last one "
        "is `[DONE]`. `Last-Event-ID` resumes.",
        parameters=[LAST_EVENT_ID, AFTER],
        responses=event_stream(STREAM) | bot_errors("invalid", "not_found"),
    )
    def get(self, request: Request, turn_id: str) -> Response:
        raise NotImplementedError


class _CancelTwin(BotView):
    @extend_schema(
        operation_id="cancel_bot_turn",
        summary="Stop a turn of your threads",
        description="Answers within six seconds, and counts against no rate. A turn that has ended is left alone.",
        request=None,
        responses=found(components.Cancelled, CANCELLED)
        | bot_errors("invalid", "unknown_field", "not_found", "text_too_long", "busy"),
    )
    def post(self, request: Request, turn_id: str) -> Response:
        raise NotImplementedError


_TWINS: list[tuple[str, str, type[BotView]]] = [
    ("bot/turns/{turn_id}", "GET", _TurnTwin),
    ("bot/turns/{turn_id}/events", "GET", _EventsTwin),
    ("bot/turns/{turn_id}/stream", "GET", _StreamTwin),
    ("bot/turns/{turn_id}/cancel", "POST", _CancelTwin),
]


def add_async_operations(endpoints: Endpoints) -> Endpoints:
    """Add the operations that the generator cannot see (a preprocessing hook of drf-spectacular)."""
    return [*endpoints, *endpoints_of(_TWINS)]
