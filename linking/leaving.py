"""What people leave behind here when they are deleted, and what is kept here for some time only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.db.models import Q

from common.ages import end_of_keeping, oldest_before
from common.db import transact
from common.errors import NotFound
from copilot.models import User
from linking.links import links_of, unlink
from linking.models import Link, LinkToken, LoginToken, PersonalKey, WebhookDelivery

#: How many days a link or a login that can no longer be confirmed is kept, so that opening it explains itself.
KEPT_DAYS = 7
BATCH = 1000


def delete_of_person(sender: object, *, user: User, **kwargs: Any) -> int:
    """Delete keys, login links and links of a person (a receiver of ``deleting``); return of how many rows.

    Bots are told of the links that go; no other word of the person stays for them.
    """
    links = links_of(user)
    removed = _delete_secrets(user) + (_delete_words_about(links) if links else 0)
    for link in links:
        with suppress(NotFound):  # whoever else deletes them was faster
            unlink(user=user, link_id=link.pk)
    return removed + len(links)


@transact
def _delete_secrets(user: User) -> int:
    keys, _ = PersonalKey.objects.filter(user=user).delete()
    logins, _ = LoginToken.objects.filter(user=user).delete()
    return keys + logins


@transact
def _delete_words_about(links: Sequence[Link]) -> int:
    """Delete what these links were made of, and what bots were told of the places; not what they are still to be
    told."""
    made_of, told = Q(), Q()
    for link in links:
        place = json.dumps(link.platform_id, ensure_ascii=False)
        made_of |= Q(bot=link.bot_id, kind=link.kind, platform_id=link.platform_id)
        told |= Q(webhook__bot=link.bot_id, body__contains=f'"platform_id":{place}')
    tokens, _ = LinkToken.objects.filter(made_of).delete()
    deliveries, _ = WebhookDelivery.objects.filter(told).exclude(state=WebhookDelivery.State.WAITING).delete()
    return tokens + deliveries


@transact
def forget_old_tokens(sender: object, *, rarely: bool, **kwargs: Any) -> int:
    """Remove some links and logins that ended long ago (a receiver of ``sweeping``); return how many."""
    if not rarely:
        return 0
    removed, end = 0, end_of_keeping(KEPT_DAYS)
    for model in (LinkToken, LoginToken):
        due = oldest_before(model._default_manager.all(), end, moment="expires_at", most=BATCH)
        removed += model._default_manager.filter(pk__in=due).delete()[0] if due else 0
    return removed
