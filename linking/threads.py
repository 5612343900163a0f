"""Threads: conversations in linked places, each with a session of the link's owner."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection
from typing import Any

from django.db.models import QuerySet

from common.errors import Busy, NotFound
from common.ids import as_uuid
from copilot.models import Session, Turn
from copilot.turns.cancel import request_stop
from copilot.turns.sessions import create_session
from copilot.turns.submit import do_lock_session
from linking.models import Bot, Link, ServerLink, Thread

logger = logging.getLogger(__name__)


class ThreadMoved(Exception):
    """The thread began or ended meanwhile: what was found out is found out again."""


def do_lock_thread(link: Link, thread_id: str) -> Session:
    """Return the session of a thread under its lock; a new one for a thread that has none.

    Raises:
        ThreadMoved: the thread, its session or the link went, or somebody else began the thread, meanwhile.
    """
    thread = _threads_of(link).filter(thread_id=thread_id)
    session_id = thread.values_list("session", flat=True).first() or _do_begin_thread(link, thread_id)
    try:
        session = do_lock_session(link.owner, session_id)
    except NotFound as error:
        raise ThreadMoved from error
    # Locked: whoever unlinks waits with the thread's end, and stops the turn that this message may begin.
    if not thread.select_for_update(of=("self",), no_key=True).filter(session=session).exists():
        raise ThreadMoved
    return session


def _do_begin_thread(link: Link, thread_id: str) -> uuid.UUID:
    """Make a thread and its session; of two that begin it, the second one finds it there."""
    if do_lock_link(link) is None or _threads_of(link).filter(thread_id=thread_id).exists():
        raise ThreadMoved
    session = create_session(user=link.owner)
    Thread.objects.create(bot_id=link.bot_id, thread_id=thread_id, session=session, **_foreign_key(link))
    return session.pk


def do_lock_link(link: Link) -> Link | None:
    """Take the lock under which a link's threads begin, and end with it; None: it is gone."""
    rows = type(link)._default_manager.select_for_update(of=("self",), no_key=True)
    found: Link | None = rows.filter(pk=link.pk).first()
    return found


def _foreign_key(link: Link) -> dict[str, Any]:
    return {"server_link" if isinstance(link, ServerLink) else "user_link": link}


def _threads_of(link: Link) -> QuerySet[Thread]:
    return Thread.objects.filter(**_foreign_key(link))


# --- reading -------------------------------------------------------------------------------------


def turn_of(bot: Bot, turn_id: object) -> Turn:
    """Return a turn in one of a bot's threads, with its user and thread, whoever asked for it.

    Raises:
        NotFound: unknown, elsewhere, not an id at all, or of a thread whose link or owner is gone.
    """
    known = as_uuid(turn_id)
    own = Turn.objects.filter(session__bot_thread__bot=bot, user__is_active=True)
    turn = own.select_related("user", "session__bot_thread").filter(pk=known).first() if known else None
    if turn is None:
        raise NotFound("There is no such turn.")
    return turn


# --- the end of a link --------------------------------------------------------------------------


def do_sessions_of(link: Link) -> list[uuid.UUID]:
    """Return the sessions of a link's threads. The caller holds ``do_lock_link``: no other one begins."""
    return list(_threads_of(link).values_list("session", flat=True))


def stop_turns(user: Any, session_ids: Collection[uuid.UUID]) -> None:
    """Stop the turns in sessions of ``user`` that a bot asked for. Those of the page go on.

    One that cannot be stopped now goes on to its end, and no bot sees it any more.
    """
    asked = Turn.objects.live().filter(session__in=session_ids, origin=Turn.Origin.BOT)
    for turn_id, session_id in asked.values_list("pk", "session"):
        try:
            request_stop(user=user, session_id=session_id, turn_id=turn_id, reason="stopped")
        except NotFound:
            continue  # deleted meanwhile
        except Busy:
            logger.warning("turn not stopped", extra={"action": "unlinked_turn_goes_on", "turn_id": turn_id})
