"""How the OpenAPI document names the ways to authenticate; registered by being imported."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A personal key in the ``Authorization`` header."""

    target_class = "common.auth.BearerAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the scheme's OpenAPI object."""
        return {"type": "http", "scheme": "bearer", "description": "A personal key, hf_…"}


class BotScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A bot's key in the ``Authorization`` header."""

    target_class = "linking.bot_auth.BotAuthentication"
    name = "bot"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the scheme's OpenAPI object."""
        return {"type": "http", "scheme": "bearer", "description": "A bot's key, hfb_…"}


class CookieScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The session of a logged-in browser."""

    target_class = "common.auth.CookieAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the scheme's OpenAPI object."""
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "A logged-in session; unsafe methods also need the X-CSRFToken header.",
        }
