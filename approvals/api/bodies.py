"""What may be sent to decide an action; the same for REST and websockets."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from approvals.decisions import Wish
from common.bodies import Body, Text

CLIENT_ID_MAX = 128


class DecisionBody(Body):
    """What becomes of one call."""

    tool_call_id = Text(max_length=100, help_text="Decisions and calls are joined by this, never by position.")
    type = Text(max_length=20, help_text="`approve`, `edit`, `reject` or `respond`, if the call allows it.")
    reason = Text(required=False, allow_null=True, help_text="With `reject` or `edit`; at most 2,000 characters.")
    arguments = serializers.JSONField(
        required=False, allow_null=True, help_text="With `edit`: an object that the call's `schema` accepts."
    )
    text = Text(required=False, allow_null=True, help_text="With `respond`; at most 16,000 characters.")
    pattern = serializers.DictField(
        child=Text(), required=False, allow_null=True, help_text="With `approve` and a scope: a glob by argument."
    )


class DecideBody(Body):
    """``POST approvals/{id}/decide``."""

    # Not ``many=True``: with it each of them might be null, too.
    decisions: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=DecisionBody(), required=False, allow_null=True
    )
    answer = Text(required=False, allow_null=True, help_text="To a question; at most 16,000 characters.")
    scope = Text(
        required=False,
        allow_null=True,
        help_text="`once` (default), `session` or `always`: for how long the tools then run without asking.",
    )
    client_id = Text(required=False, allow_null=True, allow_blank=False, max_length=CLIENT_ID_MAX)


def wish_of(fields: dict[str, Any]) -> Wish:
    """Return what the checked fields of a ``DecideBody`` ask for."""
    decisions = fields.get("decisions")
    return Wish(
        decisions=[dict(decision) for decision in decisions] if decisions is not None else None,
        answer=fields.get("answer"),
        scope=fields.get("scope") or "once",
    )
