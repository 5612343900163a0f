"""The runs of AG-UI front ends in the API document; see ``chat.api.schema``."""

from __future__ import annotations

import json
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat.agui.request import STATUSES
from chat.ui.request import ID_MAX
from common.apidocs import errors, event_stream
from common.rest import ApiView

_CALL = "5f0b3a52-64f5-4a0e-9a3e-0c7a7b1f2d33"
_APPROVAL = "019a9d62-1a2b-7c3d-8e4f-5a6b7c8d9e0f"
_INTERRUPT = f"{_APPROVAL}.{_CALL}"
_USER = {"id": "m1", "role": "user", "content": "Push it"}
_RUN = {"threadId": "my-thread", "runId": "r1", "messages": [_USER], "tools": [], "context": []}
_ABOUT = {"threadId": "my-thread", "runId": "r1"}
_EVENTS = [
    {"type": "RUN_STARTED", **_ABOUT, "protocolVersion": "1.0"},
    {"type": "STEP_STARTED", "stepName": "step 1"},
    {"type": "TOOL_CALL_START", "toolCallId": _CALL, "toolCallName": "shell", "parentMessageId": _CALL},
    {"type": "TOOL_CALL_ARGS", "toolCallId": _CALL, "delta": '{"command": "git push"}'},
    {"type": "TOOL_CALL_END", "toolCallId": _CALL},
    {"type": "STEP_FINISHED", "stepName": "step 1"},
    {
        "type": "RUN_FINISHED",
        **_ABOUT,
        "outcome": {
            "type": "interrupt",
            "interrupts": [
                {
                    "id": _INTERRUPT,
                    "reason": "tool_call",
                    "message": "'shell' asks before it runs.",
                    "toolCallId": _CALL,
                    "responseSchema": {"type": "object", "properties": {"approved": {"type": "boolean"}}},
                    "expiresAt": "2026-01-06T09:31:40.120000Z",
                }
            ],
        },
    },
]


class ResumeEntry(serializers.Serializer[Any]):
    """What is answered to one interrupt."""

    interruptId = serializers.CharField()
    status = serializers.ChoiceField(STATUSES)
    payload = serializers.JSONField(required=False, help_text="As the interrupt's `responseSchema` has it.")


class RunAgentInput(serializers.Serializer[Any]):
    """What `HttpAgent` sends. Other fields may be there, and are not read."""

    threadId = serializers.CharField(max_length=ID_MAX, help_text="The front end's name, or a session's id.")
    runId = serializers.CharField(max_length=ID_MAX)
    messages = serializers.ListField(
        child=serializers.DictField(), help_text="The last one of role `user` is read; the others are told again."
    )
    context = serializers.ListField(  # type: ignore[assignment] # a field here, not the serializer's own
        child=serializers.DictField(), required=False, help_text="`description` and `value`: what the person sees."
    )
    resume = ResumeEntry(many=True, required=False)


class _RunTwin(ApiView):
    @extend_schema(
        operation_id="run_ag_ui",
        summary="Run an AG-UI agent",
        description="For `HttpAgent` of `@ag-ui/client`. A thread is a session, by the same name as a chat of "
        "`ui/chat`. A run sends its last user message, or answers interrupts, and tells what follows up to the "
        "turn's end or its next pause. Closing the stream does not stop the turn.",
        request=RunAgentInput,
        examples=[
            OpenApiExample("a message", value=_RUN, request_only=True),
            OpenApiExample(
                "an answer",
                value={
                    **_RUN,
                    "resume": [{"interruptId": _INTERRUPT, "status": "resolved", "payload": {"approved": True}}],
                },
                request_only=True,
            ),
        ],
        responses=event_stream("".join(f"data: {json.dumps(event)}\n\n" for event in _EVENTS))
        | errors(
            *(
                "invalid",
                "refused_text",
                "incomplete",
                "not_allowed",
                "not_found",
                "text_too_long",
                "rate_limited",
                "usage_limit",
            ),
            *("session_busy", "client_id_reused", "already_decided", "expired", "stale", "queue_full"),
            unsafe=True,
        ),
    )
    def post(self, request: Request) -> Response:
        raise NotImplementedError


TWINS: list[tuple[str, str, type[ApiView]]] = [("ui/ag-ui", "POST", _RunTwin)]
