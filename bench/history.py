"""Runs inside ``manage.py shell`` of a server under test: makes ninety days of turns, looks how they are read.

PostgreSQL only: the rows are made by the database itself, a million within a minute or two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.db.models import Model
from django.db.models.fields import NOT_PROVIDED

from approvals.models import Action
from copilot.diagnostics.categories import rows_of
from copilot.diagnostics.metrics import measure
from copilot.models import Message, Session, Turn, User

DAYS = 90
SESSIONS = 10_000
MESSAGES = 200_000
#: A table with more rows must not be read from its beginning to its end.
SMALL = 100_000
#: Of a thousand live turns: the running ones that nothing is wrong with, lost their worker or run for too long,
#: those that wait for a person, and the queued ones that nothing is wrong with or are stuck.
_LIVE = {"running": 350, "orphaned": 30, "long_running": 20, "waiting": 300, "queued": 250, "stuck_queued": 50}

_SESSION = f"md5('session' || mod(n, {SESSIONS}))::uuid"


def fill(finished: int, live: int) -> None:
    """Make so many finished turns, 3 % of them failed, and live ones in every category; print how many of each.

    The last finished one ended a moment ago, the first 90 days before. No worker may run meanwhile: it would look
    after the live ones.
    """
    user = repr(str(User.objects.create_user("history").pk))
    session = {"id": _SESSION, "user_id": user, "title": "'t'", "updated_at": "now()", "created_at": "now()"}
    _insert(Session, SESSIONS, session)
    _insert(Turn, finished, _finished(user, finished))
    _insert(Message, MESSAGES, _message())
    made, first = {}, 0
    for name, share in _LIVE.items():
        made[name] = live * share // 1000
        _insert(Turn, made[name], _live(user, name, first))
        first += made[name]
    waiting = "SELECT id, session_id, user_id, action_id FROM copilot_turn WHERE status = 'requires_action'"
    action = {"id": "action_id", "turn": "id", "session": "session_id", "user_id": "user_id"}
    _insert(Action, 0, {**action, "expires_at": "now() + interval '1 day'"}, source=f"({waiting}) AS waiting")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as the server does by itself within a minute or two
    print(json.dumps(_expected(made)))


def _expected(made: dict[str, int]) -> dict[str, int]:
    running = made["running"] + made["orphaned"] + made["long_running"]
    return {**made, "running": running, "queued": made["queued"] + made["stuck_queued"], "invalid": 0}


def _finished(user: str, count: int) -> dict[str, str]:
    ended = f"now() - (({count} - n) * {DAYS * 86_400 / count:f}) * interval '1 second'"
    failed = "mod(n, 100) < 3"
    return {
        **_turn(user, "turn", _SESSION),
        "status": f"CASE WHEN {failed} THEN 'failed' ELSE 'completed' END",
        "outcome": f"CASE WHEN {failed} THEN 'rate_limit' ELSE 'stop' END",
        "error": f'CASE WHEN {failed} THEN \'{{"detail": "Too many requests."}}\'::jsonb END',
        "fence": "2",
        "steps": "2",
        "last_seq": "40",
        "running_ms": "20000",
        "pruned": f"n < {count} * 0.98",
        "created_at": f"{ended} - interval '30 seconds'",
        "queued_at": f"{ended} - interval '20 seconds'",
        "started_at": f"{ended} - interval '20 seconds'",
        "claimed_at": f"{ended} - interval '19.99 seconds'",
        "progress_at": ended,
        "finished_at": ended,
    }


def _live(user: str, category: str, first: int) -> dict[str, str]:
    turn = _turn(user, f"live {category}", f"md5('session' || (n + {first}))::uuid")
    if category == "waiting":
        return {**turn, "status": "'requires_action'", "action_id": "md5('action' || n)::uuid", "fence": "2"}
    if category in ("queued", "stuck_queued"):
        ago = "2 hours" if category == "stuck_queued" else "5 seconds"
        return {**turn, "status": "'queued'", "queued_at": f"now() - interval '{ago}'"}
    began = f"now() - interval '{'26 hours' if category == 'long_running' else '1 minute'}'"
    # Nobody renews them here: the lease of those that are not lost lasts until after the measurement.
    heartbeat = f"now() {'-' if category == 'orphaned' else '+'} interval '2 hours'"
    held = {"status": "'running'", "worker": "md5('worker')::uuid", "heartbeat_at": heartbeat, "fence": "1"}
    times = ("created_at", "queued_at", "claimed_at", "started_at", "progress_at")
    return {**turn, **held, **dict.fromkeys(times, began)}


def _turn(user: str, name: str, session: str) -> dict[str, str]:
    settings = json.dumps({"tools": ["calculator", "fetch_url", "shell"], "policy": {"mode": "default"}})
    return {
        "id": f"md5('{name}' || n)::uuid",
        "session_id": session,
        "user_id": user,
        "model": "'demo/demo'",
        "settings": f"'{settings}'::jsonb",
    }


def _message() -> dict[str, str]:
    place = f"n / {SESSIONS} + 1"
    return {
        "id": "md5('message' || n)::uuid",
        "session_id": _SESSION,
        "role": "'user'",
        "state": "'done'",
        "seq": place,
        "number": place,
        "parent": "md5('parent' || n)::uuid",
        "created_at": "now()",
    }


def _insert(model: type[Model], count: int, columns: dict[str, str], *, source: str = "") -> None:
    """Insert rows made of SQL expressions over ``n``, from 0; other columns get what a new row would have."""
    columns = dict(columns)
    for field in model._meta.concrete_fields:
        if field.column in columns or field.db_default is not NOT_PROVIDED or field.primary_key:
            continue
        columns[field.column] = _literal(field)
    names = ", ".join(f'"{name}"' for name in columns)
    source = source or f"generate_series(0, {count} - 1) AS n"
    sql = f'INSERT INTO "{model._meta.db_table}" ({names}) SELECT {", ".join(columns.values())} FROM {source}'
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _literal(field: Any) -> str:
    value = field.get_default()
    if value is None:
        return "NULL"
    if isinstance(value, dict | list):
        return f"'{json.dumps(value)}'::jsonb"
    return (
        str(value).upper() if isinstance(value, bool) else repr(value) if isinstance(value, int) else f"'{value}'"
    )


def explain(names: list[str], limit: int) -> None:
    """Print the large tables that the diagnostics, or the first page of a category, read from end to end."""
    acts: dict[str, Callable[[], object]] = {"diagnostics": measure}
    acts |= {name: (lambda name=name: list(rows_of(name).select_related("user")[:limit])) for name in names}
    acts |= {f"number of {name}": (lambda name=name: rows_of(name).count()) for name in names}
    found = {what: sorted(set(_whole(act)) & _large()) for what, act in acts.items()}
    print(json.dumps({what: tables for what, tables in found.items() if tables}))


def _large() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > %s", [SMALL])
        return {name for (name,) in cursor.fetchall()}


def _whole(act: Callable[[], object]) -> list[str]:
    seen: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        act()
    steps: list[str] = []
    with connection.cursor() as cursor:
        for sql, params in seen:
            if sql.startswith("SELECT"):
                cursor.execute(f"EXPLAIN {sql}", params)
                steps += [str(row[0]) for row in cursor.fetchall()]
    return [table for step in steps for table in re.findall(r"Seq Scan on (\w+)", step)]
