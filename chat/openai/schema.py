"""These endpoints in the API document. They are plain async views: the twins here are documented, never served."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat.openai.request import CompletionBody
from common.apidocs import CODES, Error, Responses, found, parameter
from common.rest import ApiView

Serializer = serializers.Serializer[Any]

_TURN = "01981f5e-9b02-7d43-8a10-5be1c20f7d22"
_HEAD = {"id": f"chatcmpl-{_TURN}", "created": 1767605470, "model": "demo/demo"}
_USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 2,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
_ANSWER = {
    **_HEAD,
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello there", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": _USAGE,
}
_STREAM = (
    f'data: {{"id":"chatcmpl-{_TURN}","object":"chat.completion.chunk","created":1767605470,"model":"demo/demo",'
    '"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null,"logprobs":null}]}\n\ndata: [DONE]\n\n'
)
_MODEL = {"id": "demo/demo", "object": "model", "created": 0, "owned_by": "demo"}
#: How turns fail, with the status that says so when nothing was streamed yet.
_FAILURES = {
    "context_overflow": (400, "The conversation is longer than the model takes."),
    "stopped": (409, "The answer was stopped."),
    "quota": (429, "The model's provider has no quota left."),
    "unknown": (500, "The model's provider answered with an error."),
    "overloaded": (503, "The model is overloaded. Send the message again later."),
    "timeout": (504, "The turn ran longer than 3600 seconds."),
}


class ErrorInside(Serializer):
    """The refusal as OpenAI's clients read it."""

    message = serializers.CharField()
    type = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    code = serializers.CharField(help_text="The same as beside it.")


class CompletionError(Error):
    """What every refusal looks like here: the usual one, and OpenAI's form of it."""

    error = ErrorInside()


class CompletionMessage(Serializer):
    """What was answered."""

    role = serializers.CharField()
    content = serializers.CharField(allow_blank=True, help_text="All texts, with an empty line between two.")
    reasoning_content = serializers.CharField(required=False, help_text="What the model thought, if it says.")
    refusal = serializers.CharField(allow_null=True, help_text="Always null.")


class CompletionChoice(Serializer):
    """The one answer."""

    index = serializers.IntegerField()
    message = CompletionMessage()
    finish_reason = serializers.CharField(help_text="`stop`, `length` or `content_filter`.")
    logprobs = serializers.DictField(allow_null=True, help_text="Always null.")


class CompletionUsage(Serializer):
    """What all model calls of the answer used."""

    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    prompt_tokens_details = serializers.DictField()
    completion_tokens_details = serializers.DictField()


class Completion(Serializer):
    """A whole answer."""

    id = serializers.CharField(help_text="`chatcmpl-` and the id of the turn.")
    object = serializers.CharField()
    created = serializers.IntegerField(help_text="Seconds since 1970.")
    model = serializers.CharField()
    choices = CompletionChoice(many=True)
    usage = CompletionUsage()


class CompletionModel(Serializer):
    """A model that can be asked."""

    id = serializers.CharField()
    object = serializers.CharField()
    created = serializers.IntegerField(help_text="Always 0.")
    owned_by = serializers.CharField(help_text="Its provider.")


class CompletionModels(Serializer):
    """All of them."""

    object = serializers.CharField()
    data = CompletionModel(many=True)  # type: ignore[assignment] # a field here, not what was validated


def _refusals(*codes: str, failures: bool = False) -> Responses:
    """Return the refusals of an operation, beside those that every one has."""
    known = {**CODES, "unknown_model": (404, "There is no model 'demo/dem'.")}
    wanted = {code: known[code] for code in ("not_authenticated", "scope", "busy", *codes)}
    wanted |= _FAILURES if failures else {}
    responses: Responses = {}
    for status in sorted({status for status, _ in wanted.values()}):
        told = {code: detail for code, (wants, detail) in wanted.items() if wants == status}
        responses[status] = OpenApiResponse(
            CompletionError,
            description=", ".join(f"`{code}`" for code in told),
            examples=[
                OpenApiExample(code, value=_refusal(code, detail), response_only=True)
                for code, detail in told.items()
            ],
        )
    return responses


def _refusal(code: str, detail: str) -> dict[str, Any]:
    inside = {"message": detail, "type": "invalid_request_error", "param": None, "code": code}
    return {"code": code, "detail": detail, "error": inside}


class _CompletionsTwin(ApiView):
    @extend_schema(
        operation_id="create_completion",
        summary="Answer in the form of OpenAI's chat completions",
        description="One question in a temporary session of its own. Tools run on the server by policy, and are "
        "not told of; what would need a person is refused. Who leaves stops the answer, unless an "
        "`Idempotency-Key` is sent: then it goes on, and the same call again gets it.",
        parameters=[parameter("Idempotency-Key", str, "At most 255 characters.", header=True)],
        request=CompletionBody,
        responses={
            (200, "application/json"): OpenApiResponse(
                Completion, examples=[OpenApiExample("whole", value=_ANSWER, media_type="application/json")]
            ),
            (200, "text/event-stream"): OpenApiResponse(
                OpenApiTypes.STR,
                examples=[OpenApiExample("streamed", value=_STREAM, media_type="text/event-stream")],
            ),
        }
        | _refusals(
            *("invalid", "unknown_field", "refused_text", "unknown_model", "csrf", "client_id_reused"),
            *("text_too_long", "rate_limited", "usage_limit"),
            failures=True,
        ),
    )
    def post(self, request: Request) -> Response:
        raise NotImplementedError


class _ModelsTwin(ApiView):
    @extend_schema(
        operation_id="list_completion_models",
        summary="List models in OpenAI's form",
        responses=found(CompletionModels, {"object": "list", "data": [_MODEL]}) | _refusals(),
    )
    def get(self, request: Request) -> Response:
        raise NotImplementedError


class _ModelTwin(ApiView):
    @extend_schema(
        operation_id="read_completion_model",
        summary="Read a model in OpenAI's form",
        responses=found(CompletionModel, _MODEL) | _refusals("unknown_model"),
    )
    def get(self, request: Request, model_id: str) -> Response:
        raise NotImplementedError


TWINS: list[tuple[str, str, type[ApiView]]] = [
    ("openai/chat/completions", "POST", _CompletionsTwin),
    ("openai/models", "GET", _ModelsTwin),
    ("openai/models/{model_id}", "GET", _ModelTwin),
]
