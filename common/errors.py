"""The one hierarchy of errors that a caller may see, and how the REST edge words them.

Every surface answers ``{"code", "detail", "fields"?}``; ``detail`` is a sentence that a person can act on.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, JsonResponse
from rest_framework import exceptions as drf
from rest_framework.response import Response


class AppError(Exception):
    """An expected refusal: a stable code, an HTTP status and a sentence."""

    code: ClassVar[str] = "invalid"
    status: ClassVar[int] = 400
    default_detail: ClassVar[str] = "The request is not valid."

    def __init__(self, detail: str = "", *, code: str = "", **fields: Any) -> None:
        self.detail = detail or self.default_detail
        self.error_code = code or self.code
        self.fields = fields
        super().__init__(self.detail)

    def body(self) -> dict[str, Any]:
        """Return the JSON body of this error; ``fields`` only when there are some."""
        body: dict[str, Any] = {"code": self.error_code, "detail": self.detail}
        if self.fields:
            body["fields"] = self.fields
        return body

    def response(self) -> JsonResponse:
        """Return the error as a plain Django response, for views outside DRF."""
        response = JsonResponse(self.body(), status=self.status)
        if self.status == 401:
            response["WWW-Authenticate"] = "Bearer"
        if "retry_after" in self.fields:
            response["Retry-After"] = str(self.fields["retry_after"])
        return response


class Invalid(AppError):
    """A value that cannot be accepted; ``code`` may be any documented code of status 400."""


class NotAuthenticated(AppError):
    """Nobody is logged in and no valid key was sent."""

    code = "not_authenticated"
    status = 401
    default_detail = "Log in, or send a valid key as 'Authorization: Bearer …'."


class Forbidden(AppError):
    """Known, but not allowed: ``csrf`` or ``scope``."""

    code = "scope"
    status = 403
    default_detail = "The key lacks the scope that this call needs."


class NotFound(AppError):
    """Unknown, or not the caller's: the two are not told apart."""

    code = "not_found"
    status = 404
    default_detail = "There is no such thing here, or it is not yours."


class Conflict(AppError):
    """The state of things refuses it; ``code`` names which."""

    code = "stale"
    status = 409
    default_detail = "Something else happened first. Reload and look again."


class Gone(AppError):
    """It was there and can be used no more."""

    code = "token_used"
    status = 410
    default_detail = "This link was used already, or its time is over."


class TooLarge(AppError):
    """Over a size limit."""

    code = "text_too_long"
    status = 413
    default_detail = "That is too long."


class RateLimited(AppError):
    """Too many requests."""

    code = "rate_limited"
    status = 429
    default_detail = "Too many requests. Wait a moment."


class UsageLimit(AppError):
    """What the person used has reached a limit. ``fields`` say of which window, and when another begins."""

    code = "usage_limit"
    status = 429
    default_detail = "Your usage limit is reached."


class Busy(AppError):
    """The database did not grant a lock or a connection in time; nothing was stored."""

    code = "busy"
    status = 503
    default_detail = "The server is busy right now. Nothing was stored; try again."


def _from_drf(error: Exception) -> AppError | None:
    match error:
        case AppError():
            return error
        case OperationalError() | InterfaceError():
            return Busy()  # no lock or no connection in time, or the database is away
        case Http404() | drf.NotFound():
            return NotFound()
        case drf.NotAuthenticated() | drf.AuthenticationFailed():
            return NotAuthenticated()
        case PermissionDenied() | drf.PermissionDenied():
            detail = str(error)
            return Forbidden(detail, code="csrf" if "CSRF" in detail else "scope")
        case drf.ValidationError():
            return from_validation(error)
        case drf.ParseError():
            return Invalid("The body is not valid JSON.")
        case drf.UnsupportedMediaType():
            return Invalid("Send the body as application/json.")
        case drf.MethodNotAllowed():
            return MethodNotAllowed(str(error.detail))
    return None


class MethodNotAllowed(AppError):
    """The path exists, this method on it does not."""

    code = "invalid"
    status = 405


def invalid(fields: dict[str, str], *, code: str = "invalid") -> AppError:
    """Return the error that says what is wrong with which field; the first becomes the sentence."""
    name, problem = next(iter(fields.items()))
    error = Invalid(f"{name}: {problem}" if name else problem, code=code)
    # Not as keywords: the names may come from outside.
    error.fields = {name: problem for name, problem in fields.items() if name}
    return error


def from_validation(error: drf.ValidationError) -> AppError:
    """Return the error that says what a serializer found."""
    return invalid(_flat(error.detail))


def _flat(detail: Any, path: str = "") -> dict[str, str]:
    """Turn nested validation errors into one sentence a path."""
    if isinstance(detail, dict):
        flat: dict[str, str] = {}
        for key, value in detail.items():
            inner = path if key == "non_field_errors" else f"{path}.{key}".lstrip(".")
            flat |= _flat(value, inner)
        return flat
    first = detail[0] if isinstance(detail, list) and detail else detail
    return {path: str(first)}


def rest_exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Word every expected error of a DRF view in the documented shape; let bugs through."""
    known = _from_drf(error)
    if known is None:
        return None
    response = Response(known.body(), status=known.status)
    if known.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if "retry_after" in known.fields:
        response["Retry-After"] = str(known.fields["retry_after"])
    return response
