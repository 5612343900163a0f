"""Is the process alive, and can it serve? Asked by load balancers, containers and people."""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import ip_address

from django.contrib.auth import get_user, get_user_model
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse

from common.db import db
from copilot.diagnostics.storage import storage_problem

logger = logging.getLogger(__name__)


async def healthz(request: HttpRequest) -> HttpResponse:
    """Answer ``ok`` while the process answers at all; asks nothing of the database."""
    return HttpResponse("ok", content_type="text/plain")


async def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 when requests can be served, else 503; the reasons are for staff and this host only."""
    problems = {}
    for name, check in CHECKS.items():
        if problem := await db(check):
            problems[name] = problem
            logger.warning("not ready", extra={"check": name, "problem": problem})
    body: dict[str, object] = {"ready": not problems}
    if problems and (is_loopback(request) or await _is_staff(request)):
        body["problems"] = problems
    return JsonResponse(body, status=503 if problems else 200)


def is_loopback(request: HttpRequest) -> bool:
    """Tell whether the request comes from this host itself, not through a proxy on it."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR") or "").is_loopback
    except ValueError:
        return False  # a Unix socket has no address: what stands behind it is a proxy


async def _is_staff(request: HttpRequest) -> bool:
    try:
        user = await db(get_user, request)
    except DatabaseError:
        return False  # the very thing that is not ready
    return bool(user.is_authenticated and user.is_staff)


def _database() -> str:
    """Return what is wrong with the database, or an empty string; an unmigrated one is wrong too."""
    try:
        get_user_model()._default_manager.exists()
    except DatabaseError as error:
        return f"{type(error).__name__}: {error}".strip()
    return ""


def _storage() -> str:
    """Return which living workers keep their files elsewhere, or an empty string."""
    try:
        return storage_problem()
    except DatabaseError:
        return ""  # what is wrong then is the database


#: Each returns a problem, or an empty string; run in a database thread.
CHECKS: dict[str, Callable[[], str]] = {"database": _database, "storage": _storage}
