"""``/approval-rules`` and ``/approval-rules/{id}``."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.models import Rule
from approvals.rules import revoke
from approvals.selectors import rules_of
from common.apidocs import errors, found, no_content
from common.rest import ApiView, caller_of, surface_of

_RULE = {
    "id": "01981f5e-c3d0-7f18-9a44-6b1f0e2d5c77",
    "tool": "shell",
    "pattern": {"command": "git *"},
    "session": "01981f5e-8a40-7c11-9f62-3a8d2f0c1b11",
    "created_at": "2026-01-05T09:31:40.120000Z",
}


class ApprovalRule(serializers.ModelSerializer[Rule]):
    """A tool that runs without asking."""

    pattern = serializers.DictField(
        child=serializers.CharField(), help_text="A glob by argument; empty: whatever the arguments are."
    )
    session = serializers.UUIDField(required=False, help_text="Where it counts; absent: in every session.")

    class Meta:
        model = Rule
        fields = ["id", "tool", "pattern", "session", "created_at"]
        read_only_fields = fields

    def to_representation(self, instance: Rule) -> dict[str, Any]:
        """Return the rule without what it does not say."""
        shown: dict[str, Any] = super().to_representation(instance)
        return {name: value for name, value in shown.items() if value is not None}


class ApprovalRulePage(serializers.Serializer[Any]):
    """All rules of the caller, newest first."""

    results = ApprovalRule(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class RulesView(ApiView):
    """What the caller wants remembered."""

    @extend_schema(
        operation_id="list_approval_rules",
        summary="List remembered approvals",
        description="What you allowed for a session or for always, newest first. A rule counts only for turns "
        "that you wrote yourself, and never against what the operator denies or asks about.",
        responses=found(ApprovalRulePage, {"results": [_RULE], "next": None, "previous": None}) | errors(),
    )
    def get(self, request: Request) -> Response:
        """Answer with all of them."""
        rules = rules_of(caller_of(request).user)
        return Response({"results": ApprovalRule(rules, many=True).data, "next": None, "previous": None})


class RuleView(ApiView):
    """One of the caller's rules."""

    @extend_schema(
        operation_id="revoke_approval_rule",
        summary="Revoke a remembered approval",
        description="The next turns ask again. A turn that was accepted before keeps the rule.",
        responses=no_content() | errors("not_found", unsafe=True),
    )
    def delete(self, request: Request, rule_id: str) -> Response:
        """Forget it."""
        caller = caller_of(request)
        revoke(user=caller.user, rule_id=rule_id, surface=surface_of(caller))
        return Response(status=204)
