"""What holds of turns that ask people, and of what people are asked, at every committed moment.

``TURN_RULES`` look at a turn with its calls and actions, ``ACTION_RULES`` at an action that is pending. Each rule
yields a sentence for each way it is broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings

from approvals.models import Action
from common.ages import end_of_keeping
from copilot.diagnostics.facts import ActionFacts, TurnFacts
from copilot.models import ToolCall, Turn

#: Seconds past its time after which somebody should have ended an action: the sweep looks each second.
LATE = 60.0
_ALLOWING = ("approve", "edit")


def waiting_turns_have_their_action(facts: TurnFacts) -> Iterator[str]:
    """A turn that waits has one pending action, the one that it names; another turn has none."""
    turn = facts.turn
    pending = [action.pk for action in facts.actions if action.status == Action.Status.PENDING]
    expected = [turn.action_id] if turn.status == Turn.Status.REQUIRES_ACTION else []
    if pending != expected:
        yield f"is {turn.status} and waits for {_named(expected)}, but pending is {_named(pending)}"


def waiting_calls_are_asked_about(facts: TurnFacts) -> Iterator[str]:
    """The calls that wait are those that the pending action asks about."""
    asked = {
        request["tool_call_id"]
        for action in facts.actions
        if action.status == Action.Status.PENDING
        for request in action.requests
    }
    waiting = {str(call.pk) for call in facts.calls if call.state == ToolCall.State.WAITING}
    for call_id in sorted(waiting - asked):
        yield f"call {call_id} waits for a decision that nobody is asked for"
    for call_id in sorted(asked - waiting):
        yield f"a decision about call {call_id} is asked for, but it does not wait"


def calls_run_as_they_were_decided(facts: TurnFacts) -> Iterator[str]:
    """A call that somebody was asked about began only if it was allowed, with the arguments that were allowed."""
    asked = {request["tool_call_id"] for action in facts.actions for request in action.requests}
    decided = {decision["tool_call_id"]: decision for decision in _decisions(facts)}
    for call in facts.calls:
        decision = decided.get(str(call.pk), {})
        began = call.started_at is not None
        if call.state != ToolCall.State.APPROVED and not (began and str(call.pk) in asked):
            continue
        what = "began" if began else "is approved"
        if decision.get("type") not in _ALLOWING:
            yield f"call {call.pk} ({call.name}) {what}, but its decision is {decision.get('type', 'none')}"
        elif decision["sha256"] != call.sha256:
            yield f"call {call.pk} ({call.name}) {what} with other arguments than were allowed"


def decisions_are_whole_and_audited(facts: TurnFacts) -> Iterator[str]:
    """A decided action has one decision for each call that it asks about, and an audit entry for each of them."""
    for action in facts.actions:
        if action.status != Action.Status.DECIDED:
            continue
        asked = Counter(request["tool_call_id"] for request in action.requests)
        decided = Counter(decision["tool_call_id"] for decision in action.decisions or ())
        if decided != asked:
            yield f"approval {action.pk} asks about {asked.total()} calls, but decides {decided.total()}"
        if _outlived_by_log(action):
            continue
        audited = Counter(str(call_id) for call_id in facts.audited.get(action.pk, ()))
        if audited != decided:
            yield f"approval {action.pk} has {audited.total()} audit entries for {decided.total()} decisions"


def _outlived_by_log(action: Action) -> bool:
    """Whether its entries may be gone by now: the log is kept for so many days, and their turn for longer."""
    end = end_of_keeping(settings.AUDIT_RETENTION_DAYS)
    return end is not None and action.resolved_at is not None and action.resolved_at < end


def sealed_values_are_forgotten(facts: TurnFacts) -> Iterator[str]:
    """Exact values are kept only as long as a model, a tool or a decision may need them."""
    if facts.turn.is_terminal and facts.sealed:
        yield f"is {facts.turn.status}, but {facts.sealed} of its calls still have sealed values"
    for action in facts.actions:
        if action.sealed and action.status != Action.Status.PENDING:
            yield f"approval {action.pk} is {action.status}, but still has sealed values"


def asked_for_a_turn_that_waits(facts: ActionFacts) -> Iterator[str]:
    """A turn waits for what is asked."""
    if facts.turn_status is None:
        yield f"is pending, but its turn {facts.action.turn} is gone"
    elif facts.turn_status != Turn.Status.REQUIRES_ACTION:
        yield f"is pending, but its turn {facts.action.turn} is {facts.turn_status}"


def ended_in_time(facts: ActionFacts) -> Iterator[str]:
    """Nothing is pending long after its time is over."""
    if facts.overdue > LATE:
        yield f"is pending {facts.overdue:.0f} seconds after its time is over: does the sweep run?"


def _decisions(facts: TurnFacts) -> Iterator[dict[str, Any]]:
    for action in facts.actions:
        yield from action.decisions or ()


def _named(ids: list[Any]) -> str:
    return ", ".join(map(str, ids)) or "nothing"


TURN_RULES: tuple[Callable[[TurnFacts], Iterator[str]], ...] = (
    waiting_turns_have_their_action,
    waiting_calls_are_asked_about,
    calls_run_as_they_were_decided,
    decisions_are_whole_and_audited,
    sealed_values_are_forgotten,
)
ACTION_RULES: tuple[Callable[[ActionFacts], Iterator[str]], ...] = (asked_for_a_turn_that_waits, ended_in_time)
