"""Nobody decides in time: the turn ends once, with what it came to, or goes on where the question said so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from approvals import actions, selectors
from approvals.decisions import Wish
from approvals.models import Action, AuditEntry
from common.errors import Conflict
from copilot import sweep as sweeping
from copilot.models import Message, ToolCall, Turn, TurnEvent
from copilot.objects import turn_object
from copilot.turns.answered import BEST_JUDGEMENT
from copilot.turns.progress import CallOutcome, begin_call, settle_call
from copilot.turns.sessions import create_session
from copilot.turns.submit import deliver_queued
from tests.approvals.waiting import (
    api_of,
    calls_of,
    commit_calls,
    everything,
    for_each,
    notes,
    overdue,
    pause_again,
    run_open_calls,
    step_of,
    submit,
    turn_of,
    waiting,
)
from tests.factories import accept, answer_of, backdate, events_of, hold, make_running, make_user
from tests.turns.racing import stranded, terminal_events

pytestmark = pytest.mark.django_db

LONG = timedelta(days=3)


@pytest.fixture(autouse=True)
def _nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "dispatch", lambda turn_id: True)


def by_sweep(action: Action) -> None:
    """Let the sweep come by."""
    assert sweeping.sweep()["overdue_approvals"] == 1


def by_a_late_decision(action: Action) -> None:
    """Decide too late."""
    with pytest.raises(Conflict, match="is over") as refused:
        submit(action, Wish(decisions=for_each(action, "approve")))
    assert refused.value.error_code == "expired"


def by_a_late_answer(action: Action) -> None:
    """Answer too late."""
    with pytest.raises(Conflict, match="is over"):
        submit(action, Wish(answer="this"))


whoever_notices = pytest.mark.parametrize("notice", [by_sweep, by_a_late_decision])


@whoever_notices
def test_it_ends_the_turn_with_what_it_came_to(notice: Callable[[Action], None]) -> None:
    holder = make_running()
    holder.begin()
    holder.say("I will write it down.")
    commit_calls(holder, *notes("hello"))
    action = pause_again(holder)
    overdue(action)
    notice(action)
    turn = turn_of(action)
    assert (turn.status, turn.outcome, terminal_events(turn)) == ("cancelled", "approval_expired", ["abort"])
    assert turn.finished_at is not None
    assert (turn_object(turn)["error"]["code"], turn.action_id) == ("approval_expired", None)
    answer = answer_of(turn)
    assert answer is not None
    assert (answer.state, answer.text) == ("partial", "I will write it down.")
    assert [(call.state, call.sealed) for call in calls_of(turn)] == [("cancelled", "")]
    stored = Action.objects.get(pk=action.pk)
    assert (stored.status, stored.sealed, stored.decided_by) == ("expired", "", None)
    entry = AuditEntry.objects.get()
    assert (entry.event, entry.actor, entry.surface) == ("expired", "", "server")


@whoever_notices
def test_followers_learn_of_it_by_the_log_alone(notice: Callable[[Action], None]) -> None:
    action = waiting()
    before = len(events_of(turn_of(action)))
    overdue(action)
    notice(action)
    news = [chunk for _, chunk in events_of(turn_of(action))[before:]]
    assert [chunk["type"] for chunk in news] == ["data-approval-decided", "tool-output-error", "abort"]
    assert news[0]["data"]["approval"]["status"] == "expired"
    assert news[-1]["reason"] == "approval_expired"


@whoever_notices
def test_whoever_comes_later_changes_nothing_more(notice: Callable[[Action], None]) -> None:
    action = waiting()
    overdue(action)
    notice(action)
    before = everything()
    by_a_late_decision(action)
    assert actions.expire(action.pk) is False
    assert "overdue_approvals" not in sweeping.sweep()
    assert everything() == before


def test_messages_that_waited_are_held_and_go_along_with_the_next() -> None:
    action = waiting()
    session = turn_of(action).session
    waited = accept(session, "and this").message
    overdue(action)
    by_sweep(action)
    waited.refresh_from_db()
    assert (waited.state, waited.held) == ("queued", True)
    assert not stranded()
    accepted = deliver_queued(user=session.user, session_id=session.pk)
    assert accepted.turn is not None
    assert Message.objects.get(pk=waited.pk).turn_id == accepted.turn.pk


def test_the_session_is_free_at_once() -> None:
    action = waiting()
    overdue(action)
    by_a_late_decision(action)
    assert accept(turn_of(action).session, "next").turn is not None


# --- what is live ---------------------------------------------------------------------------


def test_an_action_past_its_time_is_not_shown_as_one_that_waits() -> None:
    action = waiting()
    client = api_of(action.user)

    def seen() -> list[int]:
        listed = client.get("approvals", status="pending").json()["results"]
        session = client.get(f"sessions/{action.session}").json()
        turn = turn_object(turn_of(action))
        of_turn = ["approval" in shown for shown in (turn, session["active_turn"])]
        return [len(listed), selectors.waiting_count(action.user), *of_turn]

    assert seen() == [1, 1, 1, 1]
    overdue(action)
    assert seen() == [0, 0, 0, 0]
    assert turn_of(action).is_live, "until somebody ends it, which is no reader"


def test_the_window_is_the_operators(settings: Any) -> None:
    settings.APPROVALS_WINDOW_SECONDS = 90
    action = waiting()
    assert abs((action.expires_at - action.created_at).total_seconds() - 90) < 1


def test_an_action_within_its_time_is_left_alone() -> None:
    action = waiting()
    assert actions.expire_overdue() == []
    assert actions.expire(action.pk) is False
    assert turn_of(action).status == "requires_action"


def test_many_overdue_actions_are_ended_in_one_pass() -> None:
    user = make_user()
    asked = [waiting(session=create_session(user=user)) for _ in range(3)]
    for action in asked:
        overdue(action)
    assert sweeping.sweep()["overdue_approvals"] == 3
    assert not Action.objects.pending().exists()


def test_one_that_cannot_be_ended_does_not_keep_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = waiting(), waiting()
    for action in (first, second):
        overdue(action)
    expire = actions.expire

    def breaks(action_id: object) -> bool:
        if action_id == first.pk:
            raise ValueError("broken")
        return expire(action_id)  # type: ignore[arg-type]

    monkeypatch.setattr(actions, "expire", breaks)
    assert sweeping.sweep()["overdue_approvals"] == 1
    assert turn_of(second).status == "cancelled"


# --- questions with a time limit ------------------------------------------------------------


def asked(**more: Any) -> Action:
    """Return a question that waits."""
    return waiting(("ask_user", {"question": "Which one?", **more}))


@pytest.mark.parametrize("notice", [by_sweep, by_a_late_answer])
def test_a_question_with_a_time_limit_lets_the_turn_go_on(notice: Callable[[Action], None]) -> None:
    action = asked(timeout_seconds=30)
    assert abs((action.expires_at - action.created_at).total_seconds() - 30) < 1
    overdue(action)
    notice(action)
    turn = turn_of(action)
    assert (turn.status, turn.action_id, terminal_events(turn)) == ("queued", None, [])
    assert [(call.state, call.output) for call in calls_of(turn)] == [("done", BEST_JUDGEMENT)]
    assert Action.objects.get(pk=action.pk).status == "expired"
    hold(turn).answer("I chose.")
    assert turn_of(action).status == "completed"


def test_a_question_that_expires_leaves_the_results_of_other_calls_as_they_are() -> None:
    holder = make_running()
    step_of(holder, ("current_time", {}), ("ask_user", {"question": "Which one?", "timeout_seconds": 30}))
    time = calls_of(holder.turn)[0]
    holder.write(begin_call, call_id=time.pk)
    holder.write(settle_call, call_id=time.pk, outcome=CallOutcome(ToolCall.State.DONE, output="noon"))
    action = pause_again(holder)
    overdue(action)
    by_sweep(action)
    assert turn_of(action).status == "queued"
    assert [(call.state, call.output) for call in calls_of(holder.turn)] == [
        ("done", "noon"),
        ("done", BEST_JUDGEMENT),
    ]


@pytest.mark.parametrize("notice", [by_sweep, by_a_late_answer])
def test_a_question_without_one_ends_it(notice: Callable[[Action], None]) -> None:
    action = asked()
    overdue(action)
    notice(action)
    turn = turn_of(action)
    assert (turn.status, turn.outcome) == ("cancelled", "approval_expired")


# --- what a long wait must not do -----------------------------------------------------------


def test_a_turn_that_waited_for_days_is_not_taken_for_dead_when_it_goes_on() -> None:
    action = waiting()
    turn = turn_of(action)
    backdate(turn, created_at=LONG, queued_at=LONG, started_at=LONG, claimed_at=LONG, progress_at=LONG)
    assert sweeping.sweep() == {}
    submit(action, Wish(decisions=for_each(action, "approve")))
    assert sweeping.sweep() == {}
    holder = hold(turn_of(action))
    assert sweeping.sweep() == {}
    assert run_open_calls(holder) == [{"text": "hello"}]
    holder.answer()
    assert turn_of(action).status == "completed"


def test_a_turn_in_which_nothing_happens_for_as_long_is() -> None:
    """The control of the test before: it is the decision that sets the clock anew."""
    action = waiting()
    submit(action, Wish(decisions=for_each(action, "approve")))
    holder = hold(turn_of(action))
    backdate(holder.turn, progress_at=LONG)
    assert sweeping.sweep() == {"stalled": 1}


def test_the_time_that_a_turn_waits_is_not_running_time(settings: Any) -> None:
    settings.TURN_MAX_SECONDS = 60
    action = waiting()
    turn = turn_of(action)
    ran_before = turn.running_ms
    assert ran_before < 30_000
    backdate(turn, created_at=LONG, started_at=LONG, claimed_at=LONG)
    submit(action, Wish(decisions=for_each(action, "approve")))
    assert turn_of(action).running_ms == ran_before
    hold(turn_of(action))
    assert sweeping.sweep() == {}
    Turn.objects.filter(pk=turn.pk).update(running_ms=91_000)
    assert sweeping.sweep() == {"over_time": 1}, "the time that it ran does count"


def test_the_events_of_a_turn_that_waits_are_kept(settings: Any) -> None:
    settings.EVENT_RETENTION_SECONDS = 0
    action = waiting()
    turn = turn_of(action)
    backdate(turn, created_at=LONG, progress_at=LONG)
    before = TurnEvent.objects.filter(turn=turn).count()
    sweeping.sweep()
    assert TurnEvent.objects.filter(turn=turn).count() == before
    overdue(action)
    by_sweep(action)
    sweeping.sweep()
    assert TurnEvent.objects.filter(turn=turn).count() == 1, "once it has ended they go"


def test_a_turn_that_waits_for_nothing_is_ended() -> None:
    """Its action is gone, or somebody decided without moving the turn: it would wait for ever."""
    gone, moved, fine = waiting(), waiting(), waiting()
    Action.objects.filter(pk=gone.pk).delete()
    Action.objects.filter(pk=moved.pk).update(status="cancelled", resolved_at=moved.created_at)
    assert sweeping.sweep()["waiting_for_nothing"] == 2
    for action in (gone, moved):
        turn = turn_of(action)
        assert (turn.status, turn.outcome, terminal_events(turn)) == ("failed", "unknown", ["error"])
        assert [call.state for call in calls_of(turn)] == ["cancelled"]
        assert accept(turn.session, "next").turn is not None
    assert turn_of(fine).status == "requires_action"
