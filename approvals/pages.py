"""What the pages of approvals show, ready for their templates."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from approvals.models import Action, AuditEntry, Rule
from approvals.objects import action_object

#: What became of something, in a word or two.
_EVENTS = {
    AuditEntry.Event.EXPIRED: "expired",
    AuditEntry.Event.CANCELLED: "stopped",
    AuditEntry.Event.RULE_ADDED: "rule added",
    AuditEntry.Event.RULE_REVOKED: "rule revoked",
}
_DECISIONS = {
    "approve": "approved",
    "edit": "approved with changes",
    "reject": "rejected",
    "respond": "answered",
    "answer": "answered",
}
_SURFACES = {"web": "on the web", "api": "over the API", "admin": "in the admin", "server": ""}
_SCOPES = {"session": "for this chat", "always": "for all chats"}
#: Why something was not decided.
_REASONS = {
    "stopped": "Its turn was stopped.",
    "operator": "The operator stopped its turn.",
    "parent_stopped": "The chat that had started its turn was stopped.",
    "unreadable": "What was asked could not be read any more.",
}

Titles = Mapping[uuid.UUID, str]


def title_in(titles: Titles, session_id: uuid.UUID | None) -> str:
    """Return what a session is called; "" when there is none (any more)."""
    if session_id is None or session_id not in titles:
        return ""
    return titles[session_id] or "New chat"


def _readable(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) if value else ""


@dataclass(frozen=True, slots=True)
class ShownAction:
    """An action in the inbox; ``public`` is its public form as JSON, which the page's scripts read."""

    action: Action
    title: str
    requests: list[dict[str, Any]]
    public: str


def shown_actions(actions: Iterable[Action], titles: Titles) -> list[ShownAction]:
    """Prepare actions for the inbox."""
    return [_shown_action(action, title_in(titles, action.session)) for action in actions]


def _shown_action(action: Action, title: str) -> ShownAction:
    public = action_object(action)
    requests = [{**request, "arguments": _readable(request["arguments"])} for request in public["requests"]]
    return ShownAction(action, title, requests, json.dumps(public, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class ShownRule:
    """A rule in the list; ``pattern`` holds pairs of argument and glob."""

    rule: Rule
    title: str
    pattern: list[tuple[str, str]]


def shown_rules(rules: Iterable[Rule], titles: Titles) -> list[ShownRule]:
    """Prepare rules for the list."""
    return [ShownRule(rule, title_in(titles, rule.session), sorted(rule.pattern.items())) for rule in rules]


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """An entry in the log. ``final`` is empty where a call runs, or would have run, just as it was shown."""

    entry: AuditEntry
    title: str
    word: str
    who: str
    scope: str
    text: str
    shown: str
    final: str
    is_about_a_rule: bool


def shown_entries(entries: Iterable[AuditEntry], titles: Titles) -> list[ShownEntry]:
    """Prepare entries for the log."""
    return [_shown_entry(entry, title_in(titles, entry.session)) for entry in entries]


def _shown_entry(entry: AuditEntry, title: str) -> ShownEntry:
    is_about_a_rule = entry.event in (AuditEntry.Event.RULE_ADDED, AuditEntry.Event.RULE_REVOKED)
    decided = entry.event == AuditEntry.Event.DECIDED
    return ShownEntry(
        entry,
        title,
        word=_DECISIONS.get(entry.decision, entry.decision) if decided else _EVENTS[AuditEntry.Event(entry.event)],
        who=" ".join(filter(None, [f"by {entry.actor or 'the server'}", _surface(entry.surface)])),
        scope=_SCOPES.get(entry.scope, ""),
        text=_REASONS.get(entry.text, entry.text) if entry.event == AuditEntry.Event.CANCELLED else entry.text,
        shown=_readable(entry.shown),
        final=_readable(entry.final) if entry.final != entry.shown else "",
        is_about_a_rule=is_about_a_rule,
    )


def _surface(surface: str) -> str:
    return _SURFACES.get(surface, f"via {surface}")
