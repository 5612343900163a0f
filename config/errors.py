"""What Django answers when no view did: JSON under ``/api/``, a plain page elsewhere."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from common.errors import Forbidden, Invalid, NotFound


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


@csrf_exempt
def api_not_found(request: HttpRequest, *_: Any) -> HttpResponse:
    """Answer any method on an unknown API path, also with DEBUG on."""
    return NotFound(f"There is no {request.path} here. /api/v1/docs lists what there is.").response()


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django itself refused."""
    if _is_api(request):
        return Invalid("The request is malformed or too large.").response()
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a refusal that came from Django itself."""
    if _is_api(request):
        return Forbidden("You may not do this.").response()
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an unknown path or id."""
    if _is_api(request):
        return NotFound().response()
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a bug of ours; its traceback is in the log."""
    if _is_api(request):
        body = {"code": "internal", "detail": "Something went wrong in the server. Its log says what."}
        return JsonResponse(body, status=500)
    return defaults.server_error(request)
