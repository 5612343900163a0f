"""An MCP server of 2024 without any SDK, which starts at once: ``python old_server.py [strict]``.

A strict one ends when it is asked for what it does not know.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

INFO = {
    "protocolVersion": "2024-11-05",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "old", "version": "1"},
}
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
READS = {"readOnlyHint": True}
TOOLS = [
    {"name": "write", "inputSchema": TEXT},
    {"name": "pid", "inputSchema": {"type": "object"}, "annotations": READS},
    {"name": "echo", "inputSchema": TEXT, "annotations": READS},
]


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return what belongs into the answer to a request."""
    if method == "initialize":
        return {"result": INFO}
    if method == "tools/list":
        return {"result": {"tools": TOOLS}}
    if method == "tools/call":
        text = params.get("arguments", {}).get("text", "")
        said = {"write": f"wrote {text}", "pid": str(os.getpid()), "echo": text}[params["name"]]
        return {"result": {"content": [{"type": "text", "text": said}]}}
    if "strict" in sys.argv:
        sys.exit(1)
    return {"error": {"code": -32601, "message": "Method not found"}}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        body = answer(message["method"], message.get("params", {}))
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}) + "\n")
        sys.stdout.flush()
