"""The calls of AI SDK front ends in the API document; see ``chat.api.schema``."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.serializers import CancelBody
from chat.ui.request import ID_MAX, TRIGGERS
from common.apidocs import errors, event_stream, found, parameter
from common.rest import ApiView
from copilot import components
from copilot.examples import CANCELLED

_SDK = parameter("sdk", int, "The client's major version of the AI SDK; 7 is told more. Default 6.")
_CALL = "5f0b3a52-64f5-4a0e-9a3e-0c7a7b1f2d33"
_APPROVAL = f"019a9d62-1a2b-7c3d-8e4f-5a6b7c8d9e0f.{_CALL}"
_ANSWER_ID = "01981f5e-9b03-7a90-b1c4-77ad0e3f6c44"
_MESSAGE = {
    "id": "my-chat",
    "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Push it"}]}],
    "trigger": "submit-message",
}
_ANSWERED = {
    "id": "my-chat",
    "messages": [
        {
            "id": _ANSWER_ID,
            "role": "assistant",
            "parts": [
                {
                    "type": "dynamic-tool",
                    "toolName": "shell",
                    "toolCallId": _CALL,
                    "state": "approval-responded",
                    "input": {"command": "git push"},
                    "approval": {"id": _APPROVAL, "approved": False, "reason": "Not on Fridays."},
                }
            ],
        }
    ],
    "trigger": "submit-message",
    "messageId": _ANSWER_ID,
}
_PAUSE = (
    f'data: {{"type":"start","messageId":"{_ANSWER_ID}"}}\n\n'
    'data: {"type":"start-step"}\n\n'
    f'data: {{"type":"tool-input-available","toolCallId":"{_CALL}","toolName":"shell",'
    '"input":{"command":"git push"},"dynamic":true,"providerExecuted":true}\n\n'
    f'data: {{"type":"tool-approval-request","approvalId":"{_APPROVAL}","toolCallId":"{_CALL}"}}\n\n'
    'data: {"type":"finish-step"}\n\n'
    'data: {"type":"finish","finishReason":"tool-calls"}\n\n'
    "data: [DONE]\n\n"
)
_STREAM = event_stream(_PAUSE)


class ChatBody(serializers.Serializer[Any]):
    """What `DefaultChatTransport` sends. Other fields may be there, and are not read."""

    id = serializers.CharField(max_length=ID_MAX, help_text="The front end's name of the chat, or a session's id.")
    messages = serializers.ListField(
        child=serializers.DictField(),
        help_text="Only the last one is read: a user's text and file parts, whose `url` is that of an uploaded "
        "file; or what an assistant's calls were answered.",
    )
    trigger = serializers.ChoiceField(TRIGGERS, required=False)
    messageId = serializers.CharField(
        max_length=ID_MAX,
        required=False,
        allow_null=True,
        help_text="What is edited, answered again or gone on with.",
    )


class _ChatTwin(ApiView):
    @extend_schema(
        operation_id="ui_chat",
        summary="Send a message from an AI SDK front end",
        description="One response is one segment of a turn in the UI message stream: from `start` to `finish`, at "
        "the turn's end or where it waits for a person (`finishReason` is `tool-calls`), then `[DONE]`; a turn "
        "that fails or is stopped ends with `error` or `abort`. Sent again, a message is answered with what "
        "became of it. Answers to all that was asked begin the next segment. Closing the stream stops nothing.",
        parameters=[_SDK],
        request=ChatBody,
        examples=[
            OpenApiExample("a message", value=_MESSAGE, request_only=True),
            OpenApiExample("an answer to an approval", value=_ANSWERED, request_only=True),
        ],
        responses=_STREAM
        | errors(
            "invalid",
            "incomplete",
            "not_allowed",
            "refused_text",
            "not_found",
            "session_busy",
            "client_id_reused",
            "already_decided",
            "expired",
            "stale",
            "text_too_long",
            "rate_limited",
            "usage_limit",
            unsafe=True,
        ),
    )
    def post(self, request: Request) -> Response:
        raise NotImplementedError


class _ResumeTwin(ApiView):
    @extend_schema(
        operation_id="ui_chat_resume",
        summary="Resume the response that is under way",
        description="From its beginning, as `POST ui/chat` answers. 204 where nothing runs or waits, and for a "
        "chat that is not known.",
        parameters=[_SDK],
        responses=_STREAM | {204: OpenApiResponse(description="Nothing is under way.")} | errors("invalid"),
    )
    def get(self, request: Request, chat: str) -> Response:
        raise NotImplementedError


class _StopTwin(ApiView):
    @extend_schema(
        operation_id="ui_chat_stop",
        summary="Stop what runs in a chat",
        description="Answers within six seconds. With `turn` it stops that turn and no other.",
        request=CancelBody,
        responses=found(components.Cancelled, CANCELLED)
        | errors("invalid", "unknown_field", "not_found", "text_too_long", unsafe=True),
    )
    def post(self, request: Request, chat: str) -> Response:
        raise NotImplementedError


TWINS: list[tuple[str, str, type[ApiView]]] = [
    ("ui/chat", "POST", _ChatTwin),
    ("ui/chat/{chat}/stream", "GET", _ResumeTwin),
    ("ui/chat/{chat}/stop", "POST", _StopTwin),
]
