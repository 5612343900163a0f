"""Refusals as OpenAI's clients read them: ``error`` beside the ``code`` and ``detail`` of every other endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse, JsonResponse

from common.errors import AppError, NotFound

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
#: The status for a turn that did not complete, by the code of its error; 500 for all others.
_STATUS = {
    "content_filter": 400,
    "context_overflow": 400,
    "model_not_found": 404,
    "stopped": 409,
    "operator": 409,
    "rate_limit": 429,
    "usage_limit": 429,
    "quota": 429,
    "overloaded": 503,
    "timeout": 504,
}


class TurnFailed(AppError):
    """The turn that was to answer did not complete: an ``error`` of the turn object.

    The server has tried again already, and tools may have had their effects: a client is told not to.
    """

    def __init__(self, error: Mapping[str, Any]) -> None:
        detail = " ".join(filter(None, (error["detail"], error.get("hint"))))
        super().__init__(detail or "The answer was stopped.", code=error["code"])
        self.status = _STATUS.get(error["code"], 500)  # type: ignore[misc] # that of its code


def refusal(error: AppError) -> HttpResponse:
    """Return the response for a refusal: the usual body, with OpenAI's form of it in ``error``.

    A model that does not exist is 404, which is what OpenAI's clients take it for.
    """
    if error.error_code == "unknown_model":
        error = NotFound(error.detail, code=error.error_code, **error.fields)
    plain = error.response()
    response = JsonResponse({**error.body(), "error": error_object(error)}, status=error.status)
    for name in ("WWW-Authenticate", "Retry-After"):
        if name in plain:
            response[name] = plain[name]
    if isinstance(error, TurnFailed):
        response["X-Should-Retry"] = "false"
    return response


def error_object(error: AppError) -> dict[str, Any]:
    """Return ``{message, type, param, code}``; the code is ours."""
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    param = next((name for name in error.fields if name not in ("retry_after", "window", "resets_at")), None)
    return {"message": error.detail, "type": kind, "param": param, "code": error.error_code}
