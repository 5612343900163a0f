"""The script that shows notifications. Browsers let it act for the whole site only from the site's root."""

from __future__ import annotations

from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

_SCRIPT = Path(__file__).parent / "static" / "approvals" / "sw.js"


@require_safe
@cache_control(no_cache=True)
def service_worker(request: HttpRequest) -> HttpResponse:
    """Return the service worker; browsers ask for it again each time, so that a new one is in force at once."""
    return HttpResponse(_SCRIPT.read_bytes(), content_type="text/javascript; charset=utf-8")


urlpatterns = [path("sw.js", service_worker, name="service-worker")]
