"""What a tool of an MCP server returned, as it is kept and read: text, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from copilot.mcp.errors import McpError

#: Characters of a result, and of what a failed call says, that are kept.
RESULT_MAX = 1_000_000
ERROR_MAX = 4000


def output_of(result: dict[str, Any]) -> Any:
    """Return the output in a result as it is on the wire: its texts, its JSON where it has that, or both.

    What is neither, such as an image, is named in the text.

    Raises:
        McpError: the tool says that it failed, in its own words.
    """
    text = "\n".join(_texts(result.get("content") or []))
    if result.get("isError"):
        raise McpError(_cut(text, ERROR_MAX) or "The tool failed and did not say why.")
    structured = result.get("structuredContent")
    if structured is None or len(json.dumps(structured)) > RESULT_MAX:
        return _cut(text, RESULT_MAX)
    said = _parsed(text)
    if not text or said == structured:
        return structured
    if structured == {"result": said}:
        return structured["result"]  # what is no object is wrapped for the wire
    return {"text": _cut(text, RESULT_MAX), "structured": structured}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _texts(content: list[dict[str, Any]]) -> Iterator[str]:
    for block in content:
        match block:
            case {"type": "text", "text": text} | {"type": "resource", "resource": {"text": text}}:
                yield text
            case {"type": "resource_link", "uri": uri}:
                yield f"[{block.get('title') or block.get('name') or 'resource'}: {uri}]"
            case {"type": "resource", "resource": {"uri": uri, **rest}}:
                yield f"[resource {uri}, {rest.get('mimeType', 'unknown type')}: not shown]"
            case {"type": kind, **rest}:
                yield f"[{kind}, {rest.get('mimeType', 'unknown type')}: not shown]"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}\n[cut: {len(text)} characters in all]"
