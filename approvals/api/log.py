"""``/approval-log``: what became of what the caller was asked."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.models import AuditEntry
from approvals.selectors import log_of
from common.apidocs import errors, found, parameter
from common.paging import page_of
from common.rest import ApiView, caller_of

_ENTRY = {
    "id": "019a9d64-0b1c-7d2e-8f3a-4b5c6d7e8f90",
    "at": "2026-01-05T09:33:02.500000Z",
    "event": "decided",
    "actor": "ada",
    "surface": "web",
    "approval": "019a9d62-1a2b-7c3d-8e4f-5a6b7c8d9e0f",
    "session": "01981f5e-8a40-7c11-9f62-3a8d2f0c1b11",
    "turn": "01981f5e-9b51-7d22-8a73-4b9e3f1d2c22",
    "tool_call_id": "5f0b3a52-64f5-4a0e-9a3e-0c7a7b1f2d33",
    "tool": "shell",
    "decision": "edit",
    "scope": "once",
    "shown": {"command": "git push --force"},
    "final": {"command": "git push"},
}


class ApprovalLogEntry(serializers.ModelSerializer[AuditEntry]):
    """One fact about approvals; it never changes. Arguments and texts are as they were shown."""

    event = serializers.ChoiceField(AuditEntry.Event.choices)
    actor = serializers.CharField(required=False, help_text="Who did it; absent: the server itself.")
    surface = serializers.CharField(help_text="`web`, `api`, `admin`, `server`, or a bot's platform.")
    approval = serializers.UUIDField(source="action", required=False)
    session = serializers.UUIDField(required=False, help_text="It may be deleted by now.")
    turn = serializers.UUIDField(required=False)
    tool_call_id = serializers.UUIDField(source="tool_call", required=False)
    tool = serializers.CharField(required=False)
    decision = serializers.CharField(
        required=False, help_text="`approve`, `edit`, `reject`, `respond`, or `answer` to a question."
    )
    scope = serializers.CharField(required=False, help_text="`once`, `session` or `always`.")
    text = serializers.CharField(
        required=False, help_text="The reason, response or answer; or the abort reason of what was cancelled."
    )
    shown = serializers.DictField(required=False, help_text="The arguments that the person was shown.")
    final = serializers.DictField(
        required=False, help_text="Those with which the call may run; of a rule, its pattern."
    )

    class Meta:
        model = AuditEntry
        fields = [
            "id",
            "at",
            "event",
            "actor",
            "surface",
            "approval",
            "session",
            "turn",
            "tool_call_id",
            "tool",
            "decision",
            "scope",
            "text",
            "shown",
            "final",
        ]
        read_only_fields = fields

    def to_representation(self, instance: AuditEntry) -> dict[str, Any]:
        """Return the entry without what it does not say."""
        entry: dict[str, Any] = super().to_representation(instance)
        return {name: value for name, value in entry.items() if value is not None and value != ""}


class ApprovalLogPage(serializers.Serializer[Any]):
    """A page of the log."""

    results = ApprovalLogEntry(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class LogView(ApiView):
    """What became of what the caller was asked."""

    @extend_schema(
        operation_id="list_approval_log",
        summary="Read the approval log",
        description="Who decided what, when and where; what expired or was cancelled; rules that were added or "
        "revoked. Newest first. It stays when a session is deleted. Follow `next` to go on.",
        parameters=[
            parameter("cursor", str, "From `next` or `previous`."),
            parameter("limit", int, "Entries a page, from 1 to 100. Default 50."),
        ],
        responses=found(ApprovalLogPage, {"results": [_ENTRY], "next": None, "previous": None})
        | errors("invalid"),
    )
    def get(self, request: Request) -> Response:
        """Answer with a page of it."""
        entries, following, earlier = page_of(request, log_of(caller_of(request).user), by="at")
        results = ApprovalLogEntry(entries, many=True).data
        return Response({"results": results, "next": following, "previous": earlier})
