"""One-time login links.

A link is opened, shown a confirmation page, and used by that page's POST: previews in chat programs and mail
scanners follow links, and must not use them up.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from enum import Enum

from django.urls import reverse
from django.utils import timezone

from common.db import transact
from copilot.models import User
from linking.keys import digest_of
from linking.models import LoginToken

LIFETIME = timedelta(minutes=15)
#: Dead links are kept this long, so that opening one explains itself.
_KEPT = timedelta(days=7)


class LinkState(Enum):
    """What a link is worth right now."""

    READY = "ready"
    USED = "used"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@transact
def issue_login_link(*, user: User) -> str:
    """Return the path of a link that logs ``user`` in once, within 15 minutes."""
    now = timezone.now()
    LoginToken.objects.filter(user=user, expires_at__lt=now - _KEPT).delete()
    token = secrets.token_urlsafe(32)
    LoginToken.objects.create(user=user, digest=digest_of(token), created_at=now, expires_at=now + LIFETIME)
    return reverse("login-token", args=[token])


def look_at_link(token: str) -> tuple[LinkState, User | None]:
    """Return a link's state, and its user while it is ready; changes nothing."""
    row = LoginToken.objects.select_related("user").filter(digest=digest_of(token)).first()
    if row is None or not row.user.is_active:
        return LinkState.UNKNOWN, None
    if row.used_at is not None:
        return LinkState.USED, None
    if row.expires_at <= timezone.now():
        return LinkState.EXPIRED, None
    return LinkState.READY, row.user


@transact
def use_link(token: str) -> User | None:
    """Use a link up and return its user; None if it is not ready or somebody was faster.

    The one guarded UPDATE decides, so of two who confirm at once one is logged in. Its conditions are on its own
    row: a join would move them into a subquery, which PostgreSQL does not evaluate again for the one who waited.
    """
    now = timezone.now()
    ready = LoginToken.objects.filter(
        digest=digest_of(token),
        used_at__isnull=True,
        expires_at__gt=now,
        user__in=User.objects.filter(is_active=True),
    )
    if not ready.update(used_at=now):
        return None
    return User.objects.get(login_tokens__digest=digest_of(token))
