"""What operators are shown: figures, and of turns and people who, where and since when; nothing that was said."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from copilot.diagnostics.metrics import Metrics
from copilot.diagnostics.timeline import Entry, Timeline
from copilot.models import Turn, User
from copilot.turns.finish import ran_ms
from copilot.usage.limits import Standing, Usage

Object = dict[str, Any]


def turn_row(turn: Turn) -> Object:
    """Return a turn as a list shows it; read it ``with_time`` and with its user."""
    shown: Object = {
        "id": str(turn.pk),
        "session": str(turn.session_id),
        "user": str(turn.user_id),
        "username": turn.user.get_username(),
        "status": turn.status,
        "origin": turn.origin,
        "model": turn.model,
        "attempt": turn.attempt,
        "steps": turn.steps,
        "running_ms": turn.running_ms + ran_ms(turn),
        "created_at": _time(turn.created_at),
        "queued_at": _time(turn.queued_at),
    }
    optional = {
        "email": turn.user.email or None,
        "parent": str(turn.parent_id) if turn.parent_id else None,
        "worker": str(turn.worker) if turn.worker else None,
        "approval": str(turn.action_id) if turn.action_id else None,
        "started_at": _time(turn.started_at),
        "claimed_at": _time(turn.claimed_at),
        "heartbeat_at": _time(turn.heartbeat_at),
        "progress_at": _time(turn.progress_at),
        "stop_requested_at": _time(turn.stop_requested_at),
        "finished_at": _time(turn.finished_at),
        "error": turn.public_error(),
    }
    return shown | {name: value for name, value in optional.items() if value is not None}


def usage_row(user: User, usage: Usage) -> Object:
    """Return what a person used and may use, in exact figures."""
    who: Object = {"user": str(user.pk), "username": user.get_username()}
    who |= {"email": user.email} if user.email else {}
    return who | {"tier": usage.tier, "daily": _window(usage.day), "weekly": _window(usage.week)}


def _window(standing: Standing) -> Object:
    return {
        "starts_on": standing.window.starts_on.isoformat(),
        "resets_at": _time(standing.window.resets_at),
        "limit_microdollars": standing.limit,
        "used_microdollars": standing.used,
        "forgiven_microdollars": standing.forgiven,
        "reserved_microdollars": standing.reserved,
        "unknown_records": standing.unknown,
    }


def metrics_object(metrics: Metrics) -> Object:
    """Return the figures of one moment, those of the categories under their names."""
    return {
        "timestamp": _time(metrics.timestamp),
        "hours": metrics.hours,
        **metrics.counts,
        "invalid_kinds": metrics.invalid_kinds,
        "stranded_messages": metrics.stranded_messages,
        "never_started": metrics.never_started,
        "stop_unconfirmed": metrics.stop_unconfirmed,
        "broker_queue_depth": metrics.broker_queue_depth,
        "oldest_running_seconds": metrics.oldest_running_seconds,
        "active_sessions": metrics.active_sessions,
        "active_users": metrics.active_users,
        "completed_1h": metrics.completed.hour,
        "completed_24h": metrics.completed.day,
        "throughput_per_hour": metrics.completed.per_hour,
        "failed_1h": metrics.failed.hour,
        "failed_24h": metrics.failed.day,
        "failed_per_hour": metrics.failed.per_hour,
        "dispatch_lag": asdict(metrics.dispatch_lag) if metrics.dispatch_lag else None,
        "log_rows": metrics.log.rows,
        "log_bytes": metrics.log.bytes,
        "workers": [asdict(worker) for worker in metrics.workers],
        "series": [{**asdict(hour), "at": _time(hour.at)} for hour in metrics.series],
    }


def timeline_object(told: Timeline, *, events: bool) -> Object:
    """Return a turn's history; the events themselves only where they were asked for."""
    log = told.events
    counted: Object = {
        "count": log.count,
        "first": log.first,
        "last": log.last,
        "pruned": log.pruned,
        "kinds": log.kinds,
    }
    listed = {"listed": [{"seq": seq, "what": what} for seq, what in log.listed]} if events else {}
    return {
        "id": str(told.turn.pk),
        "session": str(told.turn.session_id),
        "status": told.turn.status,
        "about": [{"name": name, "value": value} for name, value in told.about],
        "entries": list(map(_entry, told.entries)),
        "events": counted | listed,
    }


def _entry(entry: Entry) -> Object:
    shown: Object = {"at": _time(entry.at), "kind": entry.kind, "what": entry.what}
    return shown | ({"since": _time(entry.since), "spent": entry.spent} if entry.since else {})


def _time(value: datetime | None) -> str | None:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None
