"""Two at once about one action: exactly one of them moves it, and the turn goes the same way.

The interleaving is forced, and each race is run with its guard taken away too: then it must go wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.dispatch import Signal

from approvals import actions, audit
from approvals.decisions import Wish
from approvals.models import Action, AuditEntry
from approvals.models.action import ActionQuerySet
from common.errors import AppError, Busy, Conflict
from copilot.events.log import StaleTurn, last_seq
from copilot.models import Turn
from copilot.turns import pause as pausing
from copilot.turns.cancel import request_stop
from copilot.turns.finish import completed
from copilot.turns.progress import StopRequested
from copilot.turns.recover import take_over
from tests.approvals.waiting import (
    calls_of,
    for_each,
    notes,
    overdue,
    pause_again,
    pause_at,
    run_open_calls,
    step_of,
    submit,
    turn_of,
    waiting,
)
from tests.factories import Holder, expire_lease, hold, journal_of, make_running
from tests.turns.racing import Between, guarded, race, terminal_events

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = pytest.mark.parametrize("round_", range(4))


def approve(action: Action) -> Callable[[], Action]:
    """Return what approves all of it."""
    return lambda: submit(action, Wish(decisions=for_each(action, "approve")))


def reject(action: Action) -> Callable[[], Action]:
    """Return what rejects all of it."""
    return lambda: submit(action, Wish(decisions=for_each(action, "reject")))


def stop(action: Action) -> Callable[[], Any]:
    """Return what stops its turn."""
    return lambda: request_stop(user=action.user, session_id=action.session, turn_id=action.turn, reason="stopped")


def expire(action: Action) -> Callable[[], bool]:
    """Return what the sweep does about it."""
    return lambda: actions.expire(action.pk)


def unguard(monkeypatch: pytest.MonkeyPatch, no_locks: Callable[[], None]) -> None:
    """Take away the locks, the guarded update of the action, and the net below in the audit log."""
    no_locks()
    monkeypatch.setattr(ActionQuerySet, "pending", lambda self: self)
    monkeypatch.setattr(audit, "note_decided", lambda *args, **kwargs: None)


def made(action: Action) -> list[str]:
    """Return the transitions that the journal tells of."""
    return [
        kind for kind in journal_of(turn_of(action)) if kind in ("decided", "cancelled", "failed", "completed")
    ]


# --- two decisions --------------------------------------------------------------------------


@ROUNDS
def test_of_two_different_decisions_at_once_one_counts(round_: int) -> None:
    action = waiting(*notes("one", "two"))
    outcomes = race(approve(action), reject(action))
    lost = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert [getattr(error, "error_code", error) for error in lost] == ["already_decided"]
    states = {call.state for call in calls_of(turn_of(action))}
    assert states == ({"denied"} if isinstance(outcomes[0], Exception) else {"approved"})
    assert AuditEntry.objects.filter(event="decided").count() == 2
    assert made(action) == ["decided"]


@ROUNDS
def test_the_same_decision_twice_at_once_is_one_and_both_hear_of_it(round_: int) -> None:
    action = waiting(*notes("one", "two"))
    outcomes = race(*[approve(action)] * 5)
    assert [outcome.status for outcome in outcomes] == ["decided"] * 5
    assert AuditEntry.objects.filter(event="decided").count() == 2
    assert made(action) == ["decided"]
    assert Turn.objects.get().status == "queued"


@guarded
def test_who_decides_second_has_seen_the_first(
    guarded: bool, between: Between, no_locks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    action = waiting()
    monkeypatch.setattr(actions, "check_wish", between.after(actions.check_wish))
    if not guarded:
        unguard(monkeypatch, no_locks)
        monkeypatch.setattr(actions, "action_decided", Signal())
    first, second = race(approve(action), between.other(reject(action)))
    won = [outcome for outcome in (first, second) if isinstance(outcome, Action)]
    assert len(won) == (1 if guarded else 2), (first, second)
    if guarded:
        assert isinstance(second, AppError)
        assert second.error_code == "already_decided"


def test_the_row_alone_keeps_two_decisions_apart(
    between: Between, no_locks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any lock the guarded update of the action decides; the other one finds nothing to change."""
    action = waiting()
    monkeypatch.setattr(actions, "check_wish", between.after(actions.check_wish))
    no_locks()
    first, second = race(approve(action), between.other(reject(action)))
    assert isinstance(second, Action), second
    assert isinstance(first, AppError)
    assert first.error_code == "already_decided"
    assert AuditEntry.objects.get(event="decided").decision == "reject"


# --- a decision and a stop ------------------------------------------------------------------


def test_a_decision_that_comes_before_a_stop_is_made_and_the_turn_ends(between: Between) -> None:
    action = waiting()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actions, "check_wish", between.after(actions.check_wish))
        decided, stopped = race(approve(action), between.other(stop(action)))
    assert isinstance(decided, Action)
    assert stopped[0].status == "cancelled"
    assert made(action) == ["decided", "cancelled"]
    assert [call.state for call in calls_of(turn_of(action))] == ["cancelled"], "it never began"
    assert terminal_events(turn_of(action)) == ["abort"]


def test_a_decision_that_comes_after_a_stop_is_too_late(between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    action = waiting()
    monkeypatch.setattr(actions, "_do_cancel", between.before(actions._do_cancel))
    stopped, decided = race(stop(action), between.other(approve(action)))
    assert stopped[0].status == "cancelled"
    assert isinstance(decided, Conflict)
    assert decided.error_code == "stale"
    assert made(action) == ["cancelled"]
    assert not AuditEntry.objects.filter(event="decided").exists()
    assert terminal_events(turn_of(action)) == ["abort"]


@ROUNDS
def test_a_stop_and_a_decision_at_once_leave_one_end_and_nothing_ran(round_: int) -> None:
    action = waiting()
    stopped, decided = race(stop(action), approve(action))
    assert not isinstance(stopped, Exception)
    assert isinstance(decided, (Action, Conflict, Busy)), decided
    turn = turn_of(action)
    assert (turn.status, terminal_events(turn)) == ("cancelled", ["abort"])
    assert made(action) == (["decided", "cancelled"] if isinstance(decided, Action) else ["cancelled"])
    assert Action.objects.get(pk=action.pk).status == ("decided" if isinstance(decided, Action) else "cancelled")


@guarded
def test_a_stop_cannot_come_between_the_look_and_the_decision(
    guarded: bool, between: Between, no_locks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    action = waiting()
    monkeypatch.setattr(actions, "check_wish", between.after(actions.check_wish))
    if not guarded:
        unguard(monkeypatch, no_locks)
    race(approve(action), between.other(stop(action)))
    assert Action.objects.get(pk=action.pk).status == "decided"
    assert made(action) == (["decided", "cancelled"] if guarded else ["cancelled"]), "decided, but nothing goes on"


# --- expiry ---------------------------------------------------------------------------------


@ROUNDS
def test_the_sweep_and_a_late_decision_at_once_end_the_turn_once(round_: int) -> None:
    action = waiting()
    overdue(action)
    swept, decided = race(expire(action), approve(action))
    assert isinstance(swept, bool)
    assert isinstance(decided, Conflict)
    assert decided.error_code == "expired"
    turn = turn_of(action)
    assert (turn.status, turn.outcome, terminal_events(turn)) == ("cancelled", "approval_expired", ["abort"])
    assert [entry.event for entry in AuditEntry.objects.all()] == ["expired"]


@ROUNDS
def test_many_sweeps_at_once_expire_it_once(round_: int) -> None:
    action = waiting()
    overdue(action)
    assert sorted(race(*[expire(action)] * 4)) == [False, False, False, True]
    assert terminal_events(turn_of(action)) == ["abort"]


@guarded
def test_an_action_expires_once(
    guarded: bool, between: Between, no_locks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    action = waiting()
    overdue(action)
    monkeypatch.setattr(actions, "_do_expire", between.before(actions._do_expire))
    if not guarded:
        unguard(monkeypatch, no_locks)
        monkeypatch.setattr(actions, "action_expired", Signal())
    outcomes = race(expire(action), between.other(expire(action)))
    assert sorted(outcomes) == ([False, True] if guarded else [True, True])
    assert AuditEntry.objects.count() == (1 if guarded else 2)


def test_the_sweep_leaves_a_turn_alone_that_was_decided_and_waits_again(between: Between) -> None:
    """It observed the first action; by the time it acts the turn waits for another one."""
    first = waiting()
    overdue(first)
    [observed] = actions.expire_overdue()
    Action.objects.filter(pk=first.pk).update(expires_at=first.expires_at)
    submit(first, Wish(decisions=for_each(first, "approve")))
    holder = hold(turn_of(first))
    run_open_calls(holder)
    second = pause_at(holder, *notes("again"))
    assert actions.expire(observed) is False
    turn = turn_of(second)
    assert (turn.status, turn.action_id) == ("requires_action", second.pk)
    assert Action.objects.get(pk=second.pk).status == "pending"


# --- the worker that pauses -----------------------------------------------------------------


def held_and_paused() -> tuple[Holder, Action]:
    """Return a worker whose turn has paused, as it is before the worker has heard of it."""
    holder = make_running()
    action = pause_at(holder, *notes("hello"))
    holder.closed = False
    return holder, action


@pytest.mark.parametrize(
    "write",
    [
        lambda holder: holder.say("more"),
        lambda holder: holder.step("calculator"),
        lambda holder: holder.finish(completed("stop")),
        lambda holder: holder.hand_back(),
        lambda holder: pausing_again(holder),
    ],
)
def test_after_a_fast_decision_the_worker_that_paused_writes_nothing_more(write: Callable[[Holder], Any]) -> None:
    holder, action = held_and_paused()
    submit(action, Wish(decisions=for_each(action, "approve")))
    before = turn_of(action)
    with pytest.raises(StaleTurn):
        write(holder)
    after = turn_of(action)
    assert (after.status, after.fence, after.sealed_seq) == ("queued", before.fence, before.sealed_seq)


def pausing_again(holder: Holder) -> None:
    calls = [call for call in calls_of(holder.turn) if call.is_open]
    asked = pausing.Asked([actions.CallRequest(call.id, call.name, {}, {}, ["approve"]) for call in calls])
    holder.write(pausing.pause_turn, session_id=holder.claim.session_id, asked=asked)


@guarded
def test_a_worker_that_was_given_up_cannot_make_its_turn_wait(
    guarded: bool, no_fence: Callable[[Holder], None]
) -> None:
    """The turn is queued for another worker; a late pause would have people asked for a run that is no more."""
    holder = make_running()
    step_of(holder, *notes("hello"))
    expire_lease(holder.claim.turn_id)
    assert take_over(holder.claim.turn_id, lease=5)
    if not guarded:
        no_fence(holder)
        holder.seq = last_seq(holder.claim.turn_id)
        pause_again(holder)
    else:
        with pytest.raises(StaleTurn):
            pause_again(holder)
    assert Action.objects.exists() is not guarded
    assert holder.turn.status == ("queued" if guarded else "requires_action")


def test_a_turn_that_is_to_stop_does_not_wait_for_a_person() -> None:
    holder = make_running()
    step_of(holder, *notes("hello"))
    session = holder.session
    request_stop(user=session.user, session_id=session.pk, turn_id=None, reason="stopped")
    with pytest.raises(StopRequested):
        pause_again(holder)
    assert not Action.objects.exists()
    assert holder.turn.status == "running"
