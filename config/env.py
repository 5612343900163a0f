"""Reads settings from the environment; a bad value stops the start with one line."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import environ


class BadSetting(SystemExit):
    """One line that names the variable and the mend, instead of a traceback."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")


class Reader:
    """Typed access to environment variables, on top of django-environ."""

    def __init__(self) -> None:
        self._env = environ.Env()

    def _get(self, name: str, read: Callable[[], Any], expected: str) -> Any:
        try:
            return read()
        except (ValueError, TypeError) as error:
            raise BadSetting(name, f"expected {expected}. Correct it in the environment or in .env.") from error

    def text(self, name: str, default: str = "") -> str:
        """A string; an empty value counts as unset."""
        return self._env.str(name, default="").strip() or default

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        return bool(self._get(name, lambda: self._strict_bool(name, default=default), "true or false"))

    def flag_if_set(self, name: str) -> bool | None:
        """True or false; None where nothing is said."""
        return self.flag(name, default=False) if self.text(name) else None

    def _strict_bool(self, name: str, *, default: bool) -> bool:
        raw = self.text(name).lower()
        if raw in ("", "true", "1", "yes", "on", "false", "0", "no", "off"):
            return default if raw == "" else raw in ("true", "1", "yes", "on")
        raise ValueError(raw)

    def number(self, name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        """A whole number, not below ``least`` nor above ``most``."""
        value = self._get(name, lambda: int(self.text(name, str(default))), "a whole number")
        if value < least:
            raise BadSetting(name, f"must be at least {least}, is {value}.")
        if most is not None and value > most:
            raise BadSetting(name, f"must be at most {most}, is {value}.")
        return int(value)

    def seconds(self, name: str, default: float, *, least: float = 0.0) -> float:
        """A duration in seconds, fractions allowed."""
        value = self._get(name, lambda: float(self.text(name, str(default))), "a number of seconds")
        if not least <= value < float("inf"):
            raise BadSetting(name, f"must be at least {least:g}, is {value:g}.")
        return float(value)

    def names(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        """A comma-separated list."""
        raw = self.text(name)
        return [item.strip() for item in raw.split(",") if item.strip()] if raw else list(default)

    def one_of(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """One of a few words."""
        value = self.text(name, default)
        if value not in choices:
            raise BadSetting(name, f"must be one of {', '.join(choices)}, is {value!r}.")
        return value

    def json_object(self, name: str) -> dict[str, Any]:
        """A JSON object; empty when unset."""
        raw = self.text(name)
        value = self._get(name, lambda: json.loads(raw) if raw else {}, "a JSON object")
        if not isinstance(value, dict):
            raise BadSetting(name, "expected a JSON object.")
        return value

    def email(self, name: str) -> dict[str, Any]:
        """A mail server's URL as Django's mail settings; empty when unset."""
        url = self.text(name)
        if not url:
            return {}
        try:
            settings: dict[str, Any] = self._env.email_url_config(url)
        except Exception as error:
            raise BadSetting(name, "expected a URL such as smtp+tls://user:password@host:587.") from error
        return settings

    def database(self, name: str, default: str) -> dict[str, Any]:
        """A database URL as Django's database settings."""
        url = self.text(name, default)
        try:
            with warnings.catch_warnings(action="ignore"):  # what it warns of is said below, in one line
                settings: dict[str, Any] = self._env.db_url_config(url)
        except Exception as error:
            raise BadSetting(name, "expected a URL such as postgres://user:password@host/name.") from error
        if settings.get("ENGINE") not in ("django.db.backends.sqlite3", "django.db.backends.postgresql"):
            raise BadSetting(name, "only sqlite:// and postgres:// are supported.")
        if not settings.get("NAME"):
            raise BadSetting(name, "names no database. Expected a URL such as postgres://user:password@host/name.")
        return settings

    def redis(self, name: str) -> str:
        """A URL of a Redis, over TLS with ``rediss://``; empty when unset."""
        url = self.text(name)
        if url and not url.startswith(("redis://", "rediss://")):
            raise BadSetting(name, "expected a URL such as redis://host:6379/0, or rediss:// for TLS.")
        return url
