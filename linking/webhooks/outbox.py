"""Writing down what a bot is to be told, in the transaction in which it happens."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from approvals.objects import moment
from common.faults import reach
from common.ids import new_id
from copilot.turns.dispatch import send_hint
from linking.models import Webhook, WebhookDelivery

TASK = "linking.deliver_webhooks"


def do_record(bot_id: UUID, event: str, data: dict[str, Any]) -> None:
    """Have a bot told of ``event``, if it has a webhook; it is, if this transaction commits, at least once."""
    webhook = Webhook.objects.live().filter(bot=bot_id).values_list("pk", flat=True).first()
    if webhook is None:
        return
    delivery_id, now = new_id(), timezone.now()
    body = {"id": str(delivery_id), "type": event, "at": moment(now), "data": data}
    WebhookDelivery.objects.create(
        id=delivery_id,
        webhook_id=webhook,
        event=event,
        body=json.dumps(body, ensure_ascii=False, separators=(",", ":")),
    )
    transaction.on_commit(hint, robust=True)


def hint() -> None:
    """Tell the workers that something is due; when that is lost the sweep finds it."""
    reach("webhook_recorded")
    send_hint(TASK)
