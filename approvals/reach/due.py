"""Which decisions people have to be told of, and telling them, once each.

The guarded UPDATE right before telling decides: of all processes that found the same action one tells, and an
action that was decided, or whose person came back, while it waited for a thread is left alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef, Q, QuerySet

from approvals.models import Action, PushSubscription
from approvals.reach import mail, push
from approvals.reach.messenger import Messenger
from approvals.reach.presence import in_front
from common.db import db_now, seconds_ago, transact

#: Actions that one pass looks at.
BATCH = 200


def reach_due() -> int:
    """Have people told of what waits for them while no page of theirs is in front; return of how many actions.

    A person who can be told in no way is not looked at again for the same action.
    """
    if not (mail.is_on() or push.is_on()):
        return 0
    found = list(_due().order_by("created_at").values_list("pk", "user_id")[:BATCH])
    if not found:
        return 0
    reachable = _reachable({user_id for _, user_id in found})
    _give_up([pk for pk, user_id in found if user_id not in reachable])
    return sum(_messenger.hand_over(pk) for pk, user_id in found if user_id in reachable)


def finish_reaching(seconds: float) -> bool:
    """Wait until all that this process found is told; False when that took longer than ``seconds``."""
    return _messenger.drain(seconds)


def reach(action_id: uuid.UUID) -> bool:
    """Tell the person of one action, unless somebody did, it does not wait any more, or they are back."""
    action = _claim(action_id)
    if action is None:
        return False
    ways = [push.send_push(action), mail.send_mail(action)]
    return any(ways)


_messenger = Messenger(reach)


def _due() -> QuerySet[Action]:
    waiting = Action.objects.live().filter(reached_at__isnull=True)
    ripe = waiting.filter(created_at__lte=seconds_ago(settings.APPROVALS_REACH_SECONDS))
    return ripe.filter(~Exists(in_front().filter(pk=OuterRef("user"))))


@transact
def _claim(action_id: uuid.UUID) -> Action | None:
    """Return the action when it is for the caller to tell of."""
    if not _due().filter(pk=action_id).update(reached_at=db_now()):
        return None
    return Action.objects.with_time().select_related("user").get(pk=action_id)


def _reachable(user_ids: Iterable[Any]) -> set[Any]:
    ways = Q()
    if mail.is_on():
        ways |= ~Q(email="")
    if push.is_on():
        ways |= Q(Exists(PushSubscription.objects.filter(user=OuterRef("pk"))))
    people = get_user_model()._default_manager.filter(ways, pk__in=user_ids, is_active=True)
    return set(people.values_list("pk", flat=True))


def _give_up(action_ids: list[uuid.UUID]) -> None:
    if action_ids:
        Action.objects.pending().filter(pk__in=action_ids, reached_at__isnull=True).update(reached_at=db_now())
