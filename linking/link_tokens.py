"""Link tokens: issued to a bot, confirmed by a person, made into a link.

A token is confirmed once, by a guarded UPDATE: whoever finds no row is told that it is over. It is consumed in the
transaction that makes the link, so none is ever burnt without one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from common.db import transact
from common.errors import Busy, Conflict, Gone, Invalid, NotFound
from copilot.models import User
from linking.keys import digest_of
from linking.links import is_linked, model_of
from linking.models import Bot, Link, LinkToken
from linking.models.links import LinkKind
from linking.models.tokens import WRONG_CODES_MAX
from linking.names import shown_name
from linking.notices import tell_owner

#: Dead tokens are kept this long, so that opening one explains itself.
_KEPT = timedelta(days=7)
#: How often a token is issued anew when others for the same target are issued at the same moment.
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be linked, as the bot knows it.

    Attributes:
        kind: A server, or a person's private messages.
        platform_id: Of the server or the person.
        platform_name: Theirs; may be empty.
        platform_user_id: Of the identity that asks; for a person it is the person.
        platform_user_name: Theirs; may be empty.
    """

    kind: str
    platform_id: str
    platform_name: str = ""
    platform_user_id: str = ""
    platform_user_name: str = ""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token and its code, which are stored nowhere."""

    token: str
    code: str
    expires_at: datetime


class TokenStatus(Enum):
    """What a token has come to, as its bot is told."""

    PENDING = "pending"
    LINKED = "linked"
    EXPIRED = "expired"


def code_digest_of(token: str, code: str) -> str:
    """Return the stored form of a token's code; without the token it cannot be found by trying all codes."""
    return digest_of(f"{token}:{code}")


# --- for bots -------------------------------------------------------------------------------


def issue_link_token(*, bot: Bot, target: Target) -> Issued:
    """Issue a token for what a bot wants linked. An earlier one for the same is worth nothing from then on.

    Raises:
        Conflict: ``already_linked``.
        Busy: others are issued for the same at this moment.
    """
    for _ in range(_TRIES):
        try:
            return _issue(bot, target)
        except IntegrityError:
            continue  # another became the newest meanwhile; it is superseded next time
    raise Busy("Other links for the same are being made at this moment. Try again.")


@transact
def _issue(bot: Bot, target: Target) -> Issued:
    if is_linked(bot=bot, kind=target.kind, platform_id=target.platform_id):
        raise already_linked()
    now = timezone.now()
    LinkToken.objects.filter(bot=bot, expires_at__lt=now - _KEPT).delete()
    same = LinkToken.objects.filter(bot=bot, kind=target.kind, platform_id=target.platform_id)
    same.open().update(superseded_at=now)
    token, code = secrets.token_urlsafe(32), f"{secrets.randbelow(10**6):06}"
    expires_at = now + timedelta(seconds=settings.LINK_TOKEN_SECONDS)
    LinkToken.objects.create(
        bot=bot,
        kind=target.kind,
        platform_id=target.platform_id,
        platform_name=shown_name(target.platform_name),
        platform_user_id=target.platform_user_id,
        platform_user_name=shown_name(target.platform_user_name),
        digest=digest_of(token),
        code_digest=code_digest_of(token, code),
        created_at=now,
        expires_at=expires_at,
    )
    return Issued(token, code, expires_at)


def status_of_token(*, bot: Bot, token: str) -> TokenStatus:
    """Return what has become of one of the bot's tokens. It is linked only while the link that it made is there.

    Raises:
        NotFound: unknown, or another bot's.
    """
    row = LinkToken.objects.filter(bot=bot, digest=digest_of(token)).first()
    if row is None:
        raise NotFound
    if row.link_id is not None:
        made = model_of(row.kind)._default_manager.filter(pk=row.link_id).exists()
        return TokenStatus.LINKED if made else TokenStatus.EXPIRED
    return TokenStatus.PENDING if why_over(row) is None else TokenStatus.EXPIRED


# --- for the person -------------------------------------------------------------------------


def already_linked() -> Conflict:
    """Return the error for a target that has an owner."""
    return Conflict(
        "This is linked to an account already. Its owner can remove the link under “Linked platforms”; so can an "
        "operator.",
        code="already_linked",
    )


def why_over(row: LinkToken) -> str | None:
    """Return why a token cannot be confirmed any more, in a sentence; None: it can."""
    if row.used_at is not None:
        return "This link was used already."
    if row.superseded_at is not None:
        return "There is a newer link than this one: only the newest can be used."
    if row.wrong_codes >= WRONG_CODES_MAX:
        return "The code was wrong too often; this link cannot be used any more. Ask the bot for a new one."
    if row.expires_at <= timezone.now():
        return "The time to use this link is over. Ask the bot for a new one."
    if row.bot.disabled_at is not None:
        return "The bot that made this link was switched off."
    return None


def look_at_link_token(token: str) -> LinkToken:
    """Return a token that can be confirmed, with its bot; changes nothing.

    Raises:
        NotFound: unknown.
        Gone: expired, used, replaced, burnt by wrong codes, or its bot is off.
        Conflict: ``already_linked``.
    """
    row = _ready(token)
    _refuse_if_linked(row)
    return row


def _refuse_if_linked(row: LinkToken) -> None:
    """Raise ``Conflict`` when the target has an owner, and ``Gone`` when it has one by this very token."""
    if not is_linked(bot=row.bot, kind=row.kind, platform_id=row.platform_id):
        return
    row.refresh_from_db(fields=["used_at", "superseded_at"])
    if why := why_over(row):
        raise Gone(why)
    raise already_linked()


def _ready(token: str) -> LinkToken:
    row = LinkToken.objects.select_related("bot").filter(digest=digest_of(token)).first()
    if row is None:
        raise NotFound("This link is not known. Check that it was copied whole, or ask the bot for a new one.")
    if why := why_over(row):
        raise Gone(why)
    return row


def confirm_link_token(*, user: User, token: str, kind: str, code: str) -> Link:
    """Link what a token stands for to ``user`` and return the link.

    A wrong kind burns nothing, a wrong code one of the five tries.

    Raises:
        NotFound, Gone, Conflict: as ``look_at_link_token``; also when somebody else was faster.
        Invalid: ``wrong_kind``, or ``invalid`` for a wrong code.
        Busy: something else happened with the target at this moment; nothing was used.
    """
    row = _ready(token)
    if kind != row.kind:
        raise Invalid(f"This is to link a {row.kind}: confirm it with the kind '{row.kind}'.", code="wrong_kind")
    _refuse_if_linked(row)
    if not constant_time_compare(row.code_digest, code_digest_of(token, code)):
        raise _note_wrong_code(row)
    try:
        return _make_link(row, user)
    except IntegrityError:
        _refuse_if_linked(row)  # another token's link was made meanwhile; nothing of this one's use is left
        raise Busy from None  # and removed again; what the database says names the target


@transact
def _note_wrong_code(row: LinkToken) -> Invalid | Gone:
    pending = LinkToken.objects.pending(timezone.now()).filter(pk=row.pk)
    if not pending.update(wrong_codes=F("wrong_codes") + 1):
        return Gone()
    row.refresh_from_db(fields=["wrong_codes"])
    left = WRONG_CODES_MAX - row.wrong_codes
    if not left:
        return Invalid("The code is wrong, for the last time: ask the bot for a new link.")
    return Invalid(f"The code is wrong. Look at the newest message of the bot; tries left: {left}.")


@transact
def _make_link(row: LinkToken, user: User) -> Link:
    now = timezone.now()
    link = model_of(row.kind)(
        bot=row.bot,
        platform_id=row.platform_id,
        platform_name=row.platform_name,
        owner=user,
        asked_by=row.platform_user_id,
        asked_by_name=row.platform_user_name,
    )
    pending = LinkToken.objects.pending(now).filter(pk=row.pk, bot__in=Bot.objects.live())
    if not pending.update(used_at=now, link_id=link.pk):
        raise Gone
    link.save(force_insert=True)
    transaction.on_commit(lambda: tell_owner(link.pk, LinkKind(row.kind)), robust=True)
    return link
