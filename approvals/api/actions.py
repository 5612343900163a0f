"""``/approvals``, ``/approvals/{id}`` and ``/approvals/{id}/decide``."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from approvals import selectors
from approvals.actions import decide
from approvals.api.bodies import DecideBody, wish_of
from approvals.models import Action
from approvals.objects import action_object
from common.apidocs import errors, found, parameter
from common.errors import invalid
from common.paging import page_of
from common.rest import ApiView, caller_of, surface_of

#: Actions that wait, on one page; a person who has more to decide decides these first.
PENDING_MAX = 500

EXAMPLE: dict[str, Any] = {
    "id": "019a9d62-1a2b-7c3d-8e4f-5a6b7c8d9e0f",
    "kind": "tool_approval",
    "status": "pending",
    "session": "01981f5e-8a40-7c11-9f62-3a8d2f0c1b11",
    "turn": "01981f5e-9b51-7d22-8a73-4b9e3f1d2c22",
    "requests": [
        {
            "tool_call_id": "5f0b3a52-64f5-4a0e-9a3e-0c7a7b1f2d33",
            "name": "shell",
            "arguments": {"command": "git push"},
            "schema": {"type": "object", "properties": {"command": {"type": "string"}}},
            "description": "Run a command.",
            "allowed_decisions": ["approve", "edit", "reject"],
        }
    ],
    "scopes": ["once", "session", "always"],
    "reason": "'shell' asks before it runs.",
    "created_at": "2026-01-05T09:31:40.120000Z",
    "expires_at": "2026-01-06T09:31:40.120000Z",
}
DECIDED: dict[str, Any] = {
    **EXAMPLE,
    "status": "decided",
    "decided_at": "2026-01-05T09:33:02.500000Z",
    "decided_by": "ada",
    "surface": "web",
    "scope": "once",
    "decisions": [{"tool_call_id": "5f0b3a52-64f5-4a0e-9a3e-0c7a7b1f2d33", "type": "approve"}],
}


class ApprovalRequest(serializers.Serializer[Any]):
    """One tool call that somebody is asked about. Hidden values look like `⟦hidden:…⟧`."""

    tool_call_id = serializers.CharField()
    name = serializers.CharField(help_text="The full name of the tool.")
    arguments = serializers.DictField()
    schema = serializers.DictField(help_text="JSON Schema of the arguments.")
    description = serializers.CharField(required=False)
    reason = serializers.CharField(required=False, help_text="Why it is asked.")
    allowed_decisions = serializers.ListField(child=serializers.CharField())


class Approval(serializers.Serializer[Any]):
    """What a turn waits for a person to decide, and how it was decided."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(Action.Kind.choices)
    status = serializers.ChoiceField(Action.Status.choices)
    session = serializers.UUIDField()
    turn = serializers.UUIDField()
    requests = ApprovalRequest(many=True)
    question = serializers.CharField(required=False)
    options = serializers.ListField(child=serializers.CharField(), required=False)
    scopes = serializers.ListField(child=serializers.CharField(), help_text="What `scope` may be.")
    reason = serializers.CharField(required=False)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(required=False, help_text="Also when it expired or was cancelled.")
    decided_by = serializers.CharField(required=False)
    surface = serializers.CharField(required=False)
    scope = serializers.CharField(required=False)
    decisions = serializers.ListField(child=serializers.DictField(), required=False)
    answer = serializers.CharField(required=False)


class ApprovalPage(serializers.Serializer[Any]):
    """The caller's approvals."""

    results = Approval(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class ActionsView(ApiView):
    """What the caller is asked."""

    @extend_schema(
        operation_id="list_approvals",
        summary="List approvals",
        description=f"The caller's, of all sessions. With `status=pending` those that wait, on one page, the "
        f"soonest end first, {PENDING_MAX} at most; else newest first, in pages.",
        parameters=[
            parameter("status", str, "`pending`, `decided`, `expired` or `cancelled`."),
            parameter("cursor", str, "From `next` or `previous`."),
            parameter("limit", int, "Approvals a page, from 1 to 100. Default 50."),
        ],
        responses=found(ApprovalPage, {"results": [EXAMPLE], "next": None, "previous": None}) | errors("invalid"),
    )
    def get(self, request: Request) -> Response:
        """Answer with them."""
        status = request.query_params.get("status", "")
        if status and status not in Action.Status.values:
            raise invalid({"status": f"must be one of {', '.join(Action.Status.values)}."})
        actions = selectors.actions_of(caller_of(request).user, status=status)
        if status == Action.Status.PENDING:
            rows, following, earlier = list(actions[:PENDING_MAX]), None, None
        else:
            rows, following, earlier = page_of(request, actions, by="created_at")
        return Response({"results": list(map(action_object, rows)), "next": following, "previous": earlier})


class ActionView(ApiView):
    """One action."""

    @extend_schema(
        operation_id="read_approval",
        summary="Read an approval",
        responses=found(Approval, EXAMPLE) | errors("not_found"),
    )
    def get(self, request: Request, action_id: str) -> Response:
        """Answer with it."""
        return Response(action_object(selectors.action_of(caller_of(request).user, action_id)))


class DecideView(ApiView):
    """The decision."""

    scope = "approve"

    @extend_schema(
        operation_id="decide_approval",
        summary="Decide an approval",
        description="Decides all calls of the approval at once, each exactly once, or answers its question. Of "
        "several decisions the first counts; repeating your own is harmless.",
        request=DecideBody,
        responses=found(Approval, DECIDED)
        | errors(
            "invalid",
            "unknown_field",
            "incomplete",
            "not_allowed",
            "refused_text",
            "not_found",
            "already_decided",
            "expired",
            "stale",
            unsafe=True,
        ),
    )
    def post(self, request: Request, action_id: str) -> Response:
        """Decide it."""
        caller = caller_of(request)
        wish = wish_of(self.body(request, DecideBody))
        action = decide(user=caller.user, action_id=action_id, wish=wish, surface=surface_of(caller))
        return Response(action_object(action))
