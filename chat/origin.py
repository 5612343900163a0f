"""Which pages may open a websocket with a person's cookie."""

from __future__ import annotations

from typing import Any

from channels.security.websocket import AllowedHostsOriginValidator

from common.auth import has_bearer


class AllowedOrigin:
    """Require an allowed Origin of cookie connections; browsers send cookies from any page.

    With a bearer header no Origin is needed: no browser sends that by itself, and cookies are ignored then.
    """

    def __init__(self, application: Any) -> None:
        self._application = application
        self._checked = AllowedHostsOriginValidator(application)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if has_bearer(scope["headers"]):
            await self._application(scope, receive, send)
        else:
            await self._checked(scope, receive, send)
