"""People who operate turns and people who must not, turns that are stuck, and guards that can be taken away."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission
from django.test import Client

from copilot.models import OperatorEntry, Session, Turn, User
from copilot.operators.permission import let_operate
from copilot.turns.leases import renew
from tests.factories import (
    Holder,
    backdate,
    expire_lease,
    make_running,
    make_session,
    make_turn,
    make_user,
)

#: Longer than a turn is queued on any server that works.
FOR_HOURS = timedelta(hours=30)


def make_operator(name: str = "") -> User:
    """Create a member of staff who may see and operate turns, and no more."""
    user = make_user(name)
    let_operate(user)
    user.user_permissions.add(*Permission.objects.filter(codename="view_turn"))
    return User.objects.get(pk=user.pk)


def make_onlooker() -> User:
    """Create a member of staff who may see turns."""
    user = make_user()
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename="view_turn"))
    return User.objects.get(pk=user.pk)


def logged_in(user: User) -> Client:
    """Return a browser in which somebody is logged in."""
    client = Client()
    client.force_login(user)
    return client


def make_orphan(session: Session | None = None) -> Holder:
    """Create a turn whose worker was not heard of for an hour, though it may come back."""
    holder = make_running(session)
    expire_lease(holder.claim.turn_id)
    return holder


def make_stuck(session: Session | None = None) -> Turn:
    """Create a turn that has been queued for ever."""
    turn = make_turn(session or make_session())
    backdate(turn, queued_at=FOR_HOURS)
    turn.refresh_from_db()
    return turn


def come_back(holder: Holder) -> int:
    """Renew a lease as the heartbeat of its worker does; return of how many turns it still was."""
    worker = holder.turn.worker
    live = [holder.claim.turn_id]
    return len(renew(worker, live=live, progressed=[], loop_lag_ms=0, stopping=False)) if worker else 0


def ids(*turns: Turn | Holder) -> list[uuid.UUID]:
    """Return the ids of turns."""
    return [turn.claim.turn_id if isinstance(turn, Holder) else turn.pk for turn in turns]


def acts() -> list[tuple[Any, ...]]:
    """Return what was recorded: who did what, to which category, and the two numbers."""
    fields = ("operator__username", "action", "category", "requested", "affected")
    return list(OperatorEntry.objects.order_by("pk").values_list(*fields))
