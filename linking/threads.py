"""Threads: conversations in linked places, each with a session of the link's owner."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import Q, QuerySet

from common.db import transact
from common.errors import Busy, NotFound
from common.ids import as_uuid
from copilot.models import Message, Session, Turn
from copilot.models.session import DEPTH_MAX
from copilot.models.turn import LIVE, TurnQuerySet
from copilot.turns.begin import do_touch_session
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


def stop_work(user: Any, session_ids: Collection[uuid.UUID]) -> None:
    """End what a bot asked for in sessions of ``user``, that of child sessions too. That of the page goes on.

    What still waits is held: its owner may send it. What cannot be had now goes on until ``stop_left_over``, and
    no bot sees it any more.
    """
    waiting = Message.objects.queued().filter(session__in=session_ids, origin=Turn.Origin.BOT, held=False)
    for session_id in set(waiting.values_list("session", flat=True)):
        with _left_as_it_is(session_id=session_id):
            _hold_waiting(user, session_id)  # before the turns: none begins with it after this
    asked = Turn.objects.filter(session__in=session_ids, origin=Turn.Origin.BOT)
    below = _turns_below(session_ids)
    _owe_nobody(below)
    for turns, reason in ((asked, "stopped"), (below, "parent_stopped")):
        for turn_id, session_id in turns.live().values_list("pk", "session"):
            with _left_as_it_is(turn_id=turn_id):
                request_stop(user=user, session_id=session_id, turn_id=turn_id, reason=reason)


def stop_left_over() -> int:
    """End what goes on in sessions whose threads ended, and was not ended then: its process was lost, or somebody
    held the session. Return in how many.
    """
    ended = {"session__bot_thread__isnull": True}
    untold = Turn.objects.filter(stop_requested_at__isnull=True)
    found: set[uuid.UUID] = set()
    for status in LIVE:  # each has an index of its own, all together have none
        turns = untold.filter(status=status, origin=Turn.Origin.BOT, **ended)
        found.update(turns.values_list("session", flat=True))
    waits = Message.objects.queued().filter(origin=Turn.Origin.BOT, held=False, **ended)
    found.update(waits.values_list("session", flat=True))
    children = untold.filter(parent__isnull=False, finished_at__isnull=True)
    below = children.filter(parent__origin=Turn.Origin.BOT, parent__session__bot_thread__isnull=True)
    found.update(below.values_list("parent__session", flat=True))
    for session in Session.objects.filter(pk__in=found).select_related("user"):
        stop_work(session.user, [session.pk])
    return len(found)


def sweep_left_over(sender: object, *, rarely: bool, **kwargs: Any) -> int:
    """Do so now and then (a receiver of ``sweeping``)."""
    return stop_left_over() if rarely else 0


def _turns_below(session_ids: Collection[uuid.UUID]) -> TurnQuerySet:
    """Return the turns of child sessions that turns of a bot asked for in these sessions, directly or not."""
    found = Q()
    for depth in range(1, DEPTH_MAX + 1):
        above = "__".join(["parent"] * depth)
        found |= Q(**{f"{above}__origin": Turn.Origin.BOT, f"{above}__session__in": session_ids})
    return Turn.objects.filter(found, origin=Turn.Origin.CHILD)


@transact
def _owe_nobody(turns: TurnQuerySet) -> None:
    """Have nobody told that these have ended: it would begin another turn."""
    turns.filter(owed=True).update(owed=False)


@transact
def _hold_waiting(user: Any, session_id: uuid.UUID) -> None:
    session = do_lock_session(user, session_id)
    if session.messages.queued().filter(origin=Turn.Origin.BOT, held=False).update(held=True):
        do_touch_session(session)


@contextmanager
def _left_as_it_is(**what: uuid.UUID) -> Iterator[None]:
    """Pass over what was deleted meanwhile, and leave what cannot be had now."""
    try:
        yield
    except NotFound:
        return
    except Busy:
        logger.warning("not stopped", extra={"action": "unlinked_goes_on", **what})
