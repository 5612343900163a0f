"""The life of an action: opened once, and once decided, expired or cancelled.

Each transition is one transaction that begins with the locks of whoever owns the turn (``action_locking``), goes
on with one guarded UPDATE of the action, and then moves the turn (``signals``). So of any number of people, sweeps
and stops that act at once exactly one wins, and an action that is decided has a turn that goes on.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from approvals import audit
from approvals.decisions import SCOPES, CallDecision, Wish, check_wish, cleaned
from approvals.models import Action, AuditEntry, Rule
from approvals.objects import moment
from approvals.rules import remember
from approvals.signals import (
    StaleAction,
    action_cancelled,
    action_decided,
    action_expired,
    action_locking,
    action_opened,
)
from common.db import db_now, seconds_ago, transact
from common.errors import AppError, Busy, Conflict, NotFound
from common.faults import reach
from common.ids import as_uuid
from common.metrics import approvals_closed, decision_seconds
from common.redaction import redact_json, redact_text
from common.sealing import SealBroken, digest_of_arguments, seal

#: Overdue actions that one pass of the sweep ends.
BATCH = 200
#: Tries of a decision that met something which moved at the same time.
TRIES = 3


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One tool call that a person is asked about; ``arguments`` are the exact ones."""

    call_id: uuid.UUID
    tool: str
    arguments: dict[str, Any]
    schema: dict[str, Any]
    allowed: Sequence[str]
    description: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What the agent wants to know; ``seconds`` after which it goes on without, None: the ordinary window."""

    text: str
    options: Sequence[str] = ()
    seconds: float | None = None


@transact
def open_action(
    *,
    turn_id: uuid.UUID,
    session_id: uuid.UUID,
    user_id: uuid.UUID,
    requests: Sequence[CallRequest],
    scopes: Sequence[str] = SCOPES,
    question: Question | None = None,
) -> Action:
    """Ask ``user_id`` about some calls of a turn. Joins the transaction in which the turn pauses.

    What is stored and shown of the arguments is redacted; the digest is that of the exact ones.

    Args:
        scopes: for how long a decision may be remembered.
    """
    action_locking.send(Action, turn_id=turn_id)
    shown = {request.call_id: redact_json(request.arguments) for request in requests}
    hidden = {str(call): each.hidden for call, each in shown.items() if each.hidden}
    window = question.seconds if question and question.seconds else settings.APPROVALS_WINDOW_SECONDS
    action = Action(
        kind=Action.Kind.QUESTION if question else Action.Kind.TOOL_APPROVAL,
        user_id=user_id,
        session=session_id,
        turn=turn_id,
        requests=[_request(request, shown[request.call_id].shown) for request in requests],
        sealed=seal(hidden) if hidden else "",
        question=redact_text(question.text) if question else "",
        options=[redact_text(option) for option in question.options] if question else [],
        reason=next((request.reason for request in requests if request.reason), ""),
        scopes=["once"] if question else list(scopes),
        goes_on=bool(question and question.seconds),
        expires_at=seconds_ago(-window),
    )
    action.save(force_insert=True)
    action.refresh_from_db()
    action_opened.send(Action, action=action)
    return action


def _request(request: CallRequest, shown: Any) -> dict[str, Any]:
    asked = {
        "tool_call_id": str(request.call_id),
        "name": request.tool,
        "arguments": shown,
        "schema": request.schema,
        "allowed_decisions": list(request.allowed),
        "sha256": digest_of_arguments(request.arguments),
    }
    optional = {"description": request.description, "reason": request.reason}
    return asked | {name: text for name, text in optional.items() if text}


# --- deciding --------------------------------------------------------------------------------


def decide(*, user: Any, action_id: object, wish: Wish, surface: str) -> Action:
    """Carry out what ``user`` wants to happen to the calls of an action, once.

    The same person repeating the same decision gets the action as it was decided.

    Raises:
        NotFound: no such action of this person.
        Invalid: the decision is not complete or not allowed; nothing changed.
        Conflict: ``already_decided`` (otherwise, or by somebody else), ``expired``, or ``stale``. An action that
            turns out to be past its time is ended on the way.
        Busy: its turn moved each time it was tried; nothing was decided.
    """
    wish = cleaned(wish)
    for _ in range(TRIES):
        try:
            action, refusal = _decide(user, as_uuid(action_id), wish, surface)
        except StaleAction:
            continue  # nothing of it stands; what it met is looked at anew
        if refusal is not None:
            raise refusal
        return action
    raise Busy


@transact
def _decide(user: Any, action_id: uuid.UUID | None, wish: Wish, surface: str) -> tuple[Action, AppError | None]:
    """Return the refusal instead of raising it where what happened on the way must stand."""
    action = _locked(action_id, Action.objects.visible_to(user))
    if action is None:
        raise NotFound
    if action.status != Action.Status.PENDING:
        return action, _too_late(action, user, wish)
    if action.expires_at <= action.time:
        _do_expire(action)
        return action, _expired()
    try:
        decisions = check_wish(action, wish)
    except (SealBroken, LookupError, TypeError, ValueError):
        # Not readable as what was asked: nothing runs without a reviewed request.
        _do_cancel(action, reason="unreadable")
        return action, Conflict("What was asked here cannot be read any more; the turn was ended.", code="stale")
    _do_decide(action, user, wish, decisions, surface)
    return action, None


def _expired() -> AppError:
    return Conflict("The time to decide this is over. Send the message again to be asked anew.", code="expired")


def _too_late(action: Action, user: Any, wish: Wish) -> AppError | None:
    match action.status:
        case Action.Status.DECIDED if action.decided_by_id == user.pk and action.digest == wish.digest():
            return None
        case Action.Status.DECIDED:
            by = action.decided_by.get_username() if action.decided_by else ""
            at = moment(action.resolved_at) if action.resolved_at else None
            detail = f"This was decided already, by {by} ({action.surface})."
            return Conflict(detail, code="already_decided", decided_by=by, decided_at=at, surface=action.surface)
        case Action.Status.EXPIRED:
            return _expired()
    return Conflict("This is not waited for any more: its turn was stopped or has ended.", code="stale")


def _locked(action_id: uuid.UUID | None, actions: Any) -> Action | None:
    """Return the action as it is under the locks of its turn."""
    if action_id is None:
        return None
    turn_id = actions.filter(pk=action_id).values_list("turn", flat=True).first()
    if turn_id is None:
        return None
    action_locking.send(Action, turn_id=turn_id)
    found: Action | None = Action.objects.with_time().select_related("decided_by").filter(pk=action_id).first()
    return found


def _do_decide(action: Action, user: Any, wish: Wish, decisions: list[CallDecision], surface: str) -> None:
    _leave_pending(
        action,
        status=Action.Status.DECIDED,
        decided_by=user,
        surface=surface,
        scope=wish.scope,
        decisions=[decision.as_json() for decision in decisions],
        answer=decisions[0].said if action.kind == Action.Kind.QUESTION else "",
        digest=wish.digest(),
    )
    reach("decision_stored")
    audit.note_decided(action, decisions, actor=user.get_username())
    rules = [
        _remember(action, decision, user, wish.scope) for decision in decisions if _may_remember(decision, wish)
    ]
    action_decided.send(Action, action=action, decisions=decisions, rules=rules)


def _may_remember(decision: CallDecision, wish: Wish) -> bool:
    # Not what was edited: the call was not allowed as it was.
    return wish.scope != "once" and decision.type == "approve"


def _remember(action: Action, decision: CallDecision, user: Any, scope: str) -> Rule:
    request = action.request_of(decision.call_id) or {}
    return remember(
        user=user,
        session_id=action.session,
        scope=scope,
        tool=decision.tool,
        arguments=request.get("arguments") if decision.shown is None else decision.shown,
        pattern=decision.pattern,
        surface=action.surface,
        action_id=action.pk,
        turn_id=action.turn,
        tool_call_id=decision.call_id,
    )


def _leave_pending(action: Action, **changes: Any) -> None:
    """Make the one transition of an action; whoever comes second finds no row."""
    pending = Action.objects.pending().filter(pk=action.pk)
    if pending.update(**changes, resolved_at=db_now(), sealed="") != 1:
        raise StaleAction
    action.refresh_from_db()
    transaction.on_commit(lambda: _count(action), robust=True)


def _count(action: Action) -> None:
    approvals_closed.labels(action.kind, action.status).inc()
    if action.status == Action.Status.DECIDED and action.resolved_at:
        decision_seconds.labels(action.kind).observe((action.resolved_at - action.created_at).total_seconds())


# --- expiring and cancelling ------------------------------------------------------------------


def expire_overdue() -> list[uuid.UUID]:
    """Return actions that are past their time, the longest overdue first; for the sweep."""
    return list(Action.objects.overdue().order_by("expires_at").values_list("pk", flat=True)[:BATCH])


@transact
def expire(action_id: uuid.UUID, *, actor: str = "", surface: str = "") -> bool:
    """End this action if it is still pending and past its time; return whether it was.

    A turn that was decided and waits for another action meanwhile is not touched: that one has an id of its own.

    Args:
        actor: the name of somebody who does not want to wait for its time; empty: the server itself.
    """
    action = _locked(action_id, Action.objects.all() if actor else Action.objects.overdue())
    if action is None or action.status != Action.Status.PENDING:
        return False
    _do_expire(action, actor=actor, surface=surface)
    return True


def _do_expire(action: Action, *, actor: str = "", surface: str = "") -> None:
    _leave_pending(action, status=Action.Status.EXPIRED)
    audit.note_ended(action, event=AuditEntry.Event.EXPIRED, reason="", actor=actor, surface=surface)
    action_expired.send(Action, action=action)


@transact
def cancel(action_id: uuid.UUID, *, reason: str, actor: str = "", surface: str = "") -> bool:
    """End a pending action because its turn is to end for ``reason`` (an abort reason); return whether it was.

    Args:
        actor: the name of the person who stopped the turn; empty: the server itself.
    """
    action = _locked(action_id, Action.objects.all())
    if action is None or action.status != Action.Status.PENDING:
        return False
    _do_cancel(action, reason=reason, actor=actor, surface=surface)
    return True


def _do_cancel(action: Action, *, reason: str, actor: str = "", surface: str = "") -> None:
    _leave_pending(action, status=Action.Status.CANCELLED)
    audit.note_ended(action, event=AuditEntry.Event.CANCELLED, reason=reason, actor=actor, surface=surface)
    action_cancelled.send(Action, action=action, reason=reason)


def approved_digests(turn_id: uuid.UUID) -> dict[str, str]:
    """Return the digest of the arguments with which each approved call of a turn may run, by the call's id."""
    decided = Action.objects.filter(turn=turn_id, status=Action.Status.DECIDED).values_list("decisions", flat=True)
    return {
        decision["tool_call_id"]: decision["sha256"]
        for decisions in decided
        for decision in decisions or ()
        if decision["type"] in ("approve", "edit")
    }
