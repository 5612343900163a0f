"""Saying something else, answering again, and going back: the branches of a conversation.

Nothing is overwritten. What is replaced is hidden, with all that came after it, and can be shown again; people and
models read one branch, the shown one. All of it waits for an idle session: while a turn is live, what it answers
stays as it is.

Messages that are held stay held: they were typed after what is being replaced, so they are not part of it. They go
along with the next message that is sent, as ever.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import F, Max, Min, Q

from common.db import transact
from common.errors import Conflict, Invalid, NotFound
from common.ids import as_uuid
from copilot.events.log import from_outside
from copilot.files import file_parts
from copilot.models import Message, Session
from copilot.models.message import MessageQuerySet
from copilot.providers.registry import UnknownModel, check_model
from copilot.turns.begin import Again, announce, do_begin_turn, do_new_message, do_next_number
from copilot.turns.rate import do_count_send
from copilot.turns.submit import (
    Accepted,
    check_client_id,
    check_text,
    check_wanted_model,
    digest_of,
    do_find_earlier,
    do_live_turn,
    do_lock_session,
)


def edit_message(
    *, user: Any, message_id: object, text: str, client_id: str | None = None, origin: str = "web"
) -> Accepted:
    """Say something else in the place of a message of ``user``, exactly once per ``client_id``.

    The message and all that was shown after it are hidden. The new one asks for the same model, effort, time zone
    and page, and has the same files; a turn answers it, together with those that were sent right before it and
    answered with it.

    Raises:
        Invalid: empty text, or a message that the agent wrote.
        TooLarge: over 64,000 characters.
        NotFound: no such message of this user.
        Conflict: ``session_busy`` while a turn is live, ``stale`` when the message still waits or is not shown,
            ``client_id_reused`` for another request.
        RateLimited: a person sent too much lately; a repetition is not counted.
    """
    stored = check_text(text)
    check_client_id(client_id)
    known = as_uuid(message_id)
    session_id = _session_of(user, known) if known else None
    if known is None or session_id is None:
        raise NotFound("There is no such message.")
    digest = digest_of("edit", str(known), text)
    return _edit(user, session_id, known, stored, client_id, digest, origin)


def _session_of(user: Any, message_id: uuid.UUID) -> uuid.UUID | None:
    own = Message.objects.filter(pk=message_id, session__in=Session.objects.visible_to(user))
    return own.exclude(state=Message.State.OPEN).values_list("session_id", flat=True).first()


@from_outside
@transact
def _edit(
    user: Any,
    session_id: uuid.UUID,
    message_id: uuid.UUID,
    text: str,
    client_id: str | None,
    digest: str,
    origin: str,
) -> Accepted:
    session = do_lock_session(user, session_id)
    if (earlier := _sent_as(session, client_id)) is not None:
        return do_find_earlier(session, earlier, digest)
    _do_refuse_while_busy(session)
    replaced = session.messages.select_related("turn").filter(pk=message_id).first()
    if replaced is None:
        raise NotFound("There is no such message.")
    if replaced.role != Message.Role.USER:
        raise Invalid("Only what a person wrote can be edited; ask for another answer instead.")
    if replaced.seq is None:
        raise Conflict("This message still waits. Withdraw it and send another one.", code="stale")
    if not replaced.shown:
        raise Conflict("This message is not shown any more. Show its branch first.", code="stale")
    options = _still_offered(replaced.options)
    message = do_new_message(
        session,
        text,
        file_parts(replaced.parts),
        origin=origin,
        client_id=client_id,
        request_digest=digest,
        options=options,
    )
    asked_from = _first_asked_with(session, replaced)
    together = Again(asked_from, message.options) if asked_from < replaced.seq else None
    _do_hide_from(session, replaced.seq, head=replaced.parent)
    turn = do_begin_turn(session, [message], origin=origin, again=together)
    _do_keep_held(session)
    do_count_send(user.pk, origin)
    return Accepted(message, turn, answers=[message], branched=True)


def regenerate(
    *, user: Any, session_id: object, client_id: str | None = None, model: str = "", origin: str = "web"
) -> Accepted:
    """Have the last question answered again, exactly once per ``client_id``; the message returned is the question.

    What was said after it is hidden. It may have been nothing at all.

    Args:
        model: for this answer only; "" asks for the one that the question asked for.

    Raises:
        Invalid: ``unknown_model``.
        NotFound: no such session of this user.
        Conflict: ``session_busy`` while a turn is live, ``stale`` when nothing was asked yet, ``client_id_reused``
            for another request.
        RateLimited: as for sending: it costs as much.
    """
    check_client_id(client_id)
    check_wanted_model(model)
    return _regenerate(user, as_uuid(session_id), client_id, model, digest_of("regenerate", model), origin)


@from_outside
@transact
def _regenerate(
    user: Any, session_id: uuid.UUID | None, client_id: str | None, model: str, digest: str, origin: str
) -> Accepted:
    session = do_lock_session(user, session_id)
    if (earlier := _sent_as(session, client_id)) is not None:
        return _asked_before(session, earlier, digest)
    _do_refuse_while_busy(session)
    asked = session.messages.shown().filter(role=Message.Role.USER, seq__isnull=False)
    question = asked.select_related("turn").order_by("-seq").first()
    if question is None or question.seq is None:
        raise Conflict("Nothing was asked here yet. Send a message first.", code="stale")
    options = {**_still_offered(question.options), **({"model": model} if model else {})}
    again = Again(_first_asked_with(session, question), options)
    _do_hide_from(session, question.seq + 1, head=question.pk)
    turn = do_begin_turn(session, [], origin=origin, again=again)
    if client_id is not None:
        # There is no new message of the person to carry the name: the answer does.
        turn.messages.filter(state=Message.State.OPEN).update(client_id=client_id, request_digest=digest)
    _do_keep_held(session)
    do_count_send(user.pk, origin)
    return Accepted(question, turn, branched=True)


@from_outside
@transact
def show_branch(*, user: Any, session_id: object, message_id: object) -> Session:
    """Show the branch that leads through a message and on to its newest end, instead of the present one.

    Raises:
        NotFound: no such session of this user, or no such message in it.
        Conflict: ``session_busy`` while a turn is live, ``stale`` when the message still waits.
    """
    session = do_lock_session(user, as_uuid(session_id))
    wanted = as_uuid(message_id)
    message = session.messages.filter(pk=wanted).first() if wanted else None
    if message is None:
        raise NotFound("There is no such message in this session.")
    _do_refuse_while_busy(session)
    if message.seq is None:
        raise Conflict("This message still waits: it is in no branch yet.", code="stale")
    branch = _branch_through(session, message.pk)
    shown = _shown_in(session)
    if shown == set(branch):
        return session
    # First what goes: two shown branches at one place is what the database refuses.
    session.messages.filter(pk__in=shown.difference(branch)).update(shown=False)
    session.messages.filter(pk__in=set(branch) - shown).update(shown=True)
    changed = {"head": branch[-1], "rewrites": F("rewrites") + 1, "revision": F("revision") + 1}
    Session.objects.filter(pk=session.pk).update(**changed)
    announce(session.pk, session.user_id)
    session.refresh_from_db()
    return session


def _branch_through(session: Session, message_id: uuid.UUID) -> list[uuid.UUID]:
    """Return the ids from the first message through this one to its newest end."""
    parents: dict[uuid.UUID, uuid.UUID | None] = {}
    newest: dict[uuid.UUID | None, uuid.UUID] = {}
    for pk, parent in _placed(session).order_by("seq").values_list("pk", "parent"):
        parents[pk] = parent
        newest[parent] = pk
    path = [message_id]
    while (above := parents[path[-1]]) in parents:
        path.append(above)
    path.reverse()
    while path[-1] in newest:
        path.append(newest[path[-1]])
    return path


def _shown_in(session: Session) -> set[uuid.UUID]:
    return set(_placed(session).shown().values_list("pk", flat=True))


def _placed(session: Session) -> MessageQuerySet:
    return Message.objects.filter(session=session, seq__isnull=False)


def _sent_as(session: Session, client_id: str | None) -> Message | None:
    if client_id is None:
        return None
    return session.messages.select_related("turn").filter(client_id=client_id).first()


def _asked_before(session: Session, answer: Message, digest: str) -> Accepted:
    """Return what became of an answer that was asked for under the same ``client_id``."""
    earlier = do_find_earlier(session, answer, digest)
    question = answer
    while question.turn_id == answer.turn_id:  # what was delivered into the turn may stand between them
        [question] = session.messages.filter(pk__in=[question.parent])
    return Accepted(question, earlier.turn, repeated=True, branched=True)


def _do_refuse_while_busy(session: Session) -> None:
    if do_live_turn(session) is not None:
        raise Conflict("The agent is still working. Wait for it to end, or stop it first.", code="session_busy")
    _do_mend_links(session)


def _do_mend_links(session: Session) -> None:
    """Link what is shown as it stands.

    While an update is rolled out, processes that know no branches (of an earlier version) place messages without
    a parent, and delete answers that said nothing without a look at the head. People and models are shown messages
    by their places, so it is soon enough to mend the links before branches matter.
    """
    shown = list(_placed(session).shown().order_by("seq").values_list("pk", "parent"))
    before = [session.pk, *(pk for pk, _ in shown)]
    # The last one first: where it stood is free for the one that belongs there.
    for (pk, parent), right in reversed(list(zip(shown, before, strict=False))):
        if parent != right:
            session.messages.filter(pk=pk).update(parent=right)
    last = shown[-1][0] if shown else None
    if session.head != last:
        session.head = last
        Session.objects.filter(pk=session.pk).update(head=last)


def _do_hide_from(session: Session, seq: int, *, head: uuid.UUID | None) -> None:
    """Hide what is shown from this place on; ``head`` is the message before it, which the next one follows."""
    session.messages.filter(shown=True, seq__gte=seq).update(shown=False)
    session.head = head if head != session.pk else None
    session.rewrites += 1


def _do_keep_held(session: Session) -> None:
    """Move what is held behind what was placed just now: places follow the order of the numbers."""
    held = list(session.messages.queued())
    for message in held:
        session.messages.filter(pk=message.pk).update(number=do_next_number(session))
    if held:
        Session.objects.filter(pk=session.pk).update(accepted=session.accepted)


def _first_asked_with(session: Session, question: Message) -> int:
    """Return the place of the first of the shown messages that were answered together with ``question``."""
    assert question.seq is not None  # noqa: S101 - it was delivered
    shown = session.messages.shown().filter(seq__lte=question.seq)
    said = shown.filter(role=Message.Role.ASSISTANT).aggregate(seq=Max("seq"))["seq"] or 0
    asked_from = question.turn.settings.get("asked_from", question.seq) if question.turn else question.seq
    together = shown.filter(Q(turn=question.turn_id) | Q(seq__gte=asked_from), seq__gt=said)
    first: int = together.aggregate(seq=Min("seq"))["seq"]
    return first


def _still_offered(options: dict[str, Any]) -> dict[str, Any]:
    """Return what a message asked for; without its model if that is not offered any more."""
    try:
        if options.get("model"):
            check_model(options["model"])
    except UnknownModel:
        return {name: value for name, value in options.items() if name != "model"}
    return options
