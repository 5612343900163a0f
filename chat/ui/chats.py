"""A front end's name for a chat, and the session behind it."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from chat.ui.request import is_id
from common.ids import as_uuid
from copilot.models import Session
from copilot.turns.sessions import create_session


def find_session(user: Any, chat: str) -> Session | None:
    """Return the session of ``user`` that has this id, or was created under this name; None: there is none."""
    if not is_id(chat):
        return None
    session_id = as_uuid(chat)
    found = Session.objects.visible_to(user).filter(Q(pk=session_id) | Q(client_id=chat))
    return min(found, key=lambda session: session.pk != session_id, default=None)


def open_session(user: Any, chat: str) -> Session:
    """Return that session, created if it is not there; of several calls at once each gets the same one.

    The name is the session's ``client_id``: what wants a model or tools of its own for a chat creates its session
    first, under that name.
    """
    return find_session(user, chat) or create_session(user=user, client_id=chat)
