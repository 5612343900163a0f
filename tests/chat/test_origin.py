"""Which pages may open a websocket with a person's cookie."""

from __future__ import annotations

from typing import Any

import pytest

from chat.origin import _allowed


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://localhost:8000", "localhost:8000", True),
        ("https://localhost", "localhost", True),
        ("http://localhost:3000", "localhost:8000", False),  # cookies do not tell ports apart
        ("http://evil.example", "localhost:8000", False),
        ("http://evil.example", "evil.example", False),  # not one of ALLOWED_HOSTS
        ("null", "localhost:8000", False),
        ("", "localhost:8000", False),
        ("https://chat.example", "localhost:8000", True),  # trusted by name
    ],
)
def test_only_the_servers_own_origin_and_trusted_ones_are_allowed(
    settings: Any, origin: str, host: str, allowed: bool
) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://chat.example"]
    assert _allowed(origin, host) is allowed
