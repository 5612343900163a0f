"""At which address people open the pages."""

from __future__ import annotations

from django.conf import settings


def site_address() -> str:
    """Return ``BASE_URL``, or what this process listens on when nothing is set; without a slash at the end."""
    return settings.BASE_URL or _own_address()


def _own_address() -> str:
    host = "localhost" if settings.HOST in ("0.0.0.0", "::") else settings.HOST  # noqa: S104 - as it is listened on
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.PORT}"
