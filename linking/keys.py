"""Personal keys: issue, revoke, recognise."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from common.auth import SCOPES, Caller
from common.db import transact
from common.errors import Busy, Forbidden, Invalid, NotFound
from common.prepared import prepared
from copilot.models import User
from linking.models import BotKey, PersonalKey

DEFAULT_SCOPES = ("chat", "approve")
_PREFIX = "hf_"
_LONGEST = 100
_LABEL_CHARACTERS = 100
#: ``last_used_at`` is right to the minute; a write on each request would make reading cost a write.
_LAST_USED_EVERY = timedelta(minutes=1)


def digest_of(secret: str) -> str:
    """Return the stored form of a secret. No salt and no slow hash: 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def checked_scopes(scopes: Iterable[str]) -> list[str]:
    """Return ``scopes`` without doubles, in their usual order.

    Raises:
        Invalid: one is unknown, or there is none.
    """
    wanted = set(scopes)
    if unknown := sorted(wanted - set(SCOPES)):
        raise Invalid(f"Unknown scope '{unknown[0]}'. Use some of: {', '.join(SCOPES)}.")
    if not wanted:
        raise Invalid(f"A key needs at least one scope. Use some of: {', '.join(SCOPES)}.")
    return [scope for scope in SCOPES if scope in wanted]


@transact
def issue_key(*, user: User, label: str = "", scopes: Iterable[str] = DEFAULT_SCOPES) -> tuple[PersonalKey, str]:
    """Create a key and return it with its secret, which is shown once and stored nowhere.

    Raises:
        Invalid: an unknown scope, no scope, or a label over 100 characters.
        Forbidden: ``operator`` for somebody who is not staff.
    """
    wanted = checked_scopes(scopes)
    if "operator" in wanted and not user.is_staff:
        raise Forbidden("Only members of staff may hold the scope 'operator'.", code="scope")
    if len(label) > _LABEL_CHARACTERS:
        raise Invalid(f"label: at most {_LABEL_CHARACTERS} characters.")
    secret = _PREFIX + secrets.token_urlsafe(32)
    key = PersonalKey.objects.create(
        user=user, label=label, scopes=wanted, prefix=secret[:8], digest=digest_of(secret)
    )
    return key, secret


def issue_key_as(
    *, caller: Caller, label: str = "", scopes: Iterable[str] | None = None
) -> tuple[PersonalKey, str]:
    """Create a key for the caller that can do no more than what the caller was recognised by.

    Without ``scopes`` it gets the default ones that the caller has.

    Raises:
        Invalid: as ``issue_key``.
        Forbidden: a scope that the caller does not have.
    """
    allowed = [scope for scope in DEFAULT_SCOPES if caller.may(scope)]
    wanted = allowed if scopes is None else checked_scopes(scopes)
    for scope in wanted:
        if not caller.may(scope):
            raise Forbidden(f"A key with the scope '{scope}' can be made only by one who has it.", code="scope")
    return issue_key(user=caller.user, label=label, scopes=wanted)


@transact
def revoke_key(*, user: User, key_id: UUID) -> None:
    """Make a key of ``user`` useless at once; open sockets close at their next check.

    Raises:
        NotFound: unknown, somebody else's, or revoked before.
    """
    mine = PersonalKey.objects.visible_to(user).live().filter(pk=key_id)
    if not mine.update(revoked_at=timezone.now()):
        raise NotFound


def authenticate_key(secret: str) -> tuple[User, frozenset[str], UUID] | None:
    """Return ``(user, scopes, key id)`` of a live key of an active user, else None. One query."""
    if not secret.startswith(_PREFIX) or len(secret) > _LONGEST:
        return None
    found = _live_key(digest_of(secret))
    if not found:
        return None
    key = found[0]
    note_use(key)
    return key.user, frozenset(key.scopes), key.pk


@prepared
def _live_key(digest: Any) -> QuerySet[PersonalKey]:
    live = PersonalKey.objects.live().select_related("user")
    return live.filter(digest=digest, user__is_active=True)


def note_use(key: PersonalKey | BotKey) -> None:
    """Write ``last_used_at`` unless it was written within the last minute; never fail a request for it."""
    now = timezone.now()
    if key.last_used_at is not None and key.last_used_at > now - _LAST_USED_EVERY:
        return
    with suppress(Busy):  # the next request writes it
        _write_last_used(key)


@transact
def _write_last_used(key: PersonalKey | BotKey) -> None:
    now = timezone.now()
    due = Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - _LAST_USED_EVERY)
    type(key)._default_manager.filter(due, pk=key.pk).update(last_used_at=now)
