"""``/operator/turns``: anybody's turns, by category."""

from __future__ import annotations

import math
import re
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from common.apidocs import errors, found, parameter
from common.errors import invalid
from common.ids import as_uuid
from common.paging import number
from common.query import words
from copilot.components import TurnError
from copilot.diagnostics.categories import CATEGORIES, HOURS, rows_of
from copilot.diagnostics.facts import snapshot
from copilot.models import Turn
from copilot.models.turn import TurnQuerySet
from copilot.operators.api.base import OperatorView
from copilot.operators.objects import turn_row

#: Turns a page, and the most that one may ask for; more are not refused.
LIMIT, LIMIT_MAX = 100, 1000
#: Ten years.
HOURS_MAX = 87_600.0

_TURN = {
    "id": "01981f5e-9b51-7d22-8a73-4b9e3f1d2c22",
    "session": "01981f5e-8a40-7c11-9f62-3a8d2f0c1b11",
    "user": "01981f5d-77b0-7a30-9c51-2e7d1f0b0a00",
    "username": "ada",
    "status": "failed",
    "origin": "web",
    "model": "anthropic/claude-sonnet-4-5",
    "attempt": 3,
    "steps": 2,
    "running_ms": 48_120,
    "created_at": "2026-01-05T09:30:00.000000Z",
    "queued_at": "2026-01-05T09:30:41.500000Z",
    "email": "ada@example.org",
    "started_at": "2026-01-05T09:30:00.008000Z",
    "claimed_at": "2026-01-05T09:30:51.600000Z",
    "progress_at": "2026-01-05T09:30:52.100000Z",
    "finished_at": "2026-01-05T09:30:58.400000Z",
    "error": {
        "code": "worker_lost",
        "detail": "The process that ran this turn was lost 3 times in the same step.",
        "retryable": True,
    },
}


class OperatorTurn(serializers.Serializer[Any]):
    """A turn as operators see it: nothing that anybody said."""

    id = serializers.UUIDField()
    session = serializers.UUIDField()
    user = serializers.UUIDField()
    username = serializers.CharField()
    status = serializers.CharField()
    origin = serializers.CharField()
    model = serializers.CharField()
    attempt = serializers.IntegerField()
    steps = serializers.IntegerField()
    running_ms = serializers.IntegerField(help_text="So far; pauses and the queue are not counted.")
    created_at = serializers.DateTimeField()
    queued_at = serializers.DateTimeField(help_text="For the last time.")
    email = serializers.CharField(required=False)
    parent: Any = serializers.UUIDField(
        required=False, help_text="In a child session: the turn that asked for it."
    )
    worker = serializers.UUIDField(required=False)
    approval = serializers.UUIDField(required=False, help_text="What it waits for.")
    started_at = serializers.DateTimeField(required=False)
    claimed_at = serializers.DateTimeField(required=False)
    heartbeat_at = serializers.DateTimeField(required=False, help_text="When its worker renewed the lease.")
    progress_at = serializers.DateTimeField(required=False)
    stop_requested_at = serializers.DateTimeField(required=False)
    finished_at = serializers.DateTimeField(required=False)
    error = TurnError(required=False)


class OperatorTurnPage(serializers.Serializer[Any]):
    """Some of the turns, and how many there are."""

    results = OperatorTurn(many=True)
    total = serializers.IntegerField(help_text="Of all pages; the same as in the diagnostics.")


class TurnsView(OperatorView):
    """Turns by category."""

    @extend_schema(
        operation_id="list_operator_turns",
        summary="List turns by category",
        description="Of everybody. Without a category: all turns that have not ended. Those that need somebody "
        "most come first: failed ones from the newest on, the others from the oldest.",
        parameters=[
            parameter("category", str, ", ".join(f"`{name}`" for name in CATEGORIES) + "."),
            parameter("hours", float, f"Of look-back, for `failed`. Default {HOURS:g}."),
            parameter("origin", str, ", ".join(f"`{origin}`" for origin in Turn.Origin.values) + "."),
            parameter("user", str, "An id or a username."),
            parameter("model", str, "As `provider/model`."),
            parameter("error", str, "The code of an error or of an abort."),
            parameter("limit", int, f"Turns a page, {LIMIT_MAX} at most. Default {LIMIT}."),
            parameter("offset", int, "How many to pass over."),
        ],
        responses=found(OperatorTurnPage, {"results": [_TURN], "total": 1}) | errors("invalid"),
    )
    def get(self, request: Request) -> Response:
        """Answer with a page of them."""
        query = request.query_params
        limit, offset = _limit(query), number(query, "offset", default=0) or 0
        turns = _filtered(_of_category(query), query)
        with snapshot():
            total = turns.count()
            rows = list(turns.select_related("user").with_time()[offset : offset + limit])
        return Response({"results": list(map(turn_row, rows)), "total": total})


def _of_category(query: QueryDict) -> TurnQuerySet:
    name, hours = query.get("category", ""), hours_of(query)
    if not name:
        return Turn.objects.live().order_by("created_at", "pk")
    if name not in CATEGORIES:
        raise invalid({"category": f"must be one of {', '.join(CATEGORIES)}."})
    return rows_of(name, hours=hours)


def _filtered(turns: TurnQuerySet, query: QueryDict) -> TurnQuerySet:
    if origin := query.get("origin", ""):
        if origin not in Turn.Origin.values:
            raise invalid({"origin": f"must be one of {', '.join(Turn.Origin.values)}."})
        turns = turns.filter(origin=origin)
    if user := words(query, "user"):
        known = as_uuid(user)
        turns = turns.filter(user=known) if known else turns.filter(user__username=user)
    if model := words(query, "model"):
        turns = turns.filter(model=model)
    if error := words(query, "error"):
        turns = turns.filter(outcome=error, status__in=(Turn.Status.FAILED, Turn.Status.CANCELLED))
    return turns


def hours_of(query: QueryDict) -> float:
    """Return the hours of look-back.

    Raises:
        Invalid: not a number, none at all, or more than ten years.
    """
    raw = query.get("hours", "") or str(HOURS)
    try:
        hours = float(raw[:40])
    except ValueError:
        hours = math.nan
    if not 0 < hours <= HOURS_MAX:  # also refuses "nan"
        raise invalid({"hours": f"must be a number of hours, more than 0 and at most {HOURS_MAX:g}."})
    return hours


def _limit(query: QueryDict) -> int:
    raw = query.get("limit", "") or str(LIMIT)
    if not re.fullmatch(r"-?[0-9]{1,12}", raw):
        raise invalid({"limit": f"must be a whole number from 1 to {LIMIT_MAX}."})
    return min(max(int(raw), 1), LIMIT_MAX)
