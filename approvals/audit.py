"""Writing the audit log, in the transaction of what it tells."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db.models import Q

from approvals.decisions import CallDecision
from approvals.models import Action, AuditEntry
from common.ages import end_of_keeping, oldest_before
from common.db import transact

#: Who acts where nobody does.
SERVER = "server"


def note_decided(action: Action, decisions: Sequence[CallDecision], *, actor: str) -> None:
    """Write one entry for each call that ``actor`` decided."""
    AuditEntry.objects.bulk_create(
        AuditEntry(
            **_about(action),
            event=AuditEntry.Event.DECIDED,
            actor=actor,
            surface=action.surface,
            tool_call=decision.call_id,
            tool=decision.tool,
            decision="answer" if action.kind == Action.Kind.QUESTION else decision.type,
            scope=action.scope,
            text=decision.said,
            shown=request["arguments"],
            final=_final(decision, request),
            shown_sha256=request["sha256"],
            final_sha256=decision.sha256 if decision.type in ("approve", "edit") else "",
        )
        for decision in decisions
        if (request := action.request_of(decision.call_id)) is not None
    )


def _final(decision: CallDecision, request: dict[str, Any]) -> Any:
    return {"approve": request["arguments"], "edit": decision.shown}.get(decision.type)


def note_ended(action: Action, *, event: str, reason: str, actor: str, surface: str) -> None:
    """Write that an action ended without a decision."""
    AuditEntry.objects.create(**_about(action), event=event, actor=actor, surface=surface or SERVER, text=reason)


def _about(action: Action) -> dict[str, uuid.UUID | Any]:
    return {"user_id": action.user_id, "action": action.pk, "session": action.session, "turn": action.turn}


# --- the end of entries ---------------------------------------------------------------------------
#
# Entries are final to everybody else: these two go past the model's own refusal.


@transact
def forget_old(most: int) -> int:
    """Remove the oldest entries, at most so many, that are over ``AUDIT_RETENTION_DAYS`` old; return how many."""
    end = end_of_keeping(settings.AUDIT_RETENTION_DAYS)
    due = oldest_before(AuditEntry.objects.all(), end, moment="at", most=most)
    return AuditEntry._base_manager.filter(pk__in=due).delete()[0] if due else 0


@transact
def make_nobodys(user_id: uuid.UUID, name: str, most: int) -> int:
    """Keep of a person's entries, at most so many, only what was done and when; return of how many.

    Operators who acted on them, from wherever, stay named: that is what they answer for. Not the person, ``name``,
    where they were one themselves.
    """
    ids = list(AuditEntry.objects.filter(user=user_id).values_list("pk", flat=True)[:most])
    if not ids:
        return 0
    entries = AuditEntry._base_manager.filter(pk__in=ids)
    operated = Q(surface="admin") | Q(event=AuditEntry.Event.CANCELLED, text="operator")
    entries.filter(~operated | Q(actor=name)).update(actor="")
    nothing = {"text": "", "shown": None, "final": None, "shown_sha256": "", "final_sha256": ""}
    return entries.update(user=None, session=None, turn=None, **nothing)
