"""From what a run asks for to the turn whose events answer it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from approvals.actions import decide
from approvals.models import Action
from approvals.selectors import actions_of
from chat.agui.asking import actions_answered, wish_of
from chat.agui.request import RunRequest
from chat.ui.begin import asked_at, standing_message
from chat.ui.begin import begin as begin_response
from chat.ui.chats import find_session
from chat.ui.request import ChatRequest, Said
from common.auth import Caller
from common.errors import Conflict, Invalid
from common.rest import origin_of, surface_of
from copilot.models import Session, Turn
from copilot.turns.submit import check_text, submit_message

#: Nothing waits for the decision any more.
_TOO_LATE = ("already_decided", "expired", "stale")


@dataclass(frozen=True, slots=True)
class Run:
    """The events of a turn after a seq, up to its end or its next pause.

    ``again``: the client has some of them already, and is told all of them anew.
    """

    turn_id: uuid.UUID
    after: int = 0
    again: bool = False


def begin(caller: Caller, request: RunRequest) -> Run:
    """Do what is asked for, once, and return what answers it (sync).

    What is answered to something that is not asked (any more) changes nothing: the run tells what became of it.

    Raises:
        AppError: it is refused.
    """
    session = find_session(caller.user, request.thread)
    asked = _asked(caller, request, session) if session else None
    new = _new(request, session) if session and asked else None
    if asked is not None and asked.status == Action.Status.PENDING:
        if new is not None:
            check_text(new.text)  # before anything is decided
        caller.require("approve")
        _decide(caller, asked, request)
    if session is not None and asked is not None and (new is None or _goes_along(caller, session, asked, new)):
        return Run(asked.turn, asked_at(asked))
    if request.last is None:
        raise Invalid("There is no message of the user's: write something first.")
    wanted = ChatRequest(request.thread, "submit-message", None, request.last)
    return Run(begin_response(caller, wanted).turn_id, again=request.has_more)


def _asked(caller: Caller, request: RunRequest, session: Session) -> Action | None:
    """Return the newest of the session's actions that is answered."""
    ids = actions_answered(request.answers)
    found = actions_of(caller.user).filter(session=session.pk, pk__in=ids) if ids else None
    return found.order_by("-created_at").first() if found is not None else None


def _new(request: RunRequest, session: Session) -> Said | None:
    """Return the message at the end that was not sent before."""
    said = None if request.has_more else request.last
    return said if said and standing_message(session, said.id) is None else None


def _decide(caller: Caller, asked: Action, request: RunRequest) -> None:
    wish = wish_of(asked, request.answers)
    try:
        decide(user=caller.user, action_id=asked.pk, wish=wish, surface=surface_of(caller))
    except Conflict as error:
        if error.error_code not in _TOO_LATE:
            raise


def _goes_along(caller: Caller, session: Session, asked: Action, said: Said) -> bool:
    """Send a message to a turn that goes on; return whether it is part of that turn, which may end meanwhile."""
    if not Turn.objects.live().filter(pk=asked.turn).exists():
        return False
    accepted = submit_message(
        user=caller.user,
        session_id=session.pk,
        text=said.text,
        client_id=said.id,
        attachments=said.files,
        context=dict(said.context),
        origin=origin_of(caller),
    )
    return accepted.turn is None or accepted.turn.pk == asked.turn
