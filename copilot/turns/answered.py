"""What becomes of a turn that waits for a person: it goes on, or it ends. The engine's side of approvals.

Connected to the signals of ``approvals``, which sends them inside the transaction that decides.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from django.db.models import F

from approvals.decisions import CallDecision
from approvals.models import Action, Rule
from approvals.objects import action_object
from approvals.policy import Policy
from approvals.signals import (
    StaleAction,
    action_cancelled,
    action_decided,
    action_expired,
    action_locking,
    naming_sessions,
)
from common.db import db_now, seconds_ago
from common.faults import reach
from common.redaction import redact_text
from common.sealing import seal
from copilot.events import schema
from copilot.events.log import EventBatch, StaleTurn
from copilot.models import Session, ToolCall, Turn
from copilot.turns.begin import do_touch_session
from copilot.turns.dispatch import REDISPATCH_SECONDS, dispatch_on_commit
from copilot.turns.finish import cancelled, do_finish, failed
from copilot.turns.journal import journal
from copilot.turns.progress import sealed_beside

#: What a model reads instead of an answer that nobody gave.
BEST_JUDGEMENT = "Nobody answered. Use your best judgement and go on."
REFUSED = "The user refused this call."


def connect() -> None:
    """Listen to what happens to actions."""
    action_locking.connect(_lock, dispatch_uid="copilot")
    action_decided.connect(_decided, dispatch_uid="copilot")
    action_expired.connect(_expired, dispatch_uid="copilot")
    action_cancelled.connect(_cancelled, dispatch_uid="copilot")
    naming_sessions.connect(_titles, dispatch_uid="copilot")


def _lock(turn_id: uuid.UUID, **kwargs: Any) -> None:
    """Take the session's lock: it orders everything that happens to its turns."""
    _ = Session.objects.locked().filter(turns__pk=turn_id).first()


def _titles(user: Any, session_ids: Collection[uuid.UUID], **kwargs: Any) -> dict[uuid.UUID, str]:
    return dict(Session.objects.visible_to(user).filter(pk__in=session_ids).values_list("pk", "title"))


def _decided(action: Action, decisions: Sequence[CallDecision], rules: Sequence[Rule], **kwargs: Any) -> None:
    """Settle what needs no running, let the rest run, and queue the turn like any other."""
    session, turn = _waiting_for(action)
    batch = _news(action)
    for decision in decisions:
        _settle(batch, turn, decision)
    _go_on(session, turn, batch, rules=rules)


def _expired(action: Action, **kwargs: Any) -> None:
    """End the turn; after a question with a time limit it goes on without an answer."""
    session, turn = _waiting_for(action)
    batch = _news(action)
    if not action.goes_on:
        return _end(session, turn, batch, cancelled("approval_expired"))
    for call in ToolCall.objects.filter(turn=turn, state=ToolCall.State.WAITING):
        _answer(batch, turn, call.pk, BEST_JUDGEMENT)
    return _go_on(session, turn, batch)


def _cancelled(action: Action, reason: str, **kwargs: Any) -> None:
    """End the turn with what it came to."""
    session, turn = _waiting_for(action)
    ending = cancelled(reason)
    if reason == "unreadable":
        detail = "What was to be approved could not be read any more, so nothing of it ran."
        ending = failed("unknown", detail, hint="Send the message again.", retryable=True)
    _end(session, turn, _news(action), ending)


# --- steps of it -----------------------------------------------------------------------------


def _waiting_for(action: Action) -> tuple[Session, Turn]:
    """Return the turn that waits for this very action, under the session's lock.

    Raises:
        StaleAction: it does not.
    """
    waiting = Turn.objects.select_related("session").filter(
        pk=action.turn, action_id=action.pk, status=Turn.Status.REQUIRES_ACTION
    )
    turn = waiting.first()
    if turn is None:
        raise StaleAction
    return turn.session, turn


def _news(action: Action) -> EventBatch:
    """Begin a batch with the action as it is now, for whoever shows it."""
    batch = EventBatch.after_log(action.turn)
    batch.append(schema.data("approval-decided", {"approval": action_object(action)}))
    return batch


def _settle(batch: EventBatch, turn: Turn, decision: CallDecision) -> None:
    match decision.type:
        case "approve":
            _change(turn, decision.call_id, state=ToolCall.State.APPROVED)
        case "edit":
            _change(
                turn,
                decision.call_id,
                state=ToolCall.State.APPROVED,
                arguments=decision.shown,
                # Also where nothing is hidden: a database may give 1e16 back as another kind of number.
                sealed=seal(decision.arguments),
                sha256=decision.sha256,
            )
            batch.append(schema.tool_input_available(decision.call_id, decision.tool, decision.shown))
        case "reject":
            reason = decision.said or REFUSED
            _change(turn, decision.call_id, state=ToolCall.State.DENIED, error=reason, finished_at=db_now())
            batch.append(schema.tool_output_denied(decision.call_id, reason))
        case _:
            _answer(batch, turn, decision.call_id, decision.text)


def _answer(batch: EventBatch, turn: Turn, call_id: uuid.UUID, text: str) -> None:
    """Give a call a person's words for its result; the tool does not run."""
    shown = redact_text(text)
    _change(
        turn,
        call_id,
        state=ToolCall.State.DONE,
        output=shown,
        sealed_output=sealed_beside(shown, text),
        finished_at=db_now(),
    )
    batch.append(schema.tool_output_available(call_id, shown))


def _change(turn: Turn, call_id: uuid.UUID, **changes: Any) -> None:
    waiting = ToolCall.objects.filter(pk=call_id, turn=turn, state=ToolCall.State.WAITING)
    if waiting.update(**changes) != 1:
        raise StaleAction


def _go_on(session: Session, turn: Turn, batch: EventBatch, *, rules: Sequence[Rule] = ()) -> None:
    """Queue the turn: it waits for its place like any other, and its liveness counts from now."""
    changed = Turn.objects.filter(pk=turn.pk, fence=turn.fence, status=Turn.Status.REQUIRES_ACTION).update(
        status=Turn.Status.QUEUED,
        action_id=None,
        fence=F("fence") + 1,
        sealed_seq=batch.seq,
        queued_at=db_now(),
        progress_at=db_now(),
        not_before=None,
        redispatch_at=seconds_ago(-REDISPATCH_SECONDS),
        dispatches=0,
        settings={**turn.settings, "policy": _with_rules(turn, rules)},
    )
    if changed != 1:
        raise StaleAction
    _write(batch)
    journal(turn.pk, "decided", action=str(turn.action_id), seq=batch.seq)
    do_touch_session(session)
    dispatch_on_commit(turn.pk)
    reach("turn_goes_on")


def _with_rules(turn: Turn, rules: Sequence[Rule]) -> dict[str, Any]:
    """Return the turn's policy with what the person wants remembered: it counts for the turn's later calls."""
    policy = Policy.from_json(turn.settings.get("policy") or {})
    for rule in rules:
        policy = policy.with_rule(rule.tool, rule.pattern)
    return policy.as_json()


def _end(session: Session, turn: Turn, batch: EventBatch, ending: Any) -> None:
    do_finish(session, turn, batch, ending)
    _write(batch)


def _write(batch: EventBatch) -> None:
    try:
        batch.write()
    except StaleTurn as error:
        raise StaleAction from error
