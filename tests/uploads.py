"""Uploads made by the service that makes them in life."""

from __future__ import annotations

from typing import Any

from copilot.files import Incoming, store_file
from copilot.models import File, User
from tests.pictures import PNG


def make_file(user: User, content: bytes = PNG, name: str = "a.png", session: Any = None) -> File:
    """Store an upload of ``user``, for a session or for none yet."""
    incoming = Incoming()
    incoming.write(content)
    return store_file(user=user, name=name, incoming=incoming, session_id=session.pk if session else None)
