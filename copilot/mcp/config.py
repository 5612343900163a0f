"""Which MCP servers the operator named in ``MCP_SERVERS``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_EXAMPLE = 'expected {"command": "npx", "args": ["-y", "…"]} or {"url": "https://…/mcp"}.'


@dataclass(frozen=True, slots=True)
class Server:
    """A program to start, or an address to connect to: one of ``command`` and ``url`` is set."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def servers() -> dict[str, Server]:
    """Return the servers by name, in the order of their names; ``server_problems`` speaks of the others."""
    entries = sorted(settings.MCP_SERVERS.items())
    return {name: _server(name, entry) for name, entry in entries if not _problems(name, entry)}


def server_problems() -> list[str]:
    """Return what is wrong in ``MCP_SERVERS``, a sentence each."""
    return [
        f"MCP_SERVERS: {name}: {problem}"
        for name, entry in settings.MCP_SERVERS.items()
        for problem in _problems(name, entry)
    ]


def _server(name: str, entry: dict[str, Any]) -> Server:
    return Server(name, **{**entry, "args": tuple(entry.get("args", ()))})


def _problems(name: str, entry: Any) -> list[str]:
    if not _NAME.fullmatch(name):
        return ["a name is made of 1 to 32 lower-case letters, digits, hyphens and underscores."]
    if not isinstance(entry, dict) or ("command" in entry) == ("url" in entry):
        return [_EXAMPLE]
    return _program_problems(entry) if "command" in entry else _address_problems(entry)


def _program_problems(entry: dict[str, Any]) -> list[str]:
    problems = _unknown(entry, "command", "args", "env")
    if not _is_text(entry["command"]):
        problems.append("command must be the name or the path of a program.")
    args = entry.get("args", [])
    if not isinstance(args, list) or not all(isinstance(arg, str) and "\0" not in arg for arg in args):
        problems.append("args must be a list of texts.")
    if not _is_texts(entry.get("env", {})):
        problems.append("env must be an object of texts.")
    return problems


def _address_problems(entry: dict[str, Any]) -> list[str]:
    problems = _unknown(entry, "url", "headers")
    if not _is_text(entry["url"]) or not entry["url"].startswith(("http://", "https://")):
        problems.append("url must be an http(s) URL.")
    headers = entry.get("headers", {})
    if not _is_texts(headers) or not all(_fits_a_header(f"{name}{value}") for name, value in headers.items()):
        problems.append("headers must be an object of texts of one line, in ASCII.")
    return problems


def _unknown(entry: dict[str, Any], *known: str) -> list[str]:
    unknown = ", ".join(sorted(set(entry) - set(known)))
    return [f"unknown field {unknown}; known are {', '.join(known)}."] if unknown else []


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        name and "=" not in name and isinstance(text, str) and "\0" not in name + text
        for name, text in value.items()
    )


def _fits_a_header(text: str) -> bool:
    return text.isascii() and text.isprintable()
