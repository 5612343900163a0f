"""Telling people in their browsers, open or not."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable

from django.conf import settings
from django.db.models import F

from approvals.models import Action, PushSubscription
from approvals.reach import webpush, words
from common import outbound
from common.db import release_connections

logger = logging.getLogger(__name__)

#: After so many failures in a row a browser is given up.
FAILURES_MAX = 10
#: Push services keep nothing longer.
KEPT_SECONDS_MAX = 28 * 86400
#: The push service knows that the browser is gone.
_GONE = frozenset({404, 410})

#: What carries a message to a push service and returns its status.
post = outbound.post


def is_on() -> bool:
    """Whether browsers can be told at all."""
    return bool(settings.VAPID_PRIVATE_KEY)


def send_push(action: Action) -> bool:
    """Tell all browsers of the person whose action it is; whether any took the message."""
    if not (is_on() and action.user.is_active):
        return False
    subscriptions = list(PushSubscription.objects.visible_to(action.user))
    if not subscriptions:
        return False
    release_connections()
    problems = asyncio.run(_send_all(subscriptions, action))
    for subscription, problem in zip(subscriptions, problems, strict=True):
        _note(subscription, problem)
    return None in problems


def payload(action: Action) -> bytes:
    """Return what the browser is told. The address is a path: a browser opens nothing but its own server's."""
    told = {
        "title": words.title(action),
        "body": words.summary(action),
        "url": words.path(action),
        "tag": str(action.pk),
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


async def _send_all(subscriptions: Iterable[PushSubscription], action: Action) -> list[str | None]:
    """Return what went wrong with each; None: nothing."""
    message, ttl = payload(action), min(words.seconds_left(action), KEPT_SECONDS_MAX)
    return await asyncio.gather(*(_send(each, message, ttl, action.pk.hex) for each in subscriptions))


async def _send(subscription: PushSubscription, message: bytes, ttl: int, topic: str) -> str | None:
    try:
        keys = webpush.Keys.read(subscription.p256dh, subscription.auth)
        headers = {
            "Authorization": webpush.authorization(subscription.endpoint),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(ttl),
            "Topic": topic,
            "Urgency": "high",
        }
        status = await post(subscription.endpoint, webpush.encrypt(message, keys), headers)
    except (outbound.OutboundError, ValueError) as error:
        return str(error)
    if 200 <= status < 300:
        return None
    return "gone" if status in _GONE else f"status {status}"


def _note(subscription: PushSubscription, problem: str | None) -> None:
    row = PushSubscription.objects.filter(pk=subscription.pk)
    if problem is None:
        if subscription.failures:
            row.update(failures=0, last_error="")
        return
    logger.warning("push not sent", extra={"action": "push_failed", "subscription": subscription.pk})
    if problem == "gone" or subscription.failures + 1 >= FAILURES_MAX:
        row.delete()
    else:
        row.update(failures=F("failures") + 1, last_error=problem[:200])
