"""Two at once: who may win, and what must hold whoever does.

Each race is also run with its guard taken away, and must then go wrong: a test that cannot fail proves nothing.
The interleaving is forced: one side stops between looking and acting until the other has acted, or, where the
guard keeps the other out, for half a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError

from common.errors import Conflict
from copilot.events.log import StaleTurn
from copilot.models import Message, Turn, TurnEvent
from copilot.turns import finish as finishing
from copilot.turns import submit as submitting
from copilot.turns.cancel import finish_unconfirmed, request_stop
from copilot.turns.recover import take_over
from copilot.turns.submit import withdraw_queued
from tests.factories import Holder, accept, events_of, expire_lease, make_running, make_session
from tests.turns.racing import Between, guarded, meet, race, stranded, terminal_events

pytestmark = pytest.mark.django_db(transaction=True)


@guarded
def test_a_message_accepted_while_the_turn_ends_is_never_stranded(
    guarded: bool, between: Between, no_locks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = make_running()
    session = holder.session
    holder.begin()
    monkeypatch.setattr(submitting, "do_live_turn", between.after(submitting.do_live_turn))
    if not guarded:
        no_locks()
    accepted, _ = race(lambda: accept(session, "and this"), between.other(holder.finish))
    assert stranded() is not guarded
    if guarded:
        assert accepted.queued, "it was accepted first"
        assert Turn.objects.live().get() == Message.objects.get(pk=accepted.message.pk).turn
    assert Turn.objects.live().count() == (1 if guarded else 0)


def test_a_message_that_comes_after_the_turn_looked_for_messages_starts_a_turn(
    between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = make_running()
    session = holder.session
    holder.begin()
    monkeypatch.setattr(finishing, "_pass_on", between.after(finishing._pass_on))
    _, accepted = race(holder.finish, between.other(lambda: accept(session, "and this")))
    assert not accepted.queued
    assert not stranded()
    assert Turn.objects.live().get() == accepted.turn


@guarded
def test_a_worker_that_finishes_and_one_that_takes_over(
    guarded: bool, no_fence: Callable[[Holder], None], between: Between
) -> None:
    holder = make_running()
    holder.begin()
    expire_lease(holder.claim.turn_id)
    if not guarded:
        no_fence(holder)
    taken = between.before(lambda: None)

    def finish() -> Any:
        taken()
        return holder.finish()

    finished, took = race(finish, between.other(lambda: take_over(holder.claim.turn_id, lease=5)))
    assert took
    assert isinstance(finished, StaleTurn) is guarded
    assert holder.turn.status == ("queued" if guarded else "completed")
    assert terminal_events(holder.turn) == ([] if guarded else ["finish"])


@pytest.mark.parametrize("round_", range(6))
def test_finish_and_take_over_at_once_have_one_winner(round_: int) -> None:
    holder = make_running()
    holder.begin()
    expire_lease(holder.claim.turn_id)
    finished, took = race(holder.finish, lambda: take_over(holder.claim.turn_id, lease=5))
    assert isinstance(finished, StaleTurn) is took
    assert holder.turn.status == ("queued" if took else "completed")
    assert len(terminal_events(holder.turn)) == (0 if took else 1)
    seqs = [seq for seq, _ in events_of(holder.turn)]
    assert seqs == list(range(1, len(seqs) + 1))


@guarded
def test_the_same_message_sent_twice_at_once_is_one(
    guarded: bool, no_locks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session()
    meet(monkeypatch, submitting, "_in_the_way")
    if not guarded:
        no_locks()
    results = race(*[lambda: accept(session, "once", client_id="c1")] * 2)
    failures = [result for result in results if isinstance(result, Exception)]
    if not guarded:
        assert [type(failure) for failure in failures] == [IntegrityError], "the constraint is the net below"
        return
    assert not failures
    assert sorted(result.repeated for result in results) == [False, True]
    assert results[0].message.id == results[1].message.id
    assert Message.objects.filter(role="user").count() == Turn.objects.count() == 1


@guarded
def test_a_stop_and_an_end_are_one_end(
    guarded: bool, no_fence: Callable[[Holder], None], between: Between
) -> None:
    holder = make_running()
    holder.begin()
    session = holder.session
    request_stop(user=session.user, session_id=session.id, turn_id=None, reason="stopped")
    if not guarded:
        no_fence(holder)
    taken = between.before(lambda: None)

    def finish() -> Any:
        taken()
        return holder.finish()

    finished, stopped = race(finish, between.other(lambda: finish_unconfirmed(holder.claim.turn_id, 0.0)))
    assert stopped
    assert isinstance(finished, StaleTurn) is guarded
    assert terminal_events(holder.turn) == (["abort"] if guarded else ["abort", "abort"])


@pytest.mark.parametrize("round_", range(6))
def test_whoever_comes_first_ends_it(round_: int) -> None:
    holder = make_running()
    holder.begin()
    holder.say("Hello.")
    session = holder.session
    queued = accept(session, "next").message

    def stop() -> Any:
        request_stop(user=session.user, session_id=session.id, turn_id=holder.claim.turn_id, reason="stopped")
        return finish_unconfirmed(holder.claim.turn_id, 0.0)

    finished, stopped = race(holder.finish, stop)
    assert not isinstance(stopped, Exception)
    turn = holder.turn
    assert len(terminal_events(turn)) == 1
    assert turn.status in ("completed", "cancelled")
    assert isinstance(finished, StaleTurn) is stopped
    queued.refresh_from_db()
    assert (queued.state, queued.held) == (("done", False) if turn.status == "completed" else ("queued", True))


@guarded
def test_a_message_is_withdrawn_or_delivered_never_both(
    guarded: bool, between: Between, no_locks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = make_running()
    session = holder.session
    holder.begin()
    message = accept(session, "or not").message
    monkeypatch.setattr(Message, "delete", between.before(Message.delete))
    if not guarded:
        no_locks()
    withdraw = withdrawal(session, message)
    withdrawn, next_turn = race(lambda: withdraw(), between.other(holder.finish))
    gone = not Message.objects.filter(pk=message.pk).exists()
    assert withdrawn is None
    assert gone
    answered = Turn.objects.filter(pk=next_turn).exists() if next_turn else False
    assert answered is not guarded, "without the lock a turn answers a message that is no more"


def withdrawal(session: Any, message: Message) -> Callable[[], Any]:
    return lambda: withdraw_queued(user=session.user, session_id=session.id, message_id=message.id)


@pytest.mark.parametrize("round_", range(6))
def test_withdrawing_while_the_turn_ends(round_: int) -> None:
    holder = make_running()
    holder.begin()
    message = accept(holder.session, "or not").message
    withdrawn, next_turn = race(withdrawal(holder.session, message), holder.finish)
    if isinstance(withdrawn, Conflict):
        assert Message.objects.get(pk=message.pk).turn_id == next_turn
    else:
        assert (withdrawn, next_turn) == (None, None)
    assert not stranded()


def test_many_sessions_at_once_do_not_deadlock() -> None:
    holders = [make_running() for _ in range(4)]
    acts: list[Callable[[], Any]] = []
    for holder in holders:
        session = holder.session
        acts += [holder.answer, *[(lambda s: lambda: accept(s, "more"))(session)] * 2]
    outcomes = race(*acts)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert not stranded()
    assert all(len(terminal_events(holder.turn)) == 1 for holder in holders)
    assert TurnEvent.objects.count() == sum(len(events_of(holder.turn)) for holder in holders)
