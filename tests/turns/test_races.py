"""Two at once: who may win, and what must hold whoever does.

Each race is also run with its guard taken away, and must then go wrong: a test that cannot fail proves nothing.
The interleaving is forced: one side stops between looking and acting until the other has acted, or, where the
guard keeps the other out, for half a second.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections
from pytest_django import Settings

from common import db as database
from common.errors import Conflict
from copilot.events.log import StaleTurn, last_seq
from copilot.models import Message, Session, Turn, TurnEvent
from copilot.models.session import SessionQuerySet
from copilot.models.turn import TurnQuerySet
from copilot.turns import claim as claiming
from copilot.turns import finish as finishing
from copilot.turns import submit as submitting
from copilot.turns.cancel import finish_unconfirmed, request_stop
from copilot.turns.claim import claim_next
from copilot.turns.recover import take_over
from copilot.turns.submit import withdraw_queued
from tests.factories import (
    Holder,
    accept,
    events_of,
    expire_lease,
    make_running,
    make_session,
    make_turn,
    make_user,
)

pytestmark = pytest.mark.django_db(transaction=True)

guarded = pytest.mark.parametrize("guarded", [pytest.param(True, id="guarded"), pytest.param(False, id="control")])
#: How long one side waits for another that the guard may be keeping out.
PATIENCE = 0.5


def race(*acts: Callable[[], Any]) -> list[Any]:
    """Run all at once, each in a thread with connections of its own; return results or exceptions."""
    barrier = threading.Barrier(len(acts), timeout=10)
    outcomes: list[Any] = [None] * len(acts)

    def run(place: int, act: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            outcomes[place] = act()
        except Exception as error:  # noqa: BLE001 - it is the outcome
            outcomes[place] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return outcomes


class Between:
    """Stops one side between looking and acting until the other side has acted."""

    def __init__(self) -> None:
        self._looked, self._acted = threading.Event(), threading.Event()

    def after(self, look: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what the first side does to look."""

        def run(*args: Any, **kwargs: Any) -> Any:
            found = look(*args, **kwargs)
            if not self._looked.is_set():
                self._looked.set()
                self._acted.wait(PATIENCE)
            return found

        return run

    def before(self, look: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what the first side does to act."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self._looked.set()
            self._acted.wait(PATIENCE)
            return look(*args, **kwargs)

        return run

    def other(self, act: Callable[[], Any]) -> Callable[[], Any]:
        """Wrap what the second side does."""

        def run() -> Any:
            assert self._looked.wait(10)
            try:
                return act()
            finally:
                self._acted.set()

        return run


@pytest.fixture
def between() -> Between:
    return Between()


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that takes transactions and the session lock away: each statement stands alone."""

    def remove() -> None:
        monkeypatch.setattr(database, "_transaction", nullcontext)
        for rows in (SessionQuerySet, TurnQuerySet):
            monkeypatch.setattr(rows, "locked", lambda self: self)

    return remove


@pytest.fixture
def no_fence(monkeypatch: pytest.MonkeyPatch) -> Callable[[Holder], None]:
    """Return a function that lets a worker finish as whoever holds the turn now, wherever the log has come to."""

    def remove(holder: Holder) -> None:
        monkeypatch.setattr(TurnQuerySet, "held_by", lambda self, turn_id, fence: self.filter(pk=turn_id))
        finish = holder.finish

        def as_current(*args: Any) -> Any:
            holder.seq = last_seq(holder.claim.turn_id)
            return finish(*args)

        monkeypatch.setattr(holder, "finish", as_current)

    return remove


def terminal_events(turn: Turn) -> list[str]:
    return [chunk["type"] for _, chunk in events_of(turn) if chunk["type"] in ("finish", "error", "abort")]


def stranded() -> bool:
    """Whether a message waits, not held, where nothing runs."""
    live = Turn.objects.live().values("session")
    return Message.objects.filter(state="queued", held=False).exclude(session__in=live).exists()


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
def test_a_turn_is_claimed_by_one(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = make_turn()
    meet(monkeypatch, claiming, "_candidates")
    if not guarded:
        monkeypatch.setattr(TurnQuerySet, "claimable", lambda self: self.live())
        monkeypatch.setattr(SessionQuerySet, "select_for_update", lambda self, **_: self)
    claims = race(*[lambda: claim_next(uuid.uuid4())] * 2)
    assert len([claim for claim in claims if isinstance(claim, claiming.Claim)]) == (1 if guarded else 2)
    if guarded:
        assert Turn.objects.get(pk=turn.pk).fence == 1


def test_a_turn_whose_session_is_locked_for_a_moment_is_not_left_waiting() -> None:
    """A second message may hold the session's lock just when the worker comes for the first one."""
    turn = make_turn()
    locked, may_end = threading.Event(), threading.Event()

    @database.transact
    def busy() -> None:
        Session.objects.locked().get(pk=turn.session_id)
        locked.set()
        may_end.wait(claiming.ROUNDS * claiming.ROUND_SECONDS / 3)

    def claim() -> Any:
        assert locked.wait(10)
        return claim_next(uuid.uuid4())

    _, found = race(busy, claim)
    assert isinstance(found, claiming.Claim)


def test_others_do_not_wait_for_a_locked_session() -> None:
    make_turn()
    free = make_turn()
    locked, may_end = threading.Event(), threading.Event()

    @database.transact
    def busy() -> None:
        Session.objects.locked().get(pk=Turn.objects.exclude(pk=free.pk).get().session_id)
        locked.set()
        may_end.wait(1)

    def claim() -> Any:
        assert locked.wait(10)
        try:
            return claim_next(uuid.uuid4())
        finally:
            may_end.set()

    if connection.vendor == "postgresql":  # SQLite has one writer
        _, found = race(busy, claim)
        assert found.turn_id == free.id


@guarded
def test_two_workers_do_not_both_take_a_persons_last_slot(
    guarded: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TURNS_PER_USER_MAX = 1
    user = make_user()
    for _ in range(2):
        make_turn(make_session(user))
    candidates = claiming._candidates()
    # Each looks at another turn first, so that nothing but the count keeps them apart.
    views = [candidates, candidates[::-1]]
    monkeypatch.setattr(claiming, "_candidates", lambda: views.pop() if views else [])
    if not guarded:
        monkeypatch.setattr(claiming, "_has_slot", lambda user_id: True)
    claims = race(*[lambda: claim_next(uuid.uuid4())] * 2)
    assert not [claim for claim in claims if isinstance(claim, Exception)]
    running = Turn.objects.filter(status="running").count()
    assert (running == 1) is guarded


@pytest.mark.scaled
@guarded
def test_running_turns_are_counted_under_the_persons_lock(
    guarded: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has counted before either claims, unless the lock keeps the second from counting."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer: its transactions never overlap")
    settings.TURNS_PER_USER_MAX = 1
    user = make_user()
    for _ in range(2):
        make_turn(make_session(user))
    candidates = claiming._candidates()
    views = [candidates[:1], candidates[1:]]
    monkeypatch.setattr(claiming, "_candidates", lambda: views.pop() if views else [])
    if not guarded:
        running = Turn.objects.filter(status="running", user=user)
        monkeypatch.setattr(claiming, "_has_slot", lambda user_id: running.count() < 1)
    meet(monkeypatch, claiming, "_has_slot")
    race(*[lambda: claim_next(uuid.uuid4())] * 2)
    assert Turn.objects.filter(status="running").count() == (1 if guarded else 2)


def meet(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Have two threads that call this function both return from it before either goes on."""
    barrier = threading.Barrier(2)
    original = getattr(module, name)

    def met(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        with suppress(threading.BrokenBarrierError):
            barrier.wait(PATIENCE)
        return found

    monkeypatch.setattr(module, name, met)


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
    meet(monkeypatch, submitting, "do_live_turn")
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
