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
from common.errors import Invalid
from common.rest import origin_of, surface_of
from copilot.models import Session, Turn
from copilot.turns.submit import submit_message


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
    if asked is not None and asked.status == Action.Status.PENDING:
        caller.require("approve")
        wish = wish_of(asked, request.answers)
        decide(user=caller.user, action_id=asked.pk, wish=wish, surface=surface_of(caller))
    if request.last is None:
        raise Invalid("There is no message of the user's: write something first.")
    if session is not None and asked is not None:
        new = not request.has_more and standing_message(session, request.last.id) is None
        if not new or _goes_along(caller, session, asked, request.last):
            return Run(asked.turn, asked_at(asked))
    wanted = ChatRequest(request.thread, "submit-message", None, request.last)
    return Run(begin_response(caller, wanted).turn_id, again=request.has_more)


def _asked(caller: Caller, request: RunRequest, session: Session) -> Action | None:
    """Return the newest of the session's actions that is answered."""
    ids = actions_answered(request.answers)
    found = actions_of(caller.user).filter(session=session.pk, pk__in=ids) if ids else None
    return found.order_by("-created_at").first() if found is not None else None


def _goes_along(caller: Caller, session: Session, asked: Action, said: Said) -> bool:
    """Send a message to a turn that goes on, if it does; return whether it did."""
    if not Turn.objects.live().filter(pk=asked.turn).exists():
        return False
    submit_message(
        user=caller.user,
        session_id=session.pk,
        text=said.text,
        client_id=said.id,
        attachments=said.files,
        context=dict(said.context),
        origin=origin_of(caller),
    )
    return True
