"""Child sessions: an agent sends a prompt, another one answers in a session of its own.

A call sends one prompt, however often it is run: the call's id names the child that it started and the message
that it sent. What the child may do is bounded by the turn that asks (``bounds``). A child ends with its parent,
unless that completed; then its own end is told to the parent's session, once nothing is live there.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from common.db import transact
from common.errors import NotFound
from common.ids import as_uuid
from common.prepared import insert
from copilot import objects
from copilot.events.fold import Transcript
from copilot.events.log import from_outside, read_events
from copilot.models import Message, Session, Turn
from copilot.models.message import MessageQuerySet
from copilot.models.session import DEPTH_MAX, locked_session
from copilot.models.turn import TurnQuerySet
from copilot.turns.begin import do_hold, do_new_message, do_touch_session
from copilot.turns.bounds import options_of
from copilot.turns.cancel import request_stop
from copilot.turns.claim import Claim
from copilot.turns.submit import check_text, digest_of, do_accept, do_live_turn, withdraw_queued
from copilot.usage.limits import refusal_of

#: Begins the ``client_id`` of a message that tells of a child's end.
ENDED = "ended:"
#: So many of them in a row start a turn by themselves; then a person has to say something.
ENDS_IN_A_ROW = 10
#: What is told of a child that still works.
PROGRESS_MESSAGES = 5
PROGRESS_CHARACTERS = 400


class ChildRefused(Exception):
    """A prompt cannot be sent; the sentence goes to the model."""


class NoSuchChild(ChildRefused):
    """Unknown, somebody else's, of another parent or not an id at all: nobody learns which."""

    def __init__(self) -> None:
        super().__init__("There is no such session among those that were started here with run_subsession.")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A message that an agent sent to a child session."""

    session: uuid.UUID
    message: uuid.UUID


# --- sending -----------------------------------------------------------------------------------------


@from_outside
@transact
def send_prompt(
    parent: Claim, call_id: uuid.UUID, *, prompt: str, system_context: str = "", child: object = None
) -> Prompt | None:
    """Send a prompt to a new child session, or to ``child``; once for each call. None: the turn is held no longer.

    A child that is busy answers it when it is done with what it does.

    Raises:
        ChildRefused: no such child, or too deep.
        Invalid, TooLarge, Conflict: as for any message.
    """
    homes = locked_session(parent.session_id)
    sender = Turn.objects.held_by(parent.turn_id, parent.fence).first()
    if not homes or sender is None:
        return None
    home = homes[0]
    sent = Message.objects.filter(session__parent=home, client_id=str(call_id)).first()
    if sent is not None:
        return Prompt(sent.session_id, sent.pk)
    text = check_text(prompt)
    session = _new_child(home, sender, call_id) if child is None else _child(home, child)
    if child is None or system_context:
        session.instructions = "\n\n".join(filter(None, (home.instructions, system_context)))
        session.save(update_fields=None if child is None else ["instructions"])
    accepted = do_accept(
        session,
        text=text,
        client_id=str(call_id),
        options=options_of(sender),
        digest=digest_of(text),
        delivery=Message.Delivery.NEXT,
        origin=Turn.Origin.CHILD,
    )
    return Prompt(session.pk, accepted.message.pk)


def _new_child(home: Session, sender: Turn, call_id: uuid.UUID) -> Session:
    if home.depth >= DEPTH_MAX:
        raise ChildRefused(f"Sessions go {DEPTH_MAX} deep at most: do this part of the work here.")
    return Session(
        user_id=home.user_id,
        model=sender.model,
        tools=sender.settings.get("tools"),
        approval_mode=home.approval_mode,
        temporary=home.temporary,
        parent=home,
        parent_call=call_id,
        depth=home.depth + 1,
        updated_at=timezone.now(),
    )


def _child(home: Session, child: object) -> Session:
    known = as_uuid(child)
    found = Session.objects.locked().filter(pk=known, parent=home).first() if known else None
    if found is None:
        raise NoSuchChild
    return found


# --- asking after it ---------------------------------------------------------------------------------


def last_prompt(home_id: uuid.UUID, child: object) -> Prompt:
    """Return what was sent last to a child of a session.

    Raises:
        NoSuchChild: it has no such child.
    """
    known = as_uuid(child)
    sent = _prompts().filter(session__parent=home_id).order_by("-number")
    found = sent.filter(session_id=known).first() if known else None
    if found is None:
        raise NoSuchChild
    return Prompt(found.session_id, found.pk)


def _prompts() -> MessageQuerySet:
    sent = Message.objects.filter(role=Message.Role.USER, origin=Turn.Origin.CHILD)
    return sent.exclude(client_id__startswith=ENDED)


def adopt(parent: Claim, turn_id: uuid.UUID) -> None:
    """Let a turn of a child end with the turn that waits for it now, whichever started it.

    Never a turn of a person's own.
    """
    held = Turn.objects.held_by(parent.turn_id, parent.fence)
    if held.exists():
        Turn.objects.filter(pk=turn_id, origin=Turn.Origin.CHILD, finished_at__isnull=True).update(
            parent=parent.turn_id
        )


def answer_to(prompt: Prompt, *, progress: bool = False) -> dict[str, Any]:
    """Return what a model is told of a prompt: the answer to this one, never to one before it.

    Whoever hears of the end here is not told of it again.
    """
    known: dict[str, Any] = {"session": str(prompt.session)}
    message = Message.objects.filter(pk=prompt.message).select_related("turn").first()
    if message is None:
        return {**known, "status": "cancelled"}
    turn = message.turn
    if turn is None and message.held:
        error = "The turn before it did not complete, so the prompt was not delivered. Send it again."
        return {**known, "status": "error", "error": error}
    if turn is None or turn.is_live:
        status = _STANDING.get(turn.status, "running") if turn else "queued"
        return {**known, "status": status, **({"progress": _progress(prompt, turn)} if progress else {})}
    Turn.objects.filter(pk=turn.pk, owed=True).update(owed=False)
    shown = objects.turn_object(turn)
    known["status"] = _ENDED[turn.status]
    if shown["text"]:
        known["text"] = shown["text"]
    if "error" in shown:
        known["error"] = shown["error"]["detail"]
    return known


_STANDING = {Turn.Status.REQUIRES_ACTION.value: "waiting_for_approval"}
_ENDED = {
    Turn.Status.COMPLETED.value: "completed",
    Turn.Status.FAILED.value: "error",
    Turn.Status.CANCELLED.value: "cancelled",
}


def _progress(prompt: Prompt, turn: Turn | None) -> dict[str, Any]:
    """Tell how many messages the child has, and how the newest of them begin; the one it writes counts."""
    shown = Message.objects.settled().shown().filter(session=prompt.session)
    newest = [(each.role, each.text) for each in shown.order_by("-seq")[:PROGRESS_MESSAGES]]
    written = Transcript.of(read_events(turn.pk)).text if turn else ""
    if written:
        newest.insert(0, (Message.Role.ASSISTANT, written))
    last = [{"role": str(role), "content": cut(text)} for role, text in newest[:PROGRESS_MESSAGES]]
    return {"message_count": shown.count() + bool(written), "last_messages": last[::-1]}


def cut(text: str) -> str:
    """Return the beginning of a text that is only to tell how things are."""
    return text if len(text) <= PROGRESS_CHARACTERS else f"{text[:PROGRESS_CHARACTERS]}…"


# --- stopping ----------------------------------------------------------------------------------------


def stop_prompt(prompt: Prompt) -> bool:
    """Stop what a prompt started, or take it back while it waits; return whether there was anything to stop.

    Its worker may take a moment to notice.
    """
    message = Message.objects.filter(pk=prompt.message).select_related("session__user").first()
    if message is None:
        return False
    user = message.session.user
    if message.turn_id is None:
        try:
            withdraw_queued(user=user, session_id=prompt.session, message_id=prompt.message)
        except NotFound:
            return False
        return True
    if not Turn.objects.live().filter(pk=message.turn_id).exists():
        return False
    Turn.objects.filter(pk=message.turn_id).update(owed=False)
    stopped = request_stop(user=user, session_id=prompt.session, turn_id=message.turn_id, reason="stopped")
    return stopped is not None and (stopped[1] or stopped[0].status == Turn.Status.CANCELLED)


def orphans() -> TurnQuerySet:
    """Live turns of children whose parent ended, and did not complete; nobody told them yet."""
    return Turn.objects.filter(
        parent__isnull=False,
        finished_at__isnull=True,
        stop_requested_at__isnull=True,
        parent__status__in=[Turn.Status.FAILED, Turn.Status.CANCELLED],
    )


def stop_children(turn_id: uuid.UUID) -> int:
    """Stop what a turn asked for, if it ended and did not complete. The sweep does what is left out here."""
    return sum(stop_orphan(pk) for pk in orphans().filter(parent=turn_id).values_list("pk", flat=True))


def stop_orphan(turn_id: uuid.UUID) -> bool:
    """Stop a turn because its parent has ended; its own children follow when it has."""
    turn = orphans().select_related("user").filter(pk=turn_id).first()
    if turn is None:
        return False
    try:
        stopped = request_stop(
            user=turn.user, session_id=turn.session_id, turn_id=turn_id, reason="parent_stopped"
        )
    except NotFound:
        return False  # deleted meanwhile
    if stopped is not None and not stopped[1]:
        stop_children(turn_id)
    return stopped is not None


# --- telling of the end ------------------------------------------------------------------------------


def untold() -> TurnQuerySet:
    """Turns of children that have ended, and whose parent was not told; the longest ago first."""
    return Turn.objects.filter(owed=True, finished_at__isnull=False).order_by("finished_at")


@from_outside
@transact
def tell_parent(turn_id: uuid.UUID) -> bool:
    """Tell the parent's session that a turn of a child has ended, if nothing is live there; this starts a turn.
    While a usage limit is reached it is held, as all that would start one by itself.

    Nobody is told whose own turn was stopped or failed: who stops an agent does not want it to begin again.
    """
    turn = untold().select_related("parent").filter(pk=turn_id).first()
    if turn is None or turn.parent is None:
        return False
    homes = locked_session(turn.parent.session_id)
    if not homes:
        return False
    parent = turn.parent
    parent.refresh_from_db()
    if parent.is_live or do_live_turn(homes[0]) is not None or homes[0].messages.queued().exists():
        return False  # it may ask by itself; what is held goes first, when its person wants it to
    if not _do_take(turn_id):
        return False
    if parent.status != Turn.Status.COMPLETED or turn.outcome == "parent_stopped" or _goes_on_alone(homes[0]):
        return False
    text = (
        f"The session {turn.session_id} that you started with run_subsession has ended: {_ENDED[turn.status]}. "
        "Read its answer with get_subsession_result, if it is still wanted."
    )
    known: dict[str, Any] = {
        "client_id": f"{ENDED}{turn_id}",
        "options": options_of(parent),
        "delivery": Message.Delivery.NEXT,
        "origin": Turn.Origin.CHILD,
    }
    if refusal := refusal_of(turn.user_id):
        insert(do_new_message(homes[0], text, request_digest=digest_of(text), **known))
        do_hold(homes[0], refusal)
        do_touch_session(homes[0])
    else:
        do_accept(homes[0], text=text, digest=digest_of(text), **known)
    return True


def _do_take(turn_id: uuid.UUID) -> bool:
    """Take on to tell of an end; whoever comes second has nothing to tell."""
    return Turn.objects.filter(pk=turn_id, owed=True).update(owed=False) == 1


def _goes_on_alone(home: Session) -> bool:
    """Whether the newest messages were all of this kind: agents must not keep each other busy for ever."""
    said = home.messages.shown().filter(role=Message.Role.USER).order_by("-number")
    newest = list(said.values_list("client_id", flat=True)[:ENDS_IN_A_ROW])
    return len(newest) == ENDS_IN_A_ROW and all((name or "").startswith(ENDED) for name in newest)
