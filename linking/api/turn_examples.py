"""Examples of the API document, of what is said in a linked server."""

from __future__ import annotations

from typing import Any

from copilot import examples

SAID: dict[str, Any] = {
    "kind": "server",
    "platform_id": "81384788765712384",
    "thread_id": "1193802211190784",
    "platform_user_id": "99201445566778880",
    "author": "Grace",
    "text": "Hello",
    "client_id": "1193802214403011",
}
_MESSAGE: dict[str, Any] = {**examples.MESSAGE, "client_id": SAID["client_id"], "author": "Grace"}
_USAGE = {name: value for name, value in examples.TURN["usage"].items() if name != "cost_microdollars"}
TURN: dict[str, Any] = {**examples.TURN, "origin": "bot", "usage": _USAGE}
ACCEPTED: dict[str, Any] = {
    "queued": False,
    "message": _MESSAGE,
    "turn": {**examples.NEW_TURN, "origin": "bot"},
}
QUEUED: dict[str, Any] = {
    **examples.QUEUED,
    "message": {**examples.WAITING, "client_id": SAID["client_id"], "author": "Grace"},
    "delivery": "asap",
}
