"""``/operator/diagnostics``: how the server does."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from common.apidocs import errors, found, parameter
from copilot.diagnostics.categories import CATEGORIES, HOURS
from copilot.diagnostics.metrics import measure
from copilot.operators.api.base import OperatorView
from copilot.operators.api.turns import hours_of
from copilot.operators.objects import metrics_object

_EXAMPLE: dict[str, Any] = {
    "timestamp": "2026-01-05T09:31:07.120000Z",
    "hours": 24.0,
    "running": 12,
    "queued": 3,
    "waiting": 41,
    "orphaned": 0,
    "failed": 36,
    "long_running": 0,
    "stuck_queued": 0,
    "invalid": 0,
    "invalid_kinds": {},
    "stranded_messages": 0,
    "never_started": 2,
    "stop_unconfirmed": 0,
    "broker_queue_depth": 3,
    "oldest_running_seconds": 214.5,
    "active_sessions": 15,
    "active_users": 9,
    "completed_1h": 240,
    "completed_24h": 4_310,
    "throughput_per_hour": 179.58,
    "failed_1h": 2,
    "failed_24h": 36,
    "failed_per_hour": 1.5,
    "dispatch_lag": {"claims": 200, "p50_ms": 6.2, "p99_ms": 31.0},
    "log_rows": 812_000,
    "log_bytes": 402_653_184,
    "workers": [
        {
            "host": "worker-1",
            "pid": 4711,
            "version": "0.1.0",
            "slots": 200,
            "running": 12,
            "seen_seconds": 0.41,
            "loop_lag_ms": 2,
            "stopping": False,
            "alive": True,
        }
    ],
    "series": [{"at": "2026-01-05T09:00:00Z", "completed": 118, "failed": 1}],
}


class WorkerState(serializers.Serializer[Any]):
    """A process that runs turns."""

    host = serializers.CharField()
    pid = serializers.IntegerField()
    version = serializers.CharField()
    slots = serializers.IntegerField(help_text="How many turns it runs at once.")
    running = serializers.IntegerField()
    seen_seconds = serializers.FloatField(help_text="Since it renewed its lease.")
    loop_lag_ms = serializers.IntegerField()
    stopping = serializers.BooleanField()
    alive = serializers.BooleanField(help_text="Its lease has not run out.")


class DispatchLag(serializers.Serializer[Any]):
    """How long turns waited in the queue, of the latest ones that were claimed."""

    claims = serializers.IntegerField()
    p50_ms = serializers.FloatField()
    p99_ms = serializers.FloatField()


class HourOfTurns(serializers.Serializer[Any]):
    """What ended within an hour."""

    at = serializers.DateTimeField(help_text="When the hour began.")
    completed = serializers.IntegerField()
    failed = serializers.IntegerField()


class Diagnostics(serializers.Serializer[Any]):
    """The figures of one moment."""

    timestamp = serializers.DateTimeField()
    hours = serializers.FloatField(help_text="Of look-back, for `failed`.")
    running = serializers.IntegerField(help_text=CATEGORIES["running"].meaning)
    queued = serializers.IntegerField(help_text=CATEGORIES["queued"].meaning)
    waiting = serializers.IntegerField(help_text=CATEGORIES["waiting"].meaning)
    orphaned = serializers.IntegerField(help_text=CATEGORIES["orphaned"].meaning)
    failed = serializers.IntegerField(help_text=CATEGORIES["failed"].meaning)
    long_running = serializers.IntegerField(help_text=CATEGORIES["long_running"].meaning)
    stuck_queued = serializers.IntegerField(help_text=CATEGORIES["stuck_queued"].meaning)
    invalid = serializers.IntegerField(help_text=CATEGORIES["invalid"].meaning)
    invalid_kinds = serializers.DictField(
        child=serializers.IntegerField(), help_text="Invalid turns by what is wrong; one may count twice."
    )
    stranded_messages = serializers.IntegerField(help_text="They wait for a turn where none is live: a bug.")
    never_started = serializers.IntegerField(help_text="Queued, and no worker has held it yet.")
    stop_unconfirmed = serializers.IntegerField(help_text="Asked to stop, and not ended yet.")
    broker_queue_depth = serializers.IntegerField(
        allow_null=True,
        help_text="Messages that wait in the broker; null: it does not answer, or is another process's. With many "
        "more queued turns than messages, hints were lost: the sweep gives them again.",
    )
    oldest_running_seconds = serializers.FloatField(
        allow_null=True, help_text="Of the turn that has run for longest, pauses not counted."
    )
    active_sessions = serializers.IntegerField(help_text="With a turn that runs or is queued.")
    active_users = serializers.IntegerField()
    completed_1h = serializers.IntegerField()
    completed_24h = serializers.IntegerField()
    throughput_per_hour = serializers.FloatField(help_text="Completed turns, over the last 24 hours.")
    failed_1h = serializers.IntegerField()
    failed_24h = serializers.IntegerField()
    failed_per_hour = serializers.FloatField(help_text="Over the last 24 hours.")
    dispatch_lag = DispatchLag(allow_null=True, help_text="Null: nothing was claimed yet.")
    log_rows = serializers.IntegerField(
        allow_null=True, help_text="Of the event log; an estimate. Null: the database has not looked yet."
    )
    log_bytes = serializers.IntegerField(help_text="On SQLite of the whole database.")
    workers = WorkerState(many=True)
    series = HourOfTurns(many=True, help_text="The last 24 hours by the clock; the last one is not over.")


class DiagnosticsView(OperatorView):
    """The figures of one moment."""

    @extend_schema(
        operation_id="read_diagnostics",
        summary="Measure the server",
        description="Under each category's name the number of its turns, as many as `GET operator/turns` lists "
        "for the same hours; and what there is to know about the queue, the workers and the ends of turns.",
        parameters=[parameter("hours", float, f"Of look-back, for `failed`. Default {HOURS:g}.")],
        responses=found(Diagnostics, _EXAMPLE) | errors("invalid"),
    )
    def get(self, request: Request) -> Response:
        """Answer with them."""
        return Response(metrics_object(measure(hours=hours_of(request.query_params))))
