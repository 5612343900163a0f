"""The browsers in which a person wants to be told."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError
from django.utils.crypto import constant_time_compare

from approvals.models import PushSubscription
from approvals.reach import push, webpush
from common.db import transact
from common.errors import Invalid, NotFound, invalid
from common.ids import as_uuid
from common.outbound import OutboundError, check_url
from common.text import storable

#: Of one person; the oldest goes for the next one.
SUBSCRIPTIONS_MAX = 20
ENDPOINT_LENGTH_MAX = 2000


def subscribe(
    *, user: Any, endpoint: str, p256dh: str, auth: str, label: str = ""
) -> tuple[PushSubscription, bool]:
    """Have a browser told of what waits for ``user``, and nobody else; return it, and whether it is new to them.

    Raises:
        Invalid: push is not set up, the address is not one of a push service, or the keys are no keys.
    """
    if not push.is_on():
        raise Invalid("This server sends no notifications to browsers.")
    _check(endpoint, p256dh, auth)
    values = (user, endpoint, p256dh.rstrip("="), auth.rstrip("="), storable(label)[:200])
    try:
        return _store(*values)
    except IntegrityError:
        return _store(*values)  # somebody else took the browser at this moment: it is known now


@transact
def unsubscribe(*, user: Any, subscription_id: object) -> None:
    """Tell this browser nothing any more.

    Raises:
        NotFound: there is no such subscription, or it is not theirs.
    """
    wanted = as_uuid(subscription_id)
    if wanted is None or not PushSubscription.objects.visible_to(user).filter(pk=wanted).delete()[0]:
        raise NotFound


def _check(endpoint: str, p256dh: str, auth: str) -> None:
    try:
        check_url(endpoint, schemes=("https",))
    except OutboundError as error:
        raise invalid({"endpoint": str(error)}) from error
    try:
        webpush.Keys.read(p256dh, auth)
    except ValueError as error:
        raise invalid({"keys": "These are not the keys of a subscription."}) from error


@transact
def _store(user: Any, endpoint: str, p256dh: str, auth: str, label: str) -> tuple[PushSubscription, bool]:
    # One at a time for each person, or two could both find room for the last one.
    get_user_model()._default_manager.select_for_update(no_key=True).get(pk=user.pk)
    digest = hashlib.sha256(endpoint.encode()).hexdigest()
    known = _known(digest)
    if known is not None and known.user_id == user.pk:
        known.p256dh, known.auth, known.label, known.failures, known.last_error = p256dh, auth, label, 0, ""
        known.save()
        return known, False
    if known is not None:
        # Somebody else used this browser before. Only the browser itself knows the secret.
        if not constant_time_compare(known.auth, auth):
            raise invalid({"endpoint": "This subscription belongs to somebody else."})
        known.delete()
    made = PushSubscription.objects.create(
        user=user, endpoint=endpoint, digest=digest, p256dh=p256dh, auth=auth, label=label
    )
    PushSubscription.objects.visible_to(user).exclude(pk__in=_newest(user)).delete()
    return made, True


def _newest(user: Any) -> list[Any]:
    newest = PushSubscription.objects.visible_to(user).order_by("-created_at", "-pk")
    return list(newest.values_list("pk", flat=True)[:SUBSCRIPTIONS_MAX])


def _known(digest: str) -> PushSubscription | None:
    return PushSubscription.objects.select_for_update().filter(digest=digest).first()
