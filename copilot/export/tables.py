"""Which rows are a person's data, and what of them is given to them: what they are shown, and nothing sealed.

What is not here and why, ``docs/retention.md`` says of each model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Model, QuerySet

from approvals.models import Action, AuditEntry, PushSubscription, Rule
from approvals.objects import action_object
from copilot.models import Compaction, File, Message, Preset, Session, ToolCall, Turn, UsageRecord, User
from copilot.signals import exporting
from copilot.usage.visibility import shows_cost

#: Rows that are in memory at once.
CHUNK = 500
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One file of an export: rows of a model, each to become a line of JSON. They are read while it is written."""

    path: str
    model: type[Model]
    rows: Iterator[Row]


def rows_of(rows: QuerySet[Any], *columns: str) -> Iterator[Row]:
    """Yield these columns of rows, the oldest first, a few at a time."""
    yield from rows.order_by("pk").values(*columns).iterator(chunk_size=CHUNK)


def tables_of(user: User) -> list[Table]:
    """Return everything that is a person's, in all apps; what things cost only if they see it elsewhere."""
    tables = [
        Table("profile.jsonl", User, _profile(user)),
        Table("presets.jsonl", Preset, rows_of(Preset.objects.filter(user=user), *_PRESET)),
        *_conversations(user),
        *_approvals(user),
    ]
    elsewhere: Any = exporting.send(User, user=user)
    for _, more in elsewhere:
        tables += more
    return tables


def _profile(user: User) -> Iterator[Row]:
    yield from rows_of(User.objects.filter(pk=user.pk), *_PROFILE)


def _conversations(user: User) -> list[Table]:
    sessions = Session.objects.filter(user=user)
    messages = Message.objects.filter(session__user=user)
    turns = Turn.objects.filter(user=user)
    calls = ToolCall.objects.filter(turn__user=user)
    summaries = Compaction.objects.filter(session__user=user)
    usage = UsageRecord.objects.filter(user=user)
    spent = ("cost_microdollars",) if shows_cost(user) else ()
    return [
        Table("sessions.jsonl", Session, rows_of(sessions, *_SESSION, *spent)),
        Table("messages.jsonl", Message, rows_of(messages, *_MESSAGE)),
        Table("turns.jsonl", Turn, rows_of(turns, *_TURN)),
        Table("tool_calls.jsonl", ToolCall, rows_of(calls, *_CALL)),
        Table("summaries.jsonl", Compaction, rows_of(summaries, *_SUMMARY)),
        Table("usage.jsonl", UsageRecord, rows_of(usage, *_USAGE, *spent)),
        Table("files.jsonl", File, rows_of(File.objects.filter(user=user), *_FILE)),
    ]


def _approvals(user: User) -> list[Table]:
    rules, log = Rule.objects.filter(user=user), AuditEntry.objects.filter(user=user)
    browsers = PushSubscription.objects.filter(user=user)
    return [
        Table("approvals.jsonl", Action, _actions(user)),
        Table("approval_rules.jsonl", Rule, rows_of(rules, "id", "session", "tool", "pattern", "created_at")),
        Table("approval_log.jsonl", AuditEntry, rows_of(log, *_ENTRY)),
        Table("browsers.jsonl", PushSubscription, rows_of(browsers, "id", "label", "created_at")),
    ]


def _actions(user: User) -> Iterator[Row]:
    asked = Action.objects.filter(user=user).select_related("decided_by").order_by("pk")
    for action in asked.iterator(chunk_size=CHUNK):
        yield action_object(action)


_PROFILE = (
    "id",
    "username",
    "first_name",
    "last_name",
    "email",
    "time_zone",
    "instructions",
    "tier",
    "is_staff",
    "date_joined",
    "last_login",
)
_PRESET = ("id", "name", "prompt", "tone", "style", "created_at")
_SESSION = (
    "id",
    "parent_id",
    "title",
    "title_source",
    "model",
    "preset_id",
    "instructions",
    "tools",
    "approval_mode",
    "temporary",
    "archived",
    "client_id",
    "input_tokens",
    "output_tokens",
    "created_at",
    "updated_at",
)
#: ``parent`` is the message before it; those that are not ``shown`` are of other branches.
_MESSAGE = (
    "id",
    "session_id",
    "turn_id",
    "parent",
    "shown",
    "seq",
    "number",
    "role",
    "state",
    "held",
    "parts",
    "origin",
    "author",
    "standing",
    "delivery",
    "options",
    "client_id",
    "created_at",
)
_TURN = (
    "id",
    "session_id",
    "parent_id",
    "next_turn_id",
    "status",
    "outcome",
    "error",
    "origin",
    "author",
    "model",
    "effort",
    "steps",
    "attempt",
    "running_ms",
    "first_chunk_ms",
    "created_at",
    "started_at",
    "finished_at",
)
_CALL = (
    "id",
    "turn_id",
    "step",
    "position",
    "name",
    "arguments",
    "state",
    "output",
    "error",
    "started_at",
    "finished_at",
)
_SUMMARY = ("id", "session_id", "turn_id", "up_to", "summary", "created_at")
_USAGE = (
    "turn_id",
    "session_id",
    "aside",
    "step",
    "calls",
    "model",
    "answered_by",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "estimated",
    "created_at",
)
_FILE = ("id", "session_id", "name", "media_type", "size", "sha256", "created_at")
_ENTRY = (
    "id",
    "at",
    "event",
    "actor",
    "surface",
    "action",
    "session",
    "turn",
    "tool_call",
    "tool",
    "decision",
    "scope",
    "text",
    "shown",
    "final",
)
