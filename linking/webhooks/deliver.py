"""Sending what bots are to be told, until it arrived.

A delivery is claimed by a guarded UPDATE that leaves its process some time; when the process is lost another one
sends it again, with the same id. Some coroutines a process send one after the other, and of one bot only a few at
once, so that an address which lets us wait delays nobody else.
"""

from __future__ import annotations

import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Count, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from common import outbound
from common.db import db, db_now, seconds_ago, transact
from common.faults import reach
from common.sealing import SealBroken, unseal
from linking.models import Webhook, WebhookDelivery
from linking.webhooks import signing

logger = logging.getLogger(__name__)

#: What one process sends at once, and what is sent to one bot by all of them.
AT_ONCE = 8
AT_ONCE_EACH = 2
#: Seconds that a claim leaves for a try, which takes ``outbound.TIMEOUT_SECONDS`` at most.
LEASE_SECONDS = 60.0
#: Seconds after the first failure, twice as long each time, up to the maximum; by chance up to half of it less.
RETRY_SECONDS = 5.0
RETRY_MAX = 3600.0
#: So many failures and it is given up: after about six hours.
FAILURES_MAX = 15
#: How long what is over can be looked at.
KEPT = {WebhookDelivery.State.DELIVERED: timedelta(days=3), WebhookDelivery.State.DEAD: timedelta(days=30)}
FORGOTTEN_AT_ONCE = 1000
#: The address says that nobody wants to be told any more.
GONE = 410
_LOOKED_AT = 10

_sending = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: what is sent, and as which try of its delivery."""

    delivery_id: UUID
    webhook_id: UUID
    number: int
    url: str
    body: bytes
    #: Newest first.
    secrets: tuple[str, ...]


async def deliver_due() -> None:
    """Send what is due, one after the other; does nothing when this process does enough of it already."""
    global _sending
    if _sending >= AT_ONCE:
        return
    _sending += 1
    try:
        while (attempt := await db(claim)) is not None:
            reach("webhook_claimed")
            status, error = await _send(attempt)
            await db(note, attempt, status, error)
    finally:
        _sending -= 1


async def _send(attempt: Attempt) -> tuple[int | None, str]:
    """Return the status of the answer, or what went wrong."""
    if not attempt.secrets:
        return None, "It cannot be signed: the secret cannot be read any more. Give the webhook a new one."
    headers = signing.headers(attempt.secrets, str(attempt.delivery_id), int(time.time()), attempt.body)
    try:
        local = settings.WEBHOOK_LOCAL_ADDRESSES
        return await outbound.post(attempt.url, attempt.body, headers, schemes=("https", "http"), local=local), ""
    except outbound.OutboundError as error:
        return None, str(error)


@transact
def claim() -> Attempt | None:
    """Return something to send that is nobody else's for ``LEASE_SECONDS``; None when nothing is due.

    The guard is on the row itself: each claim makes ``attempts`` grow, so of two that found it one gets it.
    """
    while rows := list(_due().order_by("next_at").values_list("pk", "attempts")[:_LOOKED_AT]):
        for delivery_id, attempts in rows:
            mine = WebhookDelivery.objects.waiting().filter(pk=delivery_id, attempts=attempts)
            if mine.update(attempts=attempts + 1, leased_until=seconds_ago(-LEASE_SECONDS)):
                return _attempt(delivery_id, attempts + 1)
    return None


def is_due() -> bool:
    """Tell whether there is anything to send."""
    return _due().exists()


def _due() -> QuerySet[WebhookDelivery]:
    same = WebhookDelivery.objects.in_flight().filter(webhook=OuterRef("webhook")).order_by()
    counted = same.values("webhook").annotate(count=Count("pk")).values("count")
    due = WebhookDelivery.objects.due().annotate(on_their_way=Coalesce(Subquery(counted), 0))
    return due.filter(on_their_way__lt=AT_ONCE_EACH)


def _attempt(delivery_id: UUID, number: int) -> Attempt:
    delivery = WebhookDelivery.objects.select_related("webhook").get(pk=delivery_id)
    webhook = delivery.webhook
    return Attempt(delivery_id, webhook.pk, number, webhook.url, delivery.body.encode(), _secrets_of(webhook))


def _secrets_of(webhook: Webhook) -> tuple[str, ...]:
    sealed = [webhook.sealed_secret]
    if webhook.previous_until and webhook.previous_until > timezone.now():
        sealed.append(webhook.sealed_previous)
    known = []
    for each in sealed:
        with suppress(SealBroken):
            known.append(unseal(each))
    return tuple(known)


@transact
def note(attempt: Attempt, status: int | None, error: str) -> None:
    """Write down how a try went; one whose delivery was claimed by somebody else meanwhile changes nothing."""
    mine = WebhookDelivery.objects.waiting().filter(pk=attempt.delivery_id, attempts=attempt.number)
    if status is not None and 200 <= status < 300:
        over = {"state": WebhookDelivery.State.DELIVERED, "finished_at": db_now(), "leased_until": None}
        mine.update(last_status=status, last_error="", **over)
        return
    if status == GONE:
        disable(attempt.webhook_id, f"The address answered {GONE}: it is gone.", url=attempt.url)
    error = error or f"The address answered {status}."
    if not mine.update(last_status=status, last_error=error[:200], failures=F("failures") + 1, leased_until=None):
        return
    failures = mine.values_list("failures", flat=True).get()
    about = {"delivery": attempt.delivery_id, "webhook": attempt.webhook_id, "status": status}
    logger.warning("webhook not delivered", extra={"action": "webhook_failed", "failures": failures, **about})
    if failures >= FAILURES_MAX or not Webhook.objects.filter(pk=attempt.webhook_id, disabled_at=None).exists():
        mine.update(state=WebhookDelivery.State.DEAD, finished_at=db_now())
    else:
        mine.update(next_at=seconds_ago(-wait_after(failures)))


def wait_after(failures: int) -> float:
    """Return for how many seconds nothing is tried after so many failures in a row, at least one."""
    longest: float = min(RETRY_SECONDS * 2 ** min(failures - 1, 20), RETRY_MAX)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - so that not all come at once


@transact
def disable(webhook_id: UUID, reason: str, *, url: str = "") -> bool:
    """Stop telling a webhook, and give up what it was still to be told; False when it is off already.

    Args:
        url: only while this is its address.
    """
    live = Webhook.objects.filter(pk=webhook_id, disabled_at__isnull=True)
    if not (live.filter(url=url) if url else live).update(disabled_at=db_now(), disabled_reason=reason[:100]):
        return False
    waiting = WebhookDelivery.objects.waiting().filter(webhook=webhook_id, leased_until__isnull=True)
    waiting.update(state=WebhookDelivery.State.DEAD, finished_at=db_now(), last_error=reason[:200])
    return True


@transact
def deliver_again(delivery_id: UUID) -> bool:
    """Set a delivery going once more that is over; False when it waits already."""
    over = WebhookDelivery.objects.filter(pk=delivery_id).exclude(state=WebhookDelivery.State.WAITING)
    fresh = {"next_at": db_now(), "failures": 0, "finished_at": None, "leased_until": None}
    return bool(over.update(state=WebhookDelivery.State.WAITING, **fresh))


@transact
def forget_old() -> int:
    """Remove some of what was over long ago; return how much."""
    removed = 0
    for state, kept in KEPT.items():
        old = WebhookDelivery.objects.filter(state=state, finished_at__lt=seconds_ago(kept.total_seconds()))
        ids = list(old.values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])
        removed += WebhookDelivery.objects.filter(pk__in=ids).delete()[0] if ids else 0
    return removed
