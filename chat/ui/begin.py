"""From what a front end asks for to the turn whose events answer it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from approvals.actions import decide
from approvals.decisions import Wish
from approvals.models import Action
from approvals.selectors import actions_of
from chat.ui.chats import find_session, open_session
from chat.ui.request import Answered, ChatRequest, Said
from chat.ui.speech import approval_id
from common.auth import Caller
from common.db import transact
from common.errors import Conflict, Invalid
from common.ids import as_uuid
from common.rest import origin_of, surface_of
from copilot import selectors
from copilot.events.log import last_seq, read_events
from copilot.files import file_id_of, file_parts
from copilot.models import Message, Session, Turn
from copilot.models.message import answers_of
from copilot.turns.branches import edit_message, regenerate
from copilot.turns.recover import take_over_on_sight
from copilot.turns.submit import Accepted, check_text, deliver_queued, digest_of, submit_message


@dataclass(frozen=True, slots=True)
class Segment:
    """One response: the events of a turn after a seq, up to its end or its next pause.

    ``message_id`` is the message that they go on with, or, from the first event on, the turn's own if its log does
    not name it any more.
    """

    turn_id: uuid.UUID
    message_id: str
    after: int = 0


def begin(caller: Caller, request: ChatRequest) -> Segment:
    """Do what is asked for, once, and return what answers it.

    Raises:
        AppError: it is refused; nothing of it was done.
    """
    if isinstance(request.last, Answered):
        if request.trigger == "regenerate-message":
            raise Invalid("To answer again, the last message must be the one to answer.")
        return _go_on(caller, request.chat, request.last)
    if request.trigger == "regenerate-message":
        return _answer_again(caller, request)
    if request.last is None:
        raise Invalid("There is no message: write something first.")
    return _send(caller, request, request.last)


def resume(user: Any, chat: str) -> Segment | None:
    """Return the response that is under way in a chat, from its beginning; None: nothing is.

    What was said before a message that was delivered into the turn is a message of its own by now, and left out.
    """
    session = find_session(user, chat)
    turn = selectors.active_turn(session) if session else None
    if session is not None and turn is not None and take_over_on_sight(turn):
        turn = selectors.active_turn(session)
    if turn is None:
        return None
    delivered = [(seq, chunk) for seq, chunk in read_events(turn.pk) if chunk["type"] == "data-pending"]
    if not delivered:
        return Segment(turn.pk, "")
    seq, chunk = delivered[-1]
    return Segment(turn.pk, chunk["data"]["next_message_id"], seq)


# --- a message of the person's -----------------------------------------------------------------


def _send(caller: Caller, request: ChatRequest, said: Said) -> Segment:
    session = find_session(caller.user, request.chat)
    earlier = standing_message(session, said.id) if session else None
    if session is None or earlier is None:
        return _whole(_submit(caller, request.chat, said).turn)
    same_files = _files_of(earlier) == {as_uuid(file) for file in said.files}
    if same_files and earlier.text == check_text(said.text):
        if earlier.held:  # nothing would ever send it but a person, who does
            return _whole(deliver_queued(user=caller.user, session_id=session.pk, origin=origin_of(caller)).turn)
        return _whole(earlier.turn)  # sent again: its answer is told again
    if request.message_id != said.id:
        raise Conflict(
            "There is another message with this id. Use a new id for each message.", code="client_id_reused"
        )
    if not same_files:
        raise Invalid("An edited message keeps its files. Send a new one for other files.")
    return _edit(caller, earlier, said.text)


@transact
def _submit(caller: Caller, chat: str, said: Said) -> Accepted:
    """Accept a message, together with the session if it is the first one: a refused one leaves none."""
    return submit_message(
        user=caller.user,
        session_id=open_session(caller.user, chat).pk,
        text=said.text,
        client_id=said.id,
        attachments=said.files,
        context=dict(said.context),
        origin=origin_of(caller),
        only_idle=True,
    )


def _files_of(message: Message) -> set[uuid.UUID | None]:
    return {file_id_of(part) for part in file_parts(message.parts)}


def standing_message(session: Session, message_id: str) -> Message | None:
    """Return what stands by now in the place of the message that has this id: one of ours, or the front end's."""
    known = as_uuid(message_id)
    mine = session.messages.filter(role=Message.Role.USER)
    found = mine.select_related("turn").filter(Q(client_id=message_id) | Q(pk=known)).first()
    if found is None or found.shown:
        return found
    return mine.select_related("turn").filter(parent=found.parent, shown=True).first() or found


def _edit(caller: Caller, message: Message, text: str, client_id: str | None = None) -> Segment:
    edited = edit_message(
        user=caller.user, message_id=message.pk, text=text, client_id=client_id, origin=origin_of(caller)
    )
    return _whole(edited.turn)


def _answer_again(caller: Caller, request: ChatRequest) -> Segment:
    """Answer the last question again, or an earlier one: then what came after it is another branch."""
    session = find_session(caller.user, request.chat)
    question = standing_message(session, request.last.id) if session and isinstance(request.last, Said) else None
    if isinstance(request.last, Said) and question is None:
        return _send(caller, request, request.last)  # it was refused or lost, and is tried again
    if session is None:
        raise Conflict("Nothing was asked here yet. Send a message first.", code="stale")
    # The answer that is replaced names the request: it is replaced once, however often that is asked for.
    name = digest_of("again", request.message_id) if request.message_id else None
    earlier = session.messages.select_related("turn").filter(client_id=name).first() if name else None
    if earlier is not None and earlier.shown:
        return _whole(earlier.turn)
    name = None if earlier else name
    asked = session.messages.shown().filter(role=Message.Role.USER, seq__isnull=False).order_by("-seq")
    if question is not None and question.seq is not None and question != asked.first():
        return _edit(caller, question, question.text, name)
    accepted = regenerate(user=caller.user, session_id=session.pk, client_id=name, origin=origin_of(caller))
    return _whole(accepted.turn)


def _whole(turn: Turn | None) -> Segment:
    """Return the response that is a turn from its beginning.

    Raises:
        Conflict: ``session_busy``: the message waits for its turn.
    """
    if turn is None:
        raise Conflict("This message waits until the agent has ended what it does.", code="session_busy")
    answer = answers_of(turn.pk)
    return Segment(turn.pk, str(answer[0].pk) if answer else "")


# --- an answer to what was asked ---------------------------------------------------------------


def _go_on(caller: Caller, chat: str, answered: Answered) -> Segment:
    """Decide what the chat's agent asked last, and return what follows from it."""
    session = find_session(caller.user, chat)
    action = _asked(caller, session, answered) if session else None
    if action is None:
        raise Invalid("Nothing waits for an answer here: the last message must be the person's.")
    caller.require("approve")
    decided = decide(
        user=caller.user, action_id=action.pk, wish=_wish(action, answered), surface=surface_of(caller)
    )
    return Segment(decided.turn, answered.message_id, asked_at(decided))


def _asked(caller: Caller, session: Session, answered: Answered) -> Action | None:
    """Return the session's newest action; if nothing is said of that, the one whose approvals are sent again."""
    actions = actions_of(caller.user).filter(session=session.pk)
    newest = actions.first()
    if newest is None or _speaks_of(newest, answered):
        return newest
    ids = filter(None, (as_uuid(approval.partition(".")[0]) for approval in answered.verdicts))
    earlier = actions.filter(pk__in=set(ids), status=Action.Status.DECIDED).first()
    return earlier or (newest if newest.status == Action.Status.PENDING else None)


def _speaks_of(action: Action, answered: Answered) -> bool:
    calls = {request["tool_call_id"] for request in action.readable_requests}
    if action.kind == Action.Kind.QUESTION:
        return bool(calls & (answered.outputs.keys() | answered.declined.keys()))
    return any(approval_id(action.pk, call) in answered.verdicts for call in calls)


def _wish(action: Action, answered: Answered) -> Wish:
    """Return what the person wants; that each call has its answer is for ``decide`` to check."""
    if action.kind == Action.Kind.QUESTION:
        return _wish_of_question(action, answered)
    decisions = []
    for request in action.readable_requests:
        verdict = answered.verdicts.get(approval_id(action.pk, request["tool_call_id"]))
        if verdict is not None:
            kind = "approve" if verdict.approved else "reject"
            reason = {"reason": verdict.reason} if verdict.reason else {}
            decisions.append({"tool_call_id": request["tool_call_id"], "type": kind, **reason})
    return Wish(decisions=decisions)


def _wish_of_question(action: Action, answered: Answered) -> Wish:
    for request in action.readable_requests:
        call = request["tool_call_id"]
        if call in answered.outputs:
            return Wish(answer=answered.outputs[call])
        if call in answered.declined:
            reason = {"reason": answered.declined[call]} if answered.declined[call] else {}
            return Wish(decisions=[{"tool_call_id": call, "type": "reject", **reason}])
    return Wish(decisions=[])


def asked_at(action: Action) -> int:
    """Return the seq of the event that asked; where it was pruned, that before the turn's last event."""
    for seq, chunk in read_events(action.turn):
        if chunk["type"] == "data-approval" and chunk["data"]["approval"]["id"] == str(action.pk):
            return seq
    return last_seq(action.turn) - 1
