"""``/metrics``: what this process counted and what the rows say now, in Prometheus' text format."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from common.auth import Caller, api_view_async
from common.db import db
from common.metrics import CONTENT_TYPE, Reading, exposition
from config.health import is_loopback
from copilot.diagnostics.figures import figures

logger = logging.getLogger(__name__)


async def metrics(request: HttpRequest) -> HttpResponseBase:
    """Answer this host itself, members of staff, and their keys with the scope ``operator``; refuse others."""
    if request.method == "GET" and is_loopback(request):
        return await _answer()
    return await _for_operators(request)


@api_view_async(scope="operator")
async def _for_operators(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    return await _answer()


async def _answer() -> HttpResponse:
    readings = await _readings()
    text = await asyncio.to_thread(exposition, readings)
    return HttpResponse(text, content_type=CONTENT_TYPE)


async def _readings() -> Iterable[Reading]:
    """Return what the rows say; what the process counted is told all the same when they cannot be read."""
    try:
        found = await db(figures)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("no figures of rows", extra={"action": "figures_unread", "error": repr(error)})
        found = []
    return [
        *found,
        Reading("database_up", "Whether the rows could be read for this answer.", (), {(): bool(found)}),
    ]
