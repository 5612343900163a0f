"""Accepting a message: it starts a turn, or it waits for the one that runs. Either way it is stored."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import CharField, Q, Value
from django.db.models.functions import Cast

from common.db import transact
from common.errors import Conflict, Invalid, NotFound, TooLarge
from common.ids import as_uuid
from common.prepared import insert, prepared
from common.text import storable, storable_json
from common.usertext import check_user_text
from copilot.events import publish
from copilot.events.log import from_outside
from copilot.files import check_attachments, do_attach
from copilot.models import Message, Session, Turn
from copilot.models.session import SessionQuerySet
from copilot.models.turn import live_turn_of
from copilot.people import is_time_zone
from copilot.providers.registry import UnknownModel, check_model
from copilot.turns.authority import is_owners
from copilot.turns.begin import do_begin_turn, do_new_message, do_touch_session
from copilot.turns.followups import due
from copilot.turns.rate import do_count_send
from copilot.turns.recover import do_take_over_if_orphaned

TEXT_MAX = 64_000
CLIENT_ID_MAX = 128
EFFORTS = ("none", "low", "medium", "high")
DELIVERIES = Message.Delivery.values


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a message.

    ``position`` (from 1) and ``waiting_for`` are set while it waits; ``repeated`` says that the same
    ``client_id`` had sent it before and this is its present state.
    """

    message: Message
    turn: Turn | None
    position: int | None = None
    delivery: str = "next"
    waiting_for: str = ""
    repeated: bool = False
    #: All messages that the new turn answers, this one last.
    answers: Sequence[Message] = ()
    #: There may be other branches where the message is.
    branched: bool = False

    @property
    def queued(self) -> bool:
        return self.message.state == Message.State.QUEUED


def submit_message(
    *,
    user: Any,
    session_id: object,
    text: str,
    client_id: str | None = None,
    model: str = "",
    effort: str = "",
    timezone: str = "",
    context: dict[str, Any] | None = None,
    delivery: str = "asap",
    attachments: Sequence[object] = (),
    origin: str = "web",
    only_idle: bool = False,
) -> Accepted:
    """Accept a message of ``user``, exactly once per ``client_id``.

    An idle session gets a turn that answers it, together with messages that were held before it. A busy one
    queues it, in typing order: for the running turn between two of its steps (``delivery`` asap), for the next
    turn (next), or for the running turn now, whose step is cut short (interrupt).

    Args:
        attachments: ids of files of ``user`` that belong to no other session.
        only_idle: refuse a message that a busy session would queue.

    Raises:
        Invalid: empty text, or a value that is not allowed (``unknown_model`` and others).
        TooLarge: over 64,000 characters.
        NotFound: no such session of this user.
        Conflict: ``queue_full``, ``client_id_reused`` for another message, or ``session_busy`` with ``only_idle``.
        UsageLimit: the session is idle, and the person has used as much as they may.
        RateLimited: a person sent too many lately; a repetition is not counted.
        Busy: the session's lock was not granted in time; nothing was stored.
    """
    options = {"model": model, "effort": effort, "timezone": timezone, "context": context or {}}
    stored = check_message(text, client_id, options, delivery)
    options = {key: storable_json(value) for key, value in options.items() if value}
    files = check_attachments(attachments)
    return _accept(
        user=user,
        session_id=as_uuid(session_id),
        text=stored,
        client_id=client_id,
        options=options,
        digest=digest_of(text, options, delivery, *map(str, files)),
        delivery=delivery,
        files=files,
        origin=origin,
        only_idle=only_idle,
    )


def check_text(text: object) -> str:
    """Return a message as it is stored.

    Raises:
        Invalid: it is empty, or refused (``refused_text``).
        TooLarge: over 64,000 characters.
    """
    if not isinstance(text, str) or not storable(text).strip():
        raise Invalid("The message is empty: write something first.", text="empty")
    return check_user_text(text, what="The message", most=TEXT_MAX, too_long=TooLarge)


def check_client_id(client_id: object) -> None:
    """Refuse (``Invalid``) a name that cannot be stored as it is."""
    known = isinstance(client_id, str) and 0 < len(client_id) <= CLIENT_ID_MAX and storable(client_id) == client_id
    if client_id is not None and not known:
        raise Invalid(f"client_id must be a text of 1 to {CLIENT_ID_MAX} characters.", client_id="invalid")


def check_wanted_model(model: str) -> None:
    """Refuse (``Invalid``, ``unknown_model``) a model that there is not; "" wants none."""
    try:
        if model:
            check_model(model)
    except UnknownModel as error:
        raise Invalid(str(error), code="unknown_model", model=model) from error


def check_message(text: object, client_id: object, options: dict[str, Any], delivery: str) -> str:
    """Refuse (``Invalid``, ``TooLarge``) what cannot be accepted; return the text as it is stored."""
    stored = check_text(text)
    check_client_id(client_id)
    if options["effort"] and options["effort"] not in EFFORTS:
        raise Invalid(f"effort must be one of {', '.join(EFFORTS)}.", effort="invalid")
    if delivery not in DELIVERIES:
        raise Invalid(f"delivery must be one of {', '.join(DELIVERIES)}.", delivery="invalid")
    if options["timezone"] and not is_time_zone(options["timezone"]):
        raise Invalid("timezone must be a name such as Europe/Berlin.", timezone="invalid")
    _check_context(options["context"])
    check_wanted_model(options["model"])
    return stored


def _check_context(context: Any) -> None:
    if not isinstance(context, dict) or not all(isinstance(value, str) for value in context.values()):
        raise Invalid("context must be an object with the texts url and content.", context="invalid")
    if unknown := set(context) - {"url", "content"}:
        raise Invalid(f"context has an unknown field: {sorted(unknown)[0]}.", code="unknown_field")
    if sum(map(len, context.values())) > TEXT_MAX:
        raise TooLarge(f"The page context has more than {TEXT_MAX:,} characters.")


def digest_of(*asked: Any) -> str:
    """Return a digest of what a request asked for, to tell a repetition from a reused ``client_id``."""
    body = json.dumps(asked, sort_keys=True)
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


_MESSAGE, _TURN = "message", "turn"


@prepared
def _in_the_way(session_id: Any, client_id: Any) -> Any:
    """Find messages that wait or were sent under this name, which they tell, and the turn that has not ended."""
    related = Q(state=Message.State.QUEUED) | Q(client_id=client_id)  # null is equal to none
    messages = Message.objects.filter(related, session_id=session_id)
    turns = Turn.objects.live().filter(session_id=session_id)
    no_name = Cast(Value(None), CharField())
    return messages.values_list(Value(_MESSAGE), "client_id").union(
        turns.values_list(Value(_TURN), no_name), all=True
    )


@from_outside
@transact
def _accept(
    *,
    user: Any,
    session_id: uuid.UUID | None,
    text: str,
    client_id: str | None,
    options: dict[str, Any],
    digest: str,
    delivery: str,
    files: Sequence[uuid.UUID],
    origin: str,
    only_idle: bool,
) -> Accepted:
    accepted = do_accept(
        do_lock_session(user, session_id),
        text=text,
        client_id=client_id,
        options=options,
        digest=digest,
        delivery=delivery,
        files=files,
        origin=origin,
        only_idle=only_idle,
    )
    if not accepted.repeated:
        do_count_send(user.pk, origin)  # the last statement: all sessions of a person share that row
    return accepted


def do_accept(
    session: Session,
    *,
    text: str,
    client_id: str | None,
    options: dict[str, Any],
    digest: str,
    delivery: str,
    origin: str,
    files: Sequence[uuid.UUID] = (),
    author: str = "",
    standing: str = "",
    only_idle: bool = False,
) -> Accepted:
    """Accept a message that was checked, under the session's lock; without counting it.

    Args:
        author: what a bot's platform calls who wrote it.
        standing: of a bot's message, how its writer stands to the session's owner (``Message.Standing``).

    Raises:
        Conflict: ``queue_full``, ``client_id_reused``, or ``session_busy`` with ``only_idle``.
        UsageLimit: a turn would begin, and the person has used as much as they may.
    """
    # One narrow look for all three: most messages are new, to a session where nothing runs and nothing waits.
    known = _in_the_way(session.pk, client_id)
    if client_id is not None and (_MESSAGE, client_id) in known:
        earlier = session.messages.select_related("turn").get(client_id=client_id)
        return do_find_earlier(session, earlier, digest)
    live = do_live_turn(session) if (_TURN, None) in known else None
    if live is not None and only_idle:
        raise Conflict("The agent is still working. Wait for it to end, or stop it first.", code="session_busy")
    waiting = list(session.messages.queued()) if any(kind == _MESSAGE for kind, _ in known) else []
    if live is not None and len(waiting) >= settings.PENDING_MAX:
        raise Conflict(
            f"{len(waiting)} messages are waiting already. Withdraw one, or wait for the answer.",
            code="queue_full",
        )
    if "timezone" not in options and is_owners(origin, standing) and (zone := session.wishes.time_zone):
        # Stored with the message, so that it is told the same in every later turn. Not the caller's: a socket
        # knows the person as they were when it was opened.
        options = {**options, "timezone": zone}
    message = do_new_message(
        session,
        text,
        do_attach(session, files) if files else (),
        origin=origin,
        author=author,
        standing=standing,
        client_id=client_id,
        delivery=delivery,
        request_digest=digest,
        options=options,
    )
    if live is not None:
        insert(message)
        do_touch_session(session)
        if delivery == Message.Delivery.INTERRUPT:
            _interrupt(live, message)
        return _queued(message, waiting, live)
    answers = [*waiting, message]
    return Accepted(message, do_begin_turn(session, answers, origin=origin), answers=answers)


def do_lock_session(user: Any, session_id: uuid.UUID | None) -> Session:
    """Take the lock of a session of ``user``: the first statement of each transition in it."""
    found = _locked_session_of(user.pk, session_id) if session_id else []
    if not found:
        raise NotFound
    return found[0]


@prepared
def _locked_session_of(user_id: Any, session_id: Any) -> SessionQuerySet:
    return Session.objects.visible_to(user_id).locked().filter(pk=session_id)


def do_live_turn(session: Session) -> Turn | None:
    """Return the session's live turn, taking it over first when its worker is gone. Under the lock."""
    turn = live_turn_of(session.pk)
    if turn is not None and do_take_over_if_orphaned(session, turn):
        turn = live_turn_of(session.pk)
    return turn


def waiting_for(turn: Turn | None, message: Message) -> str:
    """Say what a queued message waits for, ``turn`` being the live one."""
    if turn is None:
        return "limit" if message.held_until else "turn"
    return "approval" if turn.status == Turn.Status.REQUIRES_ACTION else "turn"


def do_find_earlier(session: Session, message: Message, digest: str) -> Accepted:
    """Return what became of a message that was sent under the same ``client_id``. Under the lock.

    Raises:
        Conflict: ``client_id_reused``: something else was asked for then.
    """
    if message.request_digest != digest:
        raise Conflict(
            "This client_id was used for another message. Use a new one for each message.", code="client_id_reused"
        )
    if message.state != Message.State.QUEUED:
        return Accepted(message, message.turn, repeated=True, branched=session.rewrites > 0)
    before = list(session.messages.queued().filter(number__lt=message.number))
    return _queued(message, before, live_turn_of(session.pk), repeated=True)


def _queued(message: Message, before: list[Message], live: Turn | None, *, repeated: bool = False) -> Accepted:
    """Say how a message that waits behind others is going to be delivered, as things are now."""
    into_turn = live is not None and live.stop_requested_at is None and message in due([*before, message])
    return Accepted(
        message,
        None,
        position=len(before) + 1,
        delivery=message.delivery if into_turn else Message.Delivery.NEXT,
        waiting_for=waiting_for(live, message),
        repeated=repeated,
    )


def _interrupt(turn: Turn, message: Message) -> None:
    """Have the running step cut short, durably: told after the commit, and again by each heartbeat.

    While the turn waits for a person nothing runs, and what is allowed later is not cut short by what came before.
    """
    if turn.status == Turn.Status.REQUIRES_ACTION:
        return
    Turn.objects.filter(pk=turn.pk).update(interrupt_id=message.id)
    transaction.on_commit(lambda: publish.interrupted(turn.id, message.id), robust=True)


@transact
def withdraw_queued(*, user: Any, session_id: object, message_id: object) -> None:
    """Take back a message that still waits.

    Raises:
        NotFound: no such message here.
        Conflict: ``already_delivered``.
    """
    session = do_lock_session(user, as_uuid(session_id))
    wanted = as_uuid(message_id)
    message = session.messages.filter(pk=wanted, role=Message.Role.USER).first() if wanted else None
    if message is None:
        raise NotFound
    if message.state != Message.State.QUEUED:
        raise Conflict("This message was delivered already.", code="already_delivered")
    message.delete()
    interrupting = session.messages.queued().filter(delivery=Message.Delivery.INTERRUPT, held=False).last()
    session.turns.filter(interrupt_id=wanted).update(interrupt_id=interrupting.pk if interrupting else None)
    do_touch_session(session)


@from_outside
@transact
def deliver_queued(*, user: Any, session_id: object, origin: str = "web") -> Accepted:
    """Send now what is held: one turn takes all of it, in typing order.

    Raises:
        Conflict: ``session_busy`` while a turn is live, ``stale`` when nothing is held.
        UsageLimit: the person has used as much as they may; it stays held.
    """
    session = do_lock_session(user, as_uuid(session_id))
    if do_live_turn(session) is not None:
        raise Conflict("The agent is still working; the messages are sent when it ends.", code="session_busy")
    waiting = list(session.messages.queued())
    if not waiting:
        raise Conflict("Nothing is waiting here.", code="stale")
    turn = do_begin_turn(session, waiting, origin=origin)
    return Accepted(waiting[-1], turn, answers=waiting)
