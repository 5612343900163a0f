"""A turn that waits, or goes on, is stopped, written to, or deleted with its session."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from approvals.decisions import Wish
from approvals.models import Action, AuditEntry, Rule
from common.db import db
from common.errors import Conflict, NotFound
from copilot.models import Message, Turn, TurnEvent
from copilot.turns.cancel import cancel_turn, request_stop
from copilot.turns.sessions import delete_session
from tests.approvals.asking import People, note, written
from tests.approvals.waiting import (
    calls_of,
    commit_calls,
    for_each,
    notes,
    pause_again,
    submit,
    turn_of,
    waiting,
)
from tests.factories import accept, answer_of, fresh, make_running
from tests.harness import Crew
from tests.turns.racing import stranded, terminal_events

rows = pytest.mark.django_db
real = pytest.mark.django_db(transaction=True)


def stop(action: Action) -> None:
    """Have the person who is asked stop the turn."""
    request_stop(user=action.user, session_id=action.session, turn_id=None, reason="stopped")


# --- stopped while it waits -----------------------------------------------------------------


@rows
def test_a_stop_ends_it_at_once_with_what_it_came_to() -> None:
    holder = make_running()
    holder.begin()
    holder.say("I will write it down.")
    commit_calls(holder, *notes("hello", "again"))
    action = pause_again(holder)
    stop(action)
    turn = turn_of(action)
    assert (turn.status, turn.outcome, terminal_events(turn)) == ("cancelled", "stopped", ["abort"])
    answer = answer_of(turn)
    assert answer is not None
    assert (answer.state, answer.text) == ("partial", "I will write it down.")
    assert [call.state for call in calls_of(turn)] == ["cancelled", "cancelled"]
    assert fresh(action).status == "cancelled"
    entry = AuditEntry.objects.get()
    assert (entry.event, entry.actor, entry.text) == ("cancelled", action.user.get_username(), "stopped")


@rows
@pytest.mark.parametrize("kind", ["approve", "reject"])
def test_after_a_stop_a_decision_is_stale_and_changes_nothing(kind: str) -> None:
    action = waiting()
    stop(action)
    before = turn_of(action)
    with pytest.raises(Conflict) as refused:
        submit(action, Wish(decisions=for_each(action, kind)))
    assert refused.value.error_code == "stale"
    assert turn_of(action).fence == before.fence
    assert not AuditEntry.objects.filter(event="decided").exists()


@rows
def test_after_a_stop_the_next_message_starts_at_once() -> None:
    action = waiting()
    stop(action)
    assert accept(turn_of(action).session, "next").turn is not None


@rows
def test_a_stop_holds_what_waited_behind_it() -> None:
    action = waiting()
    waited = accept(turn_of(action).session, "and this").message
    stop(action)
    assert fresh(waited).held
    assert not stranded()


@rows
def test_nobody_stops_the_turn_of_somebody_else() -> None:
    action, other = waiting(), waiting()
    with pytest.raises(NotFound):
        request_stop(user=action.user, session_id=other.session, turn_id=other.turn, reason="stopped")
    assert request_stop(user=action.user, session_id=action.session, turn_id=other.turn, reason="stopped") is None
    assert [turn_of(each).status for each in (action, other)] == ["requires_action"] * 2


@real
async def test_the_cancel_call_confirms_the_stop_of_a_turn_that_waits(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, _ = await people.ask(note("hello"))
    result = await cancel_turn(user=turn.session.user, turn_id=turn.pk)
    assert (result.cancelled, result.confirmed) == (True, True)
    assert written(turn.session_id) == []


# --- stopped while it goes on ---------------------------------------------------------------


@rows
def test_a_stop_of_a_turn_that_was_decided_and_not_begun_keeps_its_calls_from_running() -> None:
    action = waiting()
    submit(action, Wish(decisions=for_each(action, "approve")))
    stop(action)
    turn = turn_of(action)
    assert (turn.status, terminal_events(turn)) == ("cancelled", ["abort"])
    assert [call.state for call in calls_of(turn)] == ["cancelled"]
    assert fresh(action).status == "decided", "it was"


@real
async def test_a_stop_reaches_a_call_that_was_approved_and_runs(
    crew: Crew, people: People, settings: Settings
) -> None:
    settings.APPROVALS_ASK = ["demo_wait"]
    await crew.hire()
    turn, action = await people.ask('/words 2\n/tool demo_wait {"seconds": 300}\n/words 2')
    await people.decide(action, "approve")
    await crew.until(turn, "tool-output-available")  # its first progress
    result = await cancel_turn(user=turn.session.user, turn_id=turn.pk)
    assert (result.cancelled, result.confirmed) == (True, True)
    turn = await crew.ended(turn)
    [call] = await people.calls(turn)
    assert (turn.outcome, call.state) == ("stopped", "cancelled")
    answer = await db(answer_of, turn)
    assert answer is not None
    assert (answer.state, answer.text) == ("partial", "w1 w2")


# --- a message meanwhile --------------------------------------------------------------------


@rows
def test_a_message_to_a_turn_that_waits_is_told_what_it_waits_for() -> None:
    action = waiting()
    accepted = accept(turn_of(action).session, "and this")
    assert (accepted.queued, accepted.waiting_for, accepted.position) == (True, "approval", 1)
    assert fresh(action).status == "pending"


@real
async def test_a_message_to_a_turn_that_waits_is_read_after_the_decision(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    accepted = await db(accept, turn.session, "/words 3")
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert (turn.status, written(turn.session_id)) == ("completed", ["hello"])
    message = await db(Message.objects.get, pk=accepted.message.pk)
    assert (message.state, message.turn_id) == ("done", turn.pk)
    result, followup = crew.requests[1].messages[-2:]
    assert (result.role, followup.role) == ("tool", "user"), "the result of the call, and then the message"
    assert "/words 3" in followup.text()


@real
async def test_a_message_for_the_next_turn_waits_for_the_end_of_the_one_that_waits(
    crew: Crew, people: People
) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    accepted = await db(accept, turn.session, "/words 3", delivery="next")
    await people.decide(action, "reject")
    turn = await crew.ended(turn)
    assert turn.next_turn_id is not None
    following = await crew.ended(await db(Turn.objects.get, pk=turn.next_turn_id))
    message = await db(Message.objects.get, pk=accepted.message.pk)
    assert (following.status, message.turn_id) == ("completed", following.pk)


# --- the session is deleted -----------------------------------------------------------------


@rows
def test_deleting_the_session_takes_what_is_asked_and_remembered_and_leaves_the_audit_log() -> None:
    first, other = waiting(), waiting()
    submit(first, Wish(decisions=for_each(first, "approve"), scope="session"))
    assert Rule.objects.count() == 1
    session = turn_of(first).session
    audited = AuditEntry.objects.count()
    delete_session(user=session.user, session_id=session.pk)
    assert [action.pk for action in Action.objects.all()] == [other.pk]
    assert not Rule.objects.exists()
    assert AuditEntry.objects.count() == audited


@rows
def test_deleting_a_session_while_it_waits_leaves_nothing_to_decide() -> None:
    action = waiting()
    session = turn_of(action).session
    delete_session(user=session.user, session_id=session.pk)
    assert not Action.objects.exists()
    assert not TurnEvent.objects.filter(turn_id=action.turn).exists()
    with pytest.raises(NotFound):
        submit(action, Wish(decisions=for_each(action, "approve")))
