"""Which bot a session belongs to, and what the bot itself calls the thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from common.errors import NotFound
from linking.bot_approvals import thread_of


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told of a session, and as what."""

    bot_id: UUID
    thread: dict[str, Any]


def told_of(session_id: UUID) -> Told | None:
    """Return who is told of what happens in a session or in a child of one; None: it is no bot's."""
    try:
        thread = thread_of(session_id)
    except NotFound:
        return None
    link = thread.link
    name = {"kind": str(link.kind), "platform_id": link.platform_id, "thread_id": thread.thread_id}
    return Told(thread.bot_id, name)
