"""One small story that every example of the API document is taken from."""

from __future__ import annotations

from typing import Any

_SESSION_ID = "01981f5e-8a40-7c11-9f62-3a8d2f0c1b11"
_TURN_ID = "01981f5e-9b02-7d43-8a10-5be1c20f7d22"
_ANSWER_ID = "01981f5e-9b03-7a90-b1c4-77ad0e3f6c44"

SESSION: dict[str, Any] = {
    "id": _SESSION_ID,
    "title": "Greeting",
    "title_source": "auto",
    "model": "demo/demo",
    "instructions": "",
    "temporary": False,
    "approval_mode": "default",
    "archived": False,
    "revision": 4,
    "rewrites": 0,
    "created_at": "2026-01-05T09:30:00.120000Z",
    "updated_at": "2026-01-05T09:31:12.480000Z",
    "usage": {"input_tokens": 1, "output_tokens": 2, "cost_microdollars": 0},
}
MESSAGE: dict[str, Any] = {
    "id": "01981f5e-9b01-7e55-a0de-1f4b6a9c2e33",
    "seq": 1,
    "role": "user",
    "state": "done",
    "turn": _TURN_ID,
    "parts": [{"type": "text", "text": "Hello"}],
    "created_at": "2026-01-05T09:31:10.002000Z",
    "client_id": "m-1",
}
ANSWER: dict[str, Any] = {
    "id": _ANSWER_ID,
    "seq": 2,
    "role": "assistant",
    "state": "done",
    "turn": _TURN_ID,
    "parts": [{"type": "step-start"}, {"type": "text", "text": "Hello there", "state": "done"}],
    "created_at": "2026-01-05T09:31:10.002000Z",
}
WAITING: dict[str, Any] = {
    "id": "01981f5e-a777-7b21-8c0d-90e5d4b3a255",
    "seq": None,
    "role": "user",
    "state": "queued",
    "turn": None,
    "parts": [{"type": "text", "text": "And in French?"}],
    "created_at": "2026-01-05T09:31:11.700000Z",
    "position": 1,
    "held": False,
}
PRESET: dict[str, Any] = {
    "id": "01981f5d-22b0-7e64-8a17-c0d1e2f3a477",
    "name": "Reviewer",
    "prompt": "Look for mistakes before you look for anything to praise.",
    "tone": "friendly",
    "operator": False,
    "created_at": "2026-01-05T09:29:00.000000Z",
}
_USAGE: dict[str, Any] = {
    "input_tokens": 0,
    "output_tokens": 0,
    "reasoning_tokens": 0,
    "cache_read_tokens": 0,
    "cache_write_tokens": 0,
    "cost_source": "unknown",
    "duration_ms": 0,
    "first_chunk_ms": None,
}
NEW_TURN: dict[str, Any] = {
    "id": _TURN_ID,
    "session": _SESSION_ID,
    "status": "queued",
    "origin": "web",
    "attempt": 1,
    "created_at": "2026-01-05T09:31:10.002000Z",
    "started_at": None,
    "finished_at": None,
    "model": "demo/demo",
    "message_ids": [],
    "text": "",
    "usage": _USAGE,
}
TURN: dict[str, Any] = {
    **NEW_TURN,
    "status": "completed",
    "started_at": "2026-01-05T09:31:10.010000Z",
    "finished_at": "2026-01-05T09:31:12.480000Z",
    "message_ids": [_ANSWER_ID],
    "text": "Hello there",
    "usage": {
        **_USAGE,
        "input_tokens": 1,
        "output_tokens": 2,
        "cost_microdollars": 0,
        "cost_source": "provider",
        "duration_ms": 2470,
        "first_chunk_ms": 40,
    },
    "context": {"used": 3, "estimated": False},
}
SESSION_DETAIL: dict[str, Any] = {
    **SESSION,
    "messages": [MESSAGE, ANSWER],
    "active_turn": None,
    "queued": [],
}
ACCEPTED: dict[str, Any] = {"queued": False, "message": MESSAGE, "turn": NEW_TURN}
QUEUED: dict[str, Any] = {
    "queued": True,
    "message": WAITING,
    "position": 1,
    "delivery": "next",
    "waiting_for": "turn",
}
EDITED: dict[str, Any] = {
    **MESSAGE,
    "id": "01981f60-1c44-7a02-93d1-6e0b5d2f8a66",
    "seq": 3,
    "turn": "01981f60-1c45-7f90-8c21-0a9d4b7e1c77",
    "parts": [{"type": "text", "text": "Good morning"}],
    "created_at": "2026-01-05T09:33:02.310000Z",
    "client_id": "m-2",
    "branch": {"index": 1, "count": 2, "siblings": [MESSAGE["id"], "01981f60-1c44-7a02-93d1-6e0b5d2f8a66"]},
}
EDIT_ACCEPTED: dict[str, Any] = {
    "queued": False,
    "message": EDITED,
    "turn": {**NEW_TURN, "id": EDITED["turn"], "message_ids": [EDITED["id"]]},
}
AGAIN_ACCEPTED: dict[str, Any] = {
    "queued": False,
    "message": MESSAGE,
    "turn": {**NEW_TURN, "id": EDITED["turn"]},
}
BRANCH_SHOWN: dict[str, Any] = {
    **SESSION_DETAIL,
    "revision": 9,
    "rewrites": 2,
    "messages": [{**MESSAGE, "branch": {**EDITED["branch"], "index": 0}}, ANSWER],
}
CANCELLED: dict[str, Any] = {"cancelled": True, "confirmed": True, "turn": _TURN_ID}
EVENTS: dict[str, Any] = {
    "events": [
        {"seq": 1, "chunk": {"type": "start", "messageId": _ANSWER_ID}},
        {"seq": 2, "chunk": {"type": "start-step"}},
        {"seq": 3, "chunk": {"type": "text-start", "id": "t1"}},
        {"seq": 4, "chunk": {"type": "text-delta", "id": "t1", "delta": "Hello there"}},
    ],
    "next": 4,
    "terminal": False,
}
STREAM = (
    f'id: 1\ndata: {{"type":"start","messageId":"{_ANSWER_ID}"}}\n\n'
    'id: 2\ndata: {"type":"start-step"}\n\n'
    'id: 3\ndata: {"type":"text-start","id":"t1"}\n\n'
    'id: 4\ndata: {"type":"text-delta","id":"t1","delta":"Hello there"}\n\n'
    'id: 5\ndata: {"type":"text-end","id":"t1"}\n\n'
    ": heartbeat\n\n"
    'id: 6\ndata: {"type":"finish-step"}\n\n'
    'id: 7\ndata: {"type":"finish","finishReason":"stop"}\n\n'
    "data: [DONE]\n\n"
)
ASIDE = (
    'data: {"type":"start","messageId":"01981f5e-c0de-7a11-8e30-2b9f6d4c1a77"}\n\n'
    'data: {"type":"start-step"}\n\n'
    'data: {"type":"text-start","id":"t1"}\n\n'
    'data: {"type":"text-delta","id":"t1","delta":"It is a greeting."}\n\n'
    'data: {"type":"text-end","id":"t1"}\n\n'
    'data: {"type":"data-usage","data":{"input_tokens":9,"output_tokens":4}}\n\n'
    'data: {"type":"finish-step"}\n\n'
    'data: {"type":"finish","finishReason":"stop"}\n\n'
    "data: [DONE]\n\n"
)
USAGE: dict[str, Any] = {
    "daily": {"percent_used": 12.5, "resets_at": "2026-01-06T00:00:00Z"},
    "weekly": None,
    "tier": 1,
}
MODEL: dict[str, Any] = {
    "id": "demo/demo",
    "label": "Demo",
    "context": None,
    "tools": True,
    "images": False,
    "input_price": 0,
    "output_price": 0,
}
FILE: dict[str, Any] = {
    "id": "01981f61-33d0-7be1-8a54-0f6c2d9e5b99",
    "name": "chart.png",
    "type": "image/png",
    "size": 48211,
    "created_at": "2026-01-05T09:31:09.500000Z",
    "session": _SESSION_ID,
}
WORKSPACE_FILE: dict[str, Any] = {
    "id": "WyIwMTk4MWY1ZTg…:rpCpl03zx6v9C-IwbiNpDbXSNWQEJuLGeyYqwMwDTqo",
    "name": "report.csv",
    "type": "text/plain",
    "size": 912,
    "created_at": "2026-01-05T09:31:12.001000Z",
    "session": _SESSION_ID,
    "path": "out/report.csv",
}
