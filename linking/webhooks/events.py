"""What bots are told: turns of their threads that ended, decisions, and links that came or went.

Receivers run in the transactions of what they tell. They say ids and states, and nothing that was written: a bot
reads the rest with its key.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.signals import post_delete, post_save

from approvals.models import Action
from approvals.objects import moment
from approvals.signals import action_cancelled, action_decided, action_expired, action_opened
from copilot import worker
from copilot.models import Turn
from copilot.signals import sweeping, turn_ended
from linking.models import Bot, Link, ServerLink, UserLink, Webhook
from linking.webhooks import deliver
from linking.webhooks.outbox import do_record
from linking.webhooks.threads import Told, told_of

TURN_ENDED = "turn.ended"
APPROVAL_ASKED = "approval.asked"
APPROVAL_DECIDED = "approval.decided"
APPROVAL_EXPIRED = "approval.expired"
APPROVAL_CANCELLED = "approval.cancelled"
LINK_MADE = "link.made"
LINK_REMOVED = "link.removed"
EVENTS = (
    TURN_ENDED,
    APPROVAL_ASKED,
    APPROVAL_DECIDED,
    APPROVAL_EXPIRED,
    APPROVAL_CANCELLED,
    LINK_MADE,
    LINK_REMOVED,
)


def connect() -> None:
    """Begin to listen."""
    turn_ended.connect(_turn_ended, dispatch_uid="webhooks")
    action_opened.connect(_asked, dispatch_uid="webhooks")
    action_decided.connect(_decided, dispatch_uid="webhooks")
    action_expired.connect(_expired, dispatch_uid="webhooks")
    action_cancelled.connect(_cancelled, dispatch_uid="webhooks")
    for model in (ServerLink, UserLink):
        post_save.connect(_link_saved, sender=model, dispatch_uid="webhooks")
        post_delete.connect(_link_deleted, sender=model, dispatch_uid="webhooks")
    sweeping.connect(_sweep, dispatch_uid="webhooks")


# --- turns and approvals --------------------------------------------------------------------------


def _turn_ended(
    sender: object, *, turn: Turn, status: str, outcome: str, next_turn: UUID | None, **kwargs: Any
) -> None:
    if turn.origin != Turn.Origin.BOT:
        return
    told = told_of(turn.session_id)
    if told is None:
        return
    data = {"turn": str(turn.pk), "session": str(turn.session_id), "status": str(status), "outcome": outcome}
    if next_turn is not None:
        data["next_turn"] = str(next_turn)
    _record(told, TURN_ENDED, data)


def _asked(sender: object, *, action: Action, **kwargs: Any) -> None:
    _tell_of(action, APPROVAL_ASKED, expires_at=moment(action.expires_at))


def _decided(sender: object, *, action: Action, **kwargs: Any) -> None:
    _tell_of(action, APPROVAL_DECIDED)


def _expired(sender: object, *, action: Action, **kwargs: Any) -> None:
    _tell_of(action, APPROVAL_EXPIRED)


def _cancelled(sender: object, *, action: Action, **kwargs: Any) -> None:
    _tell_of(action, APPROVAL_CANCELLED)


def _tell_of(action: Action, event: str, **more: str) -> None:
    told = told_of(action.session)
    if told is None:
        return
    data = {
        "approval": str(action.pk),
        "kind": str(action.kind),
        "turn": str(action.turn),
        "session": str(action.session),
        "status": event.removeprefix("approval.").replace("asked", "pending"),
        **more,
    }
    _record(told, event, data)


def _record(told: Told, event: str, data: dict[str, Any]) -> None:
    do_record(told.bot_id, event, {**data, "thread": told.thread})


# --- links ----------------------------------------------------------------------------------------


def _link_saved(sender: object, *, instance: Link, created: bool, **kwargs: Any) -> None:
    if created:
        do_record(instance.bot_id, LINK_MADE, _link_data(instance))


def _link_deleted(sender: object, *, instance: Link, origin: Any = None, **kwargs: Any) -> None:
    gone = origin.model if isinstance(origin, QuerySet) else type(origin)
    if gone not in (Bot, Webhook):  # with its bot goes its webhook
        do_record(instance.bot_id, LINK_REMOVED, _link_data(instance))


def _link_data(link: Link) -> dict[str, Any]:
    data = {"link": str(link.pk), "kind": str(link.kind), "platform_id": link.platform_id}
    return data | ({"platform_user_id": link.asked_by} if link.asked_by else {})


# --- the sweep ------------------------------------------------------------------------------------


def _sweep(sender: object, *, rarely: bool, **kwargs: Any) -> int:
    if rarely:
        return deliver.forget_old()
    here = worker.current()
    if here is None or here.stopping or not deliver.is_due():
        return 0
    here.begin_beside(deliver.deliver_due)
    return 1
