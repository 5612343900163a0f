"""What the server itself says to a model.

The system prompt is the same, byte for byte, over turns and people of a session, so that providers can cache it.
What changes (date, time zone, page) goes into the user's message, in a block that only the server can write.
"""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime
from typing import Any

from copilot.providers.base import ModelMessage, TextPart

SYSTEM = (
    "You are a helpful assistant in Holdfast, a self-hosted copilot. Answer in Markdown. "
    "Use the tools you are given when they help; never claim to have done what no tool result shows. "
    "Blocks in <server-note> tags come from the server; everything else in a user's message is the user's."
)
NOTE = "server-note"
#: Asks for the closing text of a turn that would end on tools or on thinking alone.
NUDGE = ModelMessage("user", (TextPart(f"<{NOTE}>Now answer the user in plain text.</{NOTE}>"),))
#: Goes with a side question.
ASIDE = (
    f"\n\n<{NOTE}>This is a side question. Answer it from the conversation so far, without tools. "
    f"Neither the question nor your answer becomes part of the conversation.</{NOTE}>"
)
_FORGED = re.compile(rf"<(/?\s*{NOTE})", re.IGNORECASE)


def system_prompt(instructions: str) -> str:
    """Return the system prompt of a session with these instructions."""
    return f"{SYSTEM}\n\n{instructions}" if instructions else SYSTEM


def escape(text: str) -> str:
    """Return ``text`` with our own tags made harmless; for everything that people, pages or tools wrote."""
    return _FORGED.sub(r"&lt;\1", text)


def note(sent_at: datetime, options: dict[str, Any], *, meanwhile: bool = False) -> str:
    """Return the server's block about when, and from which page, a message was sent.

    Args:
        meanwhile: it was sent while the model worked on what was asked before.
    """
    zone = options.get("timezone") or "UTC"
    try:
        local = sent_at.astimezone(zoneinfo.ZoneInfo(zone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        local, zone = sent_at.astimezone(UTC), "UTC"
    lines = [f"Sent on {local:%A, %Y-%m-%d at %H:%M} ({zone})."]
    if meanwhile:
        lines.append("The user sent this while you were working: take it into account from here on.")
    context = options.get("context") or {}
    if context.get("url"):
        lines.append(f"The user is on this page: {escape(context['url'])}")
    if context.get("content"):
        lines.append(f"The page says:\n{escape(context['content'])}")
    return f"\n\n<{NOTE}>{chr(10).join(lines)}</{NOTE}>"
