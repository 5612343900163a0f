"""Stopping a turn: a durable request, told at once and again by every heartbeat, settled within seconds."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models.functions import Coalesce

from approvals import actions as approvals
from common.db import db, db_now, transact
from common.errors import NotFound
from common.ids import as_uuid
from copilot.events import publish
from copilot.events.follow import follow
from copilot.events.log import EventBatch, from_outside, last_seq
from copilot.models import Session, Turn
from copilot.models.turn import LIVE
from copilot.turns.begin import announce
from copilot.turns.finish import cancelled, do_finish
from copilot.turns.journal import journal
from copilot.turns.recover import do_take_over_if_orphaned
from copilot.turns.submit import do_lock_session

#: Seconds a worker gets to end its turn by itself; then it is taken from it.
CONFIRM_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class CancelResult:
    """``cancelled``: the turn has ended as stopped. ``confirmed``: nobody had to take it from its worker."""

    cancelled: bool
    confirmed: bool
    turn: uuid.UUID | None = None


async def cancel_turn(
    *, user: Any, session_id: object = None, turn_id: object = None, actor: str = ""
) -> CancelResult:
    """Stop the session's live turn, or only the given one; returns within six seconds.

    With a turn id, that turn and no other: one that has ended already is left alone.

    Args:
        actor: the name of who stops it, if it is not ``user``.

    Raises:
        NotFound: no such session or turn of this user.
    """
    stopping = await db(
        _request_stop,
        user,
        as_uuid(session_id),
        as_uuid(turn_id),
        session_id is not None,
        turn_id is not None,
        actor,
    )
    if stopping is None:
        return CancelResult(cancelled=False, confirmed=False)
    turn, waits = stopping
    if not waits:
        stopped = turn.status == Turn.Status.CANCELLED
        return CancelResult(cancelled=stopped, confirmed=turn.is_terminal, turn=turn.id)
    confirmed = await _ends_by_itself(turn.id)
    if not confirmed:
        await db(finish_unconfirmed, turn.id, 0.0)
    status = await db(_status, turn.id)
    return CancelResult(cancelled=status == Turn.Status.CANCELLED, confirmed=confirmed, turn=turn.id)


def _request_stop(
    user: Any,
    session_id: uuid.UUID | None,
    turn_id: uuid.UUID | None,
    by_session: bool,
    by_turn: bool,
    actor: str,
) -> tuple[Turn, bool] | None:
    if by_turn:
        known = Turn.objects.visible_to(user).values_list("session_id", flat=True)
        found = known.filter(pk=turn_id).first() if turn_id else None
        if found is None or (by_session and session_id != found):
            raise NotFound
        session_id = found
    wanted = turn_id if by_turn else None
    return request_stop(user=user, session_id=session_id, turn_id=wanted, reason="stopped", actor=actor)


@from_outside
@transact
def request_stop(
    *, user: Any, session_id: uuid.UUID | None, turn_id: uuid.UUID | None, reason: str, actor: str = ""
) -> tuple[Turn, bool] | None:
    """Store that a turn is to stop; end it here and now when no worker holds it.

    Args:
        actor: the name of who stops it, if it is not ``user``.

    Returns the turn and whether a worker still has to end it; None when nothing is live.
    """
    session = do_lock_session(user, session_id)
    turns = session.turns.filter(pk=turn_id) if turn_id else session.turns.filter(status__in=LIVE)
    turn = turns.first()
    if turn is None:
        return None
    if turn.is_terminal:
        return turn, False
    Turn.objects.filter(pk=turn.pk).update(
        stop_requested_at=Coalesce("stop_requested_at", db_now()), stop_reason=turn.stop_reason or reason
    )
    turn.refresh_from_db()
    journal(turn.id, "stop_requested", reason=turn.stop_reason)
    if not _do_settle(session, turn, actor or user.get_username()):
        return turn, True
    turn.refresh_from_db()
    return turn, False


@from_outside
@transact
def settle_stop(turn_id: uuid.UUID, *, actor: str = "") -> bool:
    """End a turn that was asked to stop, or tell the worker that holds it; return whether it ended here.

    Args:
        actor: the name of who stops it; empty: the server itself.
    """
    session = Session.objects.locked().filter(turns__pk=turn_id).first()
    if session is None:
        return False
    turn = session.turns.to_stop().filter(pk=turn_id).first()
    return turn is not None and _do_settle(session, turn, actor)


def _do_settle(session: Session, turn: Turn, actor: str) -> bool:
    """End a turn that is to stop, unless a worker holds it: that one is told. Return whether it ended here."""
    if turn.status == Turn.Status.REQUIRES_ACTION:
        _stop_waiting(session, turn, actor)
    elif turn.status != Turn.Status.RUNNING:
        _end(session, turn)
    elif not do_take_over_if_orphaned(session, turn):
        transaction.on_commit(lambda: publish.stop_requested(turn.id), robust=True)
        announce(session.pk, session.user_id)
        return False
    return True


def _stop_waiting(session: Session, turn: Turn, actor: str) -> None:
    """Take back what a person was asked, and with it end the turn."""
    asked = turn.action_id
    if asked is None or not approvals.cancel(asked, reason=turn.stop_reason, actor=actor):
        _end(session, turn)


def _end(session: Session, turn: Turn) -> None:
    batch = EventBatch.after_log(turn.id)
    do_finish(session, turn, batch, cancelled(turn.stop_reason))
    batch.write()


@from_outside
@transact
def finish_unconfirmed(turn_id: uuid.UUID, seconds: float) -> bool:
    """Take a turn from a worker that did not stop ``seconds`` after it was asked to; return whether it had to be
    taken.
    """
    session = Session.objects.locked().filter(turns__pk=turn_id).first()
    if session is None:
        return False
    turn = session.turns.filter(pk=turn_id).unconfirmed(seconds).first()
    if turn is None:
        return False
    _end(session, turn)
    return True


async def _ends_by_itself(turn_id: uuid.UUID) -> bool:
    try:
        async with asyncio.timeout(CONFIRM_SECONDS):
            async for _ in follow(turn_id, after=await db(_newest, turn_id)):
                continue
    except TimeoutError:
        return False
    return True


def _newest(turn_id: uuid.UUID) -> int:
    return last_seq(turn_id) - 1  # the terminal event itself may be the newest


def _status(turn_id: uuid.UUID) -> str | None:
    return Turn.objects.filter(pk=turn_id).values_list("status", flat=True).first()
