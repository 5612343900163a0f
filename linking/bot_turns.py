"""What is said in linked places: a thread there is a session of the link's owner, who pays for it.

Everybody in a linked server may write. The owner's own identity there stands for the owner. Everybody else is a
stranger, or, if the link allows it, somebody to whom the owner lends what is personal
(``copilot.turns.authority``).
"""

from __future__ import annotations

from dataclasses import dataclass

from common.db import transact
from common.errors import Busy, Forbidden
from common.usertext import check_user_text
from copilot.events.log import from_outside
from copilot.models import Message, Turn
from copilot.turns.rate import do_count_send
from copilot.turns.submit import Accepted, check_client_id, check_text, digest_of, do_accept
from linking.links import link_of
from linking.models import Bot, Link, ServerLink, UserLink
from linking.names import shown_name
from linking.threads import ThreadMoved, do_lock_thread

#: What a stranger is called of whom the bot does not tell the name.
SOMEBODY = "Somebody"
#: Characters of a name that are looked at; fewer are kept.
NAME_MAX = 1000
#: Tries of a message whose thread began or ended at the same moment.
_TRIES = 5


class NotLinked(Forbidden):
    """Nobody answers for what is said there."""

    code = "not_linked"
    default_detail = (
        "This is not linked to an account: ask for a link token (POST bot/link-tokens) and have it confirmed."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something is said, as the bot knows it.

    Attributes:
        kind: A server, or a person's private messages; the link of one is never the other's.
        platform_id: Of the server or the person.
        thread_id: Of the conversation there; may be empty.
    """

    bot: Bot
    kind: str
    platform_id: str
    thread_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """A message that was checked, as it is stored."""

    text: str
    client_id: str | None
    author: str
    standing: str


def send_to_thread(
    place: Place, *, text: str, platform_user_id: str = "", author: str = "", client_id: str | None = None
) -> Accepted:
    """Accept what somebody says in a linked place, exactly once per ``client_id`` and thread.

    The first message of a thread makes its session, once.

    Args:
        platform_user_id: of who says it; empty: a stranger, and in private messages the person themselves.
        author: what they are called.

    Raises:
        NotLinked: the place is not linked, or it is private and not theirs.
        Invalid, TooLarge, Conflict, RateLimited, Busy: as for any message (``submit_message``).
    """
    checked = check_text(text)
    check_client_id(client_id)
    name = shown_name(check_user_text(author, what="The name", most=NAME_MAX))
    for _ in range(_TRIES):
        link = link_of(bot=place.bot, kind=place.kind, platform_id=place.platform_id)
        if link is None:
            raise NotLinked
        standing = standing_of(link, platform_user_id)
        said = _Said(text=checked, client_id=client_id, author=name or _called(link, standing), standing=standing)
        try:
            return _accept(link, place.thread_id, said)
        except ThreadMoved:
            continue
    raise Busy


def standing_of(link: Link, platform_user_id: str) -> str:
    """Return how somebody on the platform stands to the owner of a link (``Message.Standing``).

    Raises:
        NotLinked: these are the private messages of somebody else.
    """
    if is_owner(link, platform_user_id):
        return Message.Standing.OWNER
    if isinstance(link, UserLink):
        if not platform_user_id:
            return Message.Standing.OWNER
        raise NotLinked("These private messages are linked to somebody else. Each person links their own.")
    return Message.Standing.GUEST if isinstance(link, ServerLink) and link.allows_personal else ""


def is_owner(link: Link, platform_user_id: str) -> bool:
    """Tell whether this identity on the platform is that of the link's owner."""
    is_the_linked = isinstance(link, UserLink) and platform_user_id == link.platform_id
    return is_the_linked or link.speaks_for_owner(platform_user_id)


def _called(link: Link, standing: str) -> str:
    """Return a name for somebody of whom none is told."""
    return link.asked_by_name if standing == Message.Standing.OWNER else SOMEBODY


@from_outside
@transact
def _accept(link: Link, thread_id: str, said: _Said) -> Accepted:
    session = do_lock_thread(link, thread_id)
    accepted = do_accept(
        session,
        text=said.text,
        client_id=said.client_id,
        options={},
        # Names change, and standings: a message that is sent again is the same all the same.
        digest=digest_of("bot", said.text),
        delivery=Message.Delivery.ASAP,
        origin=Turn.Origin.BOT,
        author=said.author,
        standing=said.standing,
    )
    if not accepted.repeated:
        # The last statement: all sessions of a person share that row.
        do_count_send(link.owner.pk, Turn.Origin.BOT)
    return accepted
