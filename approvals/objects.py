"""The public JSON form of actions, the same on every surface. Optional keys are absent, never null."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from approvals.models import Action

_SHOWN = ("tool_call_id", "name", "arguments", "schema", "description", "reason", "allowed_decisions")


def action_object(action: Action) -> dict[str, Any]:
    """Return what is asked and, once it was, how it was decided."""
    shown: dict[str, Any] = {
        "id": str(action.pk),
        "kind": action.kind,
        "status": action.status,
        "session": str(action.session),
        "turn": str(action.turn),
        "requests": [
            {name: request[name] for name in _SHOWN if name in request} for request in action.readable_requests
        ],
        "scopes": action.scopes,
        "created_at": moment(action.created_at),
        "expires_at": moment(action.expires_at),
    }
    if action.kind == Action.Kind.QUESTION:
        shown["question"] = action.question
        shown["options"] = action.options
    if action.reason:
        shown["reason"] = action.reason
    if action.resolved_at is not None:
        shown["decided_at"] = moment(action.resolved_at)
    if action.status == Action.Status.DECIDED:
        shown |= _decision(action)
    return shown


def _decision(action: Action) -> dict[str, Any]:
    decisions = [
        {name: value for name, value in decision.items() if name != "sha256"}
        for decision in action.decisions or []
    ]
    decided: dict[str, Any] = {
        "decided_by": action.decided_by.get_username() if action.decided_by else "",
        "surface": action.surface,
        "scope": action.scope,
        "decisions": decisions,
    }
    return decided | ({"answer": action.answer} if action.kind == Action.Kind.QUESTION else {})


def moment(value: datetime) -> str:
    """Return a moment as the API writes it."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
