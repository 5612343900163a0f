"""The tools of MCP servers: which of them can be offered, and the list that is kept of them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import jsonschema

from common.db import db_now
from common.redaction import redact_text
from common.text import storable, storable_json
from copilot.mcp.config import servers
from copilot.models import McpServer

logger = logging.getLogger(__name__)

#: Bounds of what is kept of a server: tools, and characters of a description and of a schema.
TOOLS_MAX = 200
DESCRIPTION_MAX = 1000
SCHEMA_MAX = 8000
#: Longest full name, ``mcp:server:tool``: that of the column that a call is stored in.
NAME_MAX = 128
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
#: Providers refuse a schema that has one of these at its top.
_NOT_AT_TOP = ("oneOf", "anyOf", "allOf", "enum", "not")
_UNUSABLE = (jsonschema.exceptions.SchemaError, jsonschema.exceptions.UnknownType, RecursionError, re.error)


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool as its server described it."""

    name: str
    description: str
    schema: dict[str, Any]
    read_only: bool
    idempotent: bool


def full_name(server: str, tool: str) -> str:
    """Return the name of a server's tool in policy, rows and pages."""
    return f"mcp:{server}:{tool}"


def usable(server: str, offered: Iterable[dict[str, Any]]) -> list[ListedTool]:
    """Return those of a server's tools, as they are on the wire, that a model can be offered, by name.

    The others are left out, and a line in the log says why.
    """
    found: dict[str, ListedTool] = {}
    for tool in offered:
        name = str(tool.get("name"))
        problem = _problem(server, name, tool.get("inputSchema"))
        if name in found:
            problem = "there is another one of this name"
        elif len(found) == TOOLS_MAX:
            problem = f"the server has more than {TOOLS_MAX}"
        if problem:
            extra = {"action": "mcp_tool_left_out", "server": server, "tool": redact_text(name[:NAME_MAX])}
            logger.warning("tool left out: %s", problem, extra=extra)
        else:
            found[name] = _listed(name, tool)
    return [found[name] for name in sorted(found)]


def _problem(server: str, name: str, schema: Any) -> str:
    if not _NAME.fullmatch(name) or len(full_name(server, name)) > NAME_MAX:
        return "its name is too long or has other characters than letters, digits, _ . and -"
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return "its arguments are no JSON object"
    if found := [key for key in _NOT_AT_TOP if key in schema]:
        return f"its schema has {found[0]} at the top"
    try:
        text = json.dumps(schema)
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except _UNUSABLE:
        return "its schema is broken"
    if len(text) > SCHEMA_MAX:
        return f"its schema has more than {SCHEMA_MAX} characters"
    if any(not reference.startswith("#") for reference in _references(schema)):
        return "its schema refers to other documents"
    return ""


def _references(schema: Any) -> Iterable[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _listed(name: str, tool: dict[str, Any]) -> ListedTool:
    hints = tool.get("annotations") or {}
    said = storable(str(tool.get("description") or tool.get("title") or name)).strip()
    read_only = hints.get("readOnlyHint") is True
    return ListedTool(
        name=name,
        description=said if len(said) <= DESCRIPTION_MAX else f"{said[: DESCRIPTION_MAX - 1]}…",
        schema=storable_json({"type": "object", "properties": {}, **tool["inputSchema"]}),
        read_only=read_only,
        idempotent=read_only or hints.get("idempotentHint") is True,
    )


# --- rows -----------------------------------------------------------------------------------


def keep(server: str, tools: list[ListedTool]) -> None:
    """Store what a server offers now."""
    values = {
        "tools": [asdict(tool) for tool in tools],
        "listed_at": db_now(),
        "problem": "",
        "tried_at": db_now(),
    }
    McpServer.objects.update_or_create(name=server, defaults=values)


def keep_problem(server: str, problem: str) -> None:
    """Store why a server could not be reached; the list of its tools stays."""
    values = {"problem": redact_text(problem)[:500], "tried_at": db_now()}
    McpServer.objects.update_or_create(name=server, defaults=values)


def kept() -> dict[str, list[ListedTool]]:
    """Return the tools of each server of ``MCP_SERVERS`` that was ever heard, in the order of their names."""
    names = servers()
    if not names:
        return {}
    rows = McpServer.objects.filter(name__in=names, listed_at__isnull=False).order_by("name")
    return {row.name: [ListedTool(**tool) for tool in row.tools] for row in rows}
