"""The checker finds nothing in turns that asked people as they should, and something in each that did not."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import actions
from approvals.decisions import Wish
from approvals.models import Action, AuditEntry
from copilot.diagnostics import approval_rules
from copilot.diagnostics.invariants import check
from copilot.models import ToolCall, Turn
from copilot.turns.cancel import request_stop
from tests.approvals.waiting import (
    for_each,
    notes,
    overdue,
    run_open_calls,
    submit,
    turn_of,
    waiting,
)
from tests.diagnostics.conftest import manage, manage_failing
from tests.factories import hold

pytestmark = pytest.mark.django_db

SECRET = "ghp_" + "Zk3v9QmX7rT2bNw8LsY4cHd6JfG1pA5eUoIx"


def decided(*types: str) -> Action:
    """Return an action of two calls that was decided; its turn waits for a worker."""
    action = waiting(*notes(f"use {SECRET}", "two"))
    return submit(action, Wish(decisions=for_each(action, *types)))


def completed() -> Action:
    """Return one whose turn has run its first call, not the second, and ended."""
    action = decided("approve", "reject")
    holder = hold(turn_of(action))
    run_open_calls(holder)
    holder.answer()
    return action


def stopped() -> Action:
    """Return one whose turn was stopped while it waited."""
    action = waiting(*notes(f"use {SECRET}"))
    request_stop(user=action.user, session_id=action.session, turn_id=None, reason="stopped")
    return action


def expired() -> Action:
    """Return one that nobody decided."""
    action = waiting(*notes(f"use {SECRET}"))
    overdue(action)
    assert actions.expire(action.pk)
    return action


def answered() -> Action:
    """Return a question that was answered."""
    action = waiting(("ask_user", {"question": "Which one?"}))
    return submit(action, Wish(answer="this"))


def let_go_on() -> Action:
    """Return a question that nobody answered in its time, whose turn goes on."""
    action = waiting(("ask_user", {"question": "Which one?", "timeout_seconds": 5}))
    overdue(action)
    assert actions.expire(action.pk)
    return action


def edited() -> Action:
    """Return an action of two calls, of which one got a person's words for its result and one other arguments."""
    action = waiting(*notes("one", "two"))
    respond, edit = (
        for_each(action, "respond", text="No.")[0],
        for_each(action, "edit", arguments={"text": "x"})[1],
    )
    submit(action, Wish(decisions=[respond, edit]))
    run_open_calls(hold(turn_of(action)))
    return action


@pytest.mark.parametrize(
    "made",
    [
        waiting,
        lambda: decided("approve"),
        lambda: decided("reject"),
        edited,
        completed,
        stopped,
        expired,
        answered,
        let_go_on,
    ],
)
def test_what_the_engine_writes_about_approvals_breaks_no_rule(made: Callable[[], Action]) -> None:
    made()
    assert check() == []


# --- damage ---------------------------------------------------------------------------------


def calls(action: Action) -> Any:
    return ToolCall.objects.filter(turn=action.turn)


def rows(action: Action) -> Any:
    return Action.objects.filter(pk=action.pk)


def audit(action: Action) -> Any:
    return AuditEntry._base_manager.filter(action=action.pk)


def _lose_the_action(action: Action) -> None:
    rows(action).delete()


def _name_another(action: Action) -> None:
    Turn.objects.filter(pk=action.turn).update(action_id=uuid.uuid4())


def _resolve_behind_its_back(action: Action) -> None:
    rows(action).update(status="cancelled", resolved_at=timezone.now())


def _ask_again(action: Action) -> None:
    Action.objects.create(
        turn=action.turn,
        session=action.session,
        user=action.user,
        requests=action.requests,
        expires_at=action.expires_at + timedelta(hours=1),
    )


def _settle_a_call_that_waits(action: Action) -> None:
    calls(action).update(state="done", finished_at=timezone.now())


def _a_call_that_nobody_asked_about(action: Action) -> None:
    rows(action).update(requests=action.requests[:-1])


def _let_a_call_wait(action: Action) -> None:
    calls(action).filter(position=0).update(state="waiting", finished_at=None)


def _begin_what_was_rejected(action: Action) -> None:
    calls(action).filter(position=1).update(started_at=timezone.now())


def _forget_the_decision(action: Action) -> None:
    stored = rows(action).get().decisions
    rows(action).update(decisions=stored[1:])


def _decide_otherwise(action: Action) -> None:
    stored = rows(action).get().decisions
    rows(action).update(decisions=[stored[0] | {"type": "reject"}, *stored[1:]])


def _run_other_arguments(action: Action) -> None:
    calls(action).filter(position=0).update(sha256="0" * 64)


def _approve_by_hand(action: Action) -> None:
    calls(action).filter(position=1).update(state="approved", finished_at=None)


def _lose_an_audit_entry(action: Action) -> None:
    entry = audit(action).filter(event="decided").first()
    audit(action).filter(pk=entry.pk)._raw_delete("default")


def _audit_what_was_not_decided(action: Action) -> None:
    AuditEntry.objects.create(
        event="decided",
        user=action.user,
        surface="web",
        action=action.pk,
        turn=action.turn,
        tool_call=uuid.uuid4(),
    )


def _keep_a_seal(action: Action) -> None:
    calls(action).filter(position=0).update(sealed="something")


def _keep_a_sealed_output(action: Action) -> None:
    calls(action).filter(position=0).update(sealed_output="something")


def _let_its_time_pass(action: Action) -> None:
    rows(action).update(expires_at=F("created_at") - timedelta(seconds=approval_rules.LATE + 10))


def _lose_the_turn(action: Action) -> None:
    rows(action).update(turn=uuid.uuid4())


def _end_the_turn_alone(action: Action) -> None:
    Turn.objects.filter(pk=action.turn).update(
        status="cancelled", action_id=None, outcome="stopped", last_seq=1, finished_at=timezone.now()
    )


WAITING_TURNS = approval_rules.waiting_turns_have_their_action
WAITING_CALLS = approval_rules.waiting_calls_are_asked_about
AS_DECIDED = approval_rules.calls_run_as_they_were_decided
AUDITED = approval_rules.decisions_are_whole_and_audited
SEALED = approval_rules.sealed_values_are_forgotten


@pytest.mark.parametrize(
    ("made", "damage", "rule"),
    [
        (waiting, _lose_the_action, WAITING_TURNS),
        (waiting, _lose_the_action, WAITING_CALLS),
        (waiting, _name_another, WAITING_TURNS),
        (waiting, _resolve_behind_its_back, WAITING_TURNS),
        (completed, _ask_again, WAITING_TURNS),
        (completed, _ask_again, WAITING_CALLS),
        (waiting, _settle_a_call_that_waits, WAITING_CALLS),
        (waiting, _a_call_that_nobody_asked_about, WAITING_CALLS),
        (completed, _let_a_call_wait, WAITING_CALLS),
        (completed, _begin_what_was_rejected, AS_DECIDED),
        (completed, _forget_the_decision, AS_DECIDED),
        (completed, _decide_otherwise, AS_DECIDED),
        (completed, _run_other_arguments, AS_DECIDED),
        (lambda: decided("approve", "reject"), _approve_by_hand, AS_DECIDED),
        (lambda: decided("approve"), _lose_the_action, AS_DECIDED),
        (completed, _forget_the_decision, AUDITED),
        (completed, _lose_an_audit_entry, AUDITED),
        (answered, _lose_an_audit_entry, AUDITED),
        (completed, _audit_what_was_not_decided, AUDITED),
        (completed, _keep_a_seal, SEALED),
        (stopped, _keep_a_sealed_output, SEALED),
        (waiting, _let_its_time_pass, approval_rules.ended_in_time),
        (waiting, _lose_the_turn, approval_rules.asked_for_a_turn_that_waits),
        (waiting, _end_the_turn_alone, approval_rules.asked_for_a_turn_that_waits),
    ],
)
def test_damage_is_found(
    made: Callable[[], Action], damage: Callable[[Action], None], rule: Callable[..., Any]
) -> None:
    action = made()
    damage(action)
    found = {violation.rule: violation for violation in check()}
    assert rule.__name__ in found, found
    assert found[rule.__name__].id in (action.turn, *Action.objects.values_list("pk", flat=True))


def test_every_rule_is_tried() -> None:
    tried = {WAITING_TURNS, WAITING_CALLS, AS_DECIDED, AUDITED, SEALED}
    assert set(approval_rules.TURN_RULES) == tried
    assert len(approval_rules.ACTION_RULES) == 2


def test_what_cannot_be_read_is_found_too() -> None:
    action = waiting()
    rows(action).update(requests=["x"])
    assert any("cannot be read" in violation.sentence for violation in check([action.turn]))


def test_a_little_late_is_no_violation() -> None:
    action = waiting()
    overdue(action)
    assert check() == []


def test_the_command_names_the_approval() -> None:
    action = waiting()
    assert "rules hold" in manage("check_invariants")
    _let_its_time_pass(action)
    code, printed = manage_failing("check_invariants")
    assert code == 1
    assert f"ended_in_time: approval {action.pk}: is pending" in printed


def test_the_number_of_queries_does_not_grow_with_the_approvals() -> None:
    counts = []
    for _ in range(2):
        completed()
        waiting()
        with CaptureQueriesContext(connection) as queries:
            check()
        counts.append(len(queries))
    assert counts[0] == counts[1]
