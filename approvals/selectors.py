"""Reading actions, rules and the audit log, each only as far as it is somebody's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Max
from django.db.models.functions import Coalesce

from approvals.models import Action, AuditEntry, Rule
from approvals.models.action import ActionQuerySet
from approvals.models.audit import AuditQuerySet
from approvals.models.rule import RuleQuerySet
from approvals.signals import naming_sessions
from common.db import db_now
from common.errors import NotFound
from common.ids import as_uuid


def actions_of(user: Any, *, status: str = "") -> ActionQuerySet:
    """Return the actions of a person: pending ones that still wait, soonest end first; others newest first."""
    mine = Action.objects.visible_to(user).select_related("decided_by")
    if status == Action.Status.PENDING:
        return mine.live().order_by("expires_at", "pk")
    if status:
        mine = mine.filter(status=status)
    return mine.order_by("-created_at", "-pk")


def action_of(user: Any, action_id: object) -> Action:
    """Return one action of a person.

    Raises:
        NotFound: unknown, or somebody else's.
    """
    known = as_uuid(action_id)
    mine = Action.objects.visible_to(user).select_related("decided_by")
    found = mine.filter(pk=known).first() if known else None
    if found is None:
        raise NotFound
    return found


def waiting_count(user: Any) -> int:
    """Return how many decisions a person is asked for right now."""
    return Action.objects.visible_to(user).live().count()


def actions_of_turns(turn_ids: Iterable[uuid.UUID]) -> ActionQuerySet:
    """Return what people were asked in some turns, in the order in which they were; no check of whose they are."""
    return Action.objects.filter(turn__in=turn_ids).select_related("decided_by").order_by("created_at", "pk")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits for a person. Two that are alike in ``pending`` and ``newest`` are about the same actions."""

    pending: int
    newest: datetime | None
    #: When it was read, in microseconds on the database's clock: the larger one of two is newer.
    revision: int


def waiting_of(user: Any) -> Waiting:
    """Return how much waits for a person right now. One query."""
    found = (
        Action.objects.visible_to(user)
        .live()
        .aggregate(pending=Count("pk"), newest=Max("created_at"), at=Coalesce(Max(db_now()), db_now()))
    )
    revision = (found["at"] - _EPOCH) // timedelta(microseconds=1)
    return Waiting(pending=found["pending"], newest=found["newest"], revision=revision)


def rules_of(user: Any) -> RuleQuerySet:
    """Return what a person wants remembered, newest first."""
    return Rule.objects.visible_to(user).order_by("-created_at", "-id")


def log_of(user: Any) -> AuditQuerySet:
    """Return what became of what a person was asked, newest first."""
    return AuditEntry.objects.visible_to(user).order_by("-at", "-id")


def titles_of(user: Any, session_ids: Iterable[uuid.UUID | None]) -> dict[uuid.UUID, str]:
    """Return what sessions of a person are called, by id; those that are gone are left out. One query."""
    wanted = {each for each in session_ids if each is not None}
    if not wanted:
        return {}
    answers: list[tuple[Any, Any]] = naming_sessions.send(Action, user=user, session_ids=wanted)
    return {session_id: title for _, titles in answers for session_id, title in titles.items()}


def pending_action(action_id: uuid.UUID | None) -> Action | None:
    """Return the action that a turn waits for, while it can be decided."""
    return Action.objects.live().filter(pk=action_id).first() if action_id else None
