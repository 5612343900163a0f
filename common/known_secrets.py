"""The server's own secrets: hidden wherever they occur, whatever they look like."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from django.conf import settings

from common.redaction_names import is_secret_name

#: A shorter value would hide innocent text.
SHORTEST = 8
#: What databases are delivered with; hiding it would hide the word everywhere and keep no secret.
_NO_SECRETS = {"changeme", "holdfast", "password", "postgres", "postgresql"}
#: Headers whose values may be shown.
_HARMLESS_HEADERS = {"accept", "accept-language", "content-type", "user-agent"}


def known_secrets() -> tuple[str, ...]:
    """Return the secrets of this server's settings, longest first."""
    database, providers = settings.DATABASES.get("default", {}), settings.COPILOT_PROVIDERS
    return _known(
        settings.SECRET_KEY,
        *settings.SECRET_KEY_FALLBACKS,
        settings.OPENAI_API_KEY,
        settings.ANTHROPIC_API_KEY,
        str(database.get("PASSWORD") or ""),
        settings.REDIS_URL,
        *(_text(each, "api_key") for each in providers.values()),
        *_of_mcp_servers(),
    )


def _of_mcp_servers() -> Iterator[str]:
    """What MCP servers are given: variables with a secret's name, and headers unless they are harmless."""
    for server in settings.MCP_SERVERS.values():
        for name, value in _texts(server, "env"):
            if is_secret_name(name):
                yield value
        for name, value in _texts(server, "headers"):
            if name.lower() not in _HARMLESS_HEADERS:
                yield value.rpartition(" ")[2]  # without "Bearer"


def _texts(server: Any, name: str) -> Iterator[tuple[str, str]]:
    found = server.get(name) if isinstance(server, dict) else None
    for key, value in found.items() if isinstance(found, dict) else ():
        if isinstance(value, str):
            yield key, value


def _text(value: Any, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


@lru_cache(maxsize=8)
def _known(*values: str) -> tuple[str, ...]:
    found = {form for value in values for form in _forms(value)}
    usable = {value for value in found if len(value) >= SHORTEST and value not in _NO_SECRETS}
    return tuple(sorted(usable, key=lambda value: (-len(value), value)))


def _forms(value: str) -> Iterator[str]:
    """A secret as it is and as it stands in an address; of an address only its password."""
    if "://" in value:
        value = unquote(urlsplit(value).password or "")
    yield value
    yield quote(value, safe="")
