"""Which pages may open a websocket with a person's cookie."""

from __future__ import annotations

from typing import Any

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from common.auth import has_bearer


class AllowedOrigin:
    """Require an allowed Origin of cookie connections; browsers send cookies from any page.

    Allowed are the server's own origin, port included (cookies do not tell ports apart), and those of
    ``CSRF_TRUSTED_ORIGINS``. With a bearer header no Origin is needed: no browser sends that by itself, and
    cookies are ignored then.
    """

    def __init__(self, application: Any) -> None:
        self._application = application
        self._refuse = WebsocketDenier.as_asgi()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if has_bearer(scope["headers"]) or _allowed(headers.get(b"origin", ""), headers.get(b"host", "")):
            await self._application(scope, receive, send)
        else:
            await self._refuse(scope, receive, send)


def _allowed(origin: str, host: str) -> bool:
    scheme, _, place = origin.partition("://")
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    hosts = settings.ALLOWED_HOSTS or (["localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    name, _ = split_domain_port(host)
    return scheme in ("http", "https") and place == host and bool(name) and validate_host(name, hosts)
