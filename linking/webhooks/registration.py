"""A bot's webhook: set, changed, given a new secret, removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from common.db import transact
from common.errors import Busy, NotFound, invalid
from common.outbound import OutboundError, check_url
from common.sealing import seal
from linking.models import Bot, Webhook
from linking.models.webhooks import URL_MAX
from linking.webhooks.signing import new_secret

#: How long is signed with the secret before too, after there is a new one.
OVERLAP = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Registered:
    """A webhook as it was set; ``secret`` where it is new, which is shown this once."""

    webhook: Webhook
    secret: str | None
    is_new: bool


def webhook_of(bot: Bot) -> Webhook:
    """Return the webhook of a bot.

    Raises:
        NotFound: it has none.
    """
    webhook = Webhook.objects.filter(bot=bot).first()
    if webhook is None:
        raise NotFound("This bot has no webhook. Set one with PUT.")
    return webhook


def set_webhook(*, bot: Bot, url: str, rotate_secret: bool = False) -> Registered:
    """Have a bot told at ``url`` from now on, also if its webhook was switched off.

    Args:
        rotate_secret: sign with a new secret; for ``OVERLAP`` with the one before too.

    Raises:
        Invalid: the address cannot be one that is told.
    """
    url = _checked(url)
    try:
        return _set(bot, url, rotate_secret)
    except IntegrityError:
        return _set(bot, url, rotate_secret)  # somebody else made it at this moment: now it is there


def _checked(url: str) -> str:
    if len(url) > URL_MAX:
        raise invalid({"url": f"At most {URL_MAX:,} characters."})
    try:
        check_url(url, schemes=("https", "http"), local=settings.WEBHOOK_LOCAL_ADDRESSES)
    except OutboundError as error:
        raise invalid({"url": str(error)}) from error
    return url


@transact
def _set(bot: Bot, url: str, rotate_secret: bool) -> Registered:
    secret: str | None = new_secret()
    webhook = Webhook.objects.filter(bot=bot).first()
    if webhook is None:
        webhook = Webhook.objects.create(bot=bot, url=url, sealed_secret=seal(secret))
        webhook.refresh_from_db()
        return Registered(webhook, secret, is_new=True)
    on: dict[str, Any] = {"url": url, "disabled_at": None, "disabled_reason": ""}
    same = Webhook.objects.filter(pk=webhook.pk, sealed_secret=webhook.sealed_secret)
    if not rotate_secret:
        secret = None
    else:
        on |= {
            "sealed_secret": seal(secret),
            "sealed_previous": webhook.sealed_secret,
            "previous_until": timezone.now() + OVERLAP,
        }
    if not same.update(**on):
        raise Busy("The webhook is being changed at this moment. Try again.")
    webhook.refresh_from_db()
    return Registered(webhook, secret, is_new=False)


@transact
def remove_webhook(*, bot: Bot) -> None:
    """Tell a bot nothing any more; what it was still to be told is forgotten.

    Raises:
        NotFound: it has none.
    """
    if not Webhook.objects.filter(bot=bot).delete()[0]:
        raise NotFound("This bot has no webhook.")
