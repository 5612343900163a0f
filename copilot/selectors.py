"""Reads on behalf of a person: what is not theirs does not exist.

Every function answers with a constant number of queries, however long a session is.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import NotFound
from common.ids import as_uuid
from common.prepared import prepared
from copilot.models import Message, Session, Turn
from copilot.models.message import MessageQuerySet, queued_in
from copilot.models.session import SessionQuerySet
from copilot.models.turn import live_turn_of

PAGE = 50


def session_of(user: Any, session_id: object) -> Session:
    """Return the session; NotFound when it is unknown, somebody else's or not an id at all."""
    found = _session_of(user.pk, _id(session_id))
    if not found:
        raise NotFound("There is no such session.")
    return found[0]


@prepared
def _session_of(user_id: Any, session_id: Any) -> SessionQuerySet:
    return Session.objects.visible_to(user_id).filter(pk=session_id)


def sessions_of(user: object, *, search: str = "", archived: bool = False) -> SessionQuerySet:
    """Return the person's sessions, newest activity first, without temporary ones and those that agents started.

    Args:
        search: only those whose title contains this, whatever the case.
        archived: the archived ones instead of the others.
    """
    sessions = Session.objects.visible_to(user).filter(temporary=False, archived=archived, parent__isnull=True)
    if search:
        sessions = sessions.filter(title__icontains=search)
    return sessions.order_by("-updated_at", "-id")


def turn_of(user: object, turn_id: object) -> Turn:
    """Return the turn; NotFound when it is unknown, somebody else's or not an id at all."""
    turn = Turn.objects.visible_to(user).filter(id=_id(turn_id)).first()
    if turn is None:
        raise NotFound("There is no such turn.")
    return turn


def message_of(user: object, message_id: object) -> Message:
    """Return the message, settled or queued, shown or not; NotFound as above, and for an answer that is being
    written."""
    message = (
        Message.objects.filter(session__in=Session.objects.visible_to(user), id=_id(message_id))
        .exclude(state=Message.State.OPEN)
        .first()
    )
    if message is None:
        raise NotFound("There is no such message.")
    return message


def active_turn(session: Session) -> Turn | None:
    """Return the session's turn that has not ended, if there is one."""
    return live_turn_of(session.pk)


def live_status(session: Session) -> str | None:
    """Return how far the session's live turn is, if there is one."""
    turn = active_turn(session)
    return turn.status if turn else None


def queued_of(session: Session) -> list[Message]:
    """Return the messages that wait for delivery, in typing order."""
    return queued_in(session.pk)


def position_of(message: Message) -> int:
    """Return a queued message's place among those that wait, from 1."""
    ahead = Message.objects.filter(session_id=message.session_id, number__lt=message.number)
    return ahead.queued().count() + 1


@dataclass(frozen=True, slots=True)
class Branch:
    """A message's place among those that were said instead of each other: ``siblings``, oldest first."""

    index: int
    siblings: Sequence[uuid.UUID]

    @property
    def count(self) -> int:
        """How many branches begin here."""
        return len(self.siblings)


Branches = Mapping[uuid.UUID, Branch]


def branches_of(messages: Iterable[Message]) -> Branches:
    """Return, by id, the branches of those messages that are not the only one in their place."""
    known = [message for message in messages if message.parent]
    there = Message.objects.settled().filter(parent__in={message.parent for message in known})
    # Two looks, each by an index of its own; the second only for what is not shown itself.
    found = [*known, *there.filter(shown=False).only("parent", "seq")]
    if not all(message.shown for message in known):
        found += there.filter(shown=True).only("parent", "seq")
    places: dict[uuid.UUID | None, dict[int, uuid.UUID]] = defaultdict(dict)
    for message in found:
        places[message.parent][message.seq or 0] = message.pk
    siblings = {parent: [rows[seq] for seq in sorted(rows)] for parent, rows in places.items() if len(rows) > 1}
    there_is_more = [message for message in known if message.parent in siblings]
    return {
        message.pk: Branch(siblings[message.parent].index(message.pk), siblings[message.parent])
        for message in there_is_more
    }


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Settled messages, oldest first, whether there are more on either side, and where other branches begin."""

    messages: list[Message]
    has_older: bool
    has_newer: bool
    branches: Branches


def messages_page(
    session: Session, *, before: int | None = None, after: int | None = None, limit: int = PAGE
) -> MessagePage:
    """Return a page of the transcript: the newest messages, those before a ``seq`` or those after one.

    With both bounds: the first messages after ``after`` that come before ``before``. One query for the page,
    at most one more to learn whether something lies beyond a bound that was given, and one for the branches of a
    session that has some.
    """
    settled = Message.objects.filter(session=session).settled().shown()
    inside = settled
    if before is not None:
        inside = inside.filter(seq__lt=before)
    if after is not None:
        inside = inside.filter(seq__gt=after)
    forward = after is not None
    rows = list(inside.order_by("seq" if forward else "-seq")[: limit + 1])
    more, rows = len(rows) > limit, rows[:limit]
    if forward:
        has_older, has_newer = settled.filter(seq__lte=after).exists(), more or _any_from(settled, before)
    else:
        rows.reverse()
        has_older, has_newer = more, _any_from(settled, before)
    branches = branches_of(rows) if session.rewrites and rows else {}
    return MessagePage(rows, has_older=has_older, has_newer=has_newer, branches=branches)


def _any_from(settled: MessageQuerySet, seq: int | None) -> bool:
    return seq is not None and settled.filter(seq__gte=seq).exists()


def _id(value: object) -> uuid.UUID:
    known = as_uuid(value)
    if known is None:
        raise NotFound
    return known
