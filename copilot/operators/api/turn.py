"""``/operator/turns/{id}``: one turn's history."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from common.apidocs import errors, found, parameter
from common.errors import Forbidden, NotFound
from common.ids import as_uuid
from common.paging import number
from common.query import flag
from common.rest import caller_of
from copilot.diagnostics.timeline import timeline
from copilot.operators.api.base import OperatorView
from copilot.operators.audit import record
from copilot.operators.objects import timeline_object

#: Events of one answer.
EVENTS_MAX = 500

_TIMELINE = {
    "id": "01981f5e-9b51-7d22-8a73-4b9e3f1d2c22",
    "session": "01981f5e-8a40-7c11-9f62-3a8d2f0c1b11",
    "status": "completed",
    "about": [{"name": "model", "value": "demo/demo, effort default, origin web"}],
    "entries": [
        {"at": "2026-01-05T09:31:07.120000Z", "kind": "journal", "what": "submitted seq=1"},
        {
            "at": "2026-01-05T09:31:07.128000Z",
            "kind": "journal",
            "what": "claimed fence=1 attempt=1",
            "since": "2026-01-05T09:31:07.120000Z",
            "spent": "queue",
        },
    ],
    "events": {"count": 12, "first": 1, "last": 12, "pruned": 0, "kinds": {"text-delta": 8, "finish": 1}},
}


class TimelineFact(serializers.Serializer[Any]):
    """Something that the turn's own row says."""

    name = serializers.CharField()
    value = serializers.CharField()


class TimelineEntry(serializers.Serializer[Any]):
    """Something that happened."""

    at = serializers.DateTimeField()
    kind = serializers.CharField(help_text="Where it is written, as `journal`, `step` or `tool call`.")
    what = serializers.CharField()
    since = serializers.DateTimeField(required=False, help_text="When it began, where it took time.")
    spent = serializers.CharField(required=False, help_text="What the time went to, as `queue` or `model`.")


class TimelineEvent(serializers.Serializer[Any]):
    """An event of the turn's log."""

    seq = serializers.IntegerField()
    what = serializers.CharField()


class TimelineEvents(serializers.Serializer[Any]):
    """The turn's log, as far as it is still there."""

    count = serializers.IntegerField()
    first = serializers.IntegerField()
    last = serializers.IntegerField()
    pruned = serializers.IntegerField(help_text="How many were removed, long after the turn's end.")
    kinds = serializers.DictField(child=serializers.IntegerField(), help_text="How many there are by type.")
    listed = TimelineEvent(many=True, required=False, help_text=f"With `events`: {EVENTS_MAX} at most.")


class OperatorTimeline(serializers.Serializer[Any]):
    """A turn's history: sizes and times, and what was said only on request."""

    id = serializers.UUIDField()
    session = serializers.UUIDField()
    status = serializers.CharField()
    about = TimelineFact(many=True)
    entries = TimelineEntry(many=True, help_text="In time order.")
    events = TimelineEvents()


class TurnView(OperatorView):
    """One turn's history."""

    @extend_schema(
        operation_id="read_operator_turn",
        summary="Read a turn's history",
        description="What `manage.py explain_turn` prints. What people and models said is left out; a superuser "
        "gets the beginnings of it with `text=true`, and each such look is recorded.",
        parameters=[
            parameter("text", bool, "With the beginnings of what was said."),
            parameter("events", bool, "With the turn's events."),
            parameter("after", int, "Of the events only those with a larger `seq`."),
        ],
        responses=found(OperatorTimeline, _TIMELINE) | errors("invalid", "not_found"),
    )
    def get(self, request: Request, turn_id: str) -> Response:
        """Answer with it."""
        query, operator = request.query_params, caller_of(request).user
        text, events = flag(query, "text"), flag(query, "events")
        after = number(query, "after", default=0) or 0
        if text and not operator.is_superuser:
            raise Forbidden("Only a superuser may read what was said.")
        known = as_uuid(turn_id)
        told = timeline(known, text=text, events=events, after=after, limit=EVENTS_MAX) if known else None
        if told is None:
            raise NotFound("There is no such turn.")
        if text:
            about = {"turns": [str(told.turn.pk)]}
            record(operator, "read_text", target_user=told.turn.user, requested=1, affected=1, data=about)
        return Response(timeline_object(told, events=events))
