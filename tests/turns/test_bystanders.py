"""What is done to one session leaves the rows of every other as they were.

The bystander has something in every state, in two sessions of the same person too, so that a query that forgot one
of its conditions finds a row that it must not touch.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from approvals.actions import cancel, expire
from approvals.decisions import Wish
from copilot.models import Session, Turn, User, Worker
from copilot.turns import leases, recover
from copilot.turns.cancel import finish_unconfirmed
from copilot.turns.finish import failed
from copilot.turns.naming import replace_title
from copilot.turns.sessions import delete_session, update_session
from copilot.turns.submit import deliver_queued, withdraw_queued
from tests.approvals.waiting import everything, for_each, notes, overdue, submit, turn_of, waiting
from tests.factories import Holder, accept, expire_lease, fresh, make_running, make_session, make_turn, make_user
from tests.turns.conversation import again, edit, say, show, stop

pytestmark = pytest.mark.django_db

Deed = Callable[[User], Any]


def busy_life(user: User) -> None:
    """Give a person one session in each state, with something of everything in it."""
    spoken = make_session(user, title="Spoken")
    edit(say(spoken, "one", "ONE"), "two")
    stop(spoken)
    say(spoken, "three", "THREE")

    holder = make_running(make_session(user, title="Running"))
    accept(holder.session, "and this", client_id="same")
    holder.begin()
    holder.say("Let me see.")
    holder.begin_call(holder.step("current_time", "calculator")[0])

    asked = waiting(*notes("a", "b"), session=make_session(user, title="Waiting"))
    accept(turn_of(asked).session, "meanwhile")

    lost = make_running(make_session(user, title="Held"))
    accept(lost.session, "kept")
    lost.answer("No.", failed("auth", "No."))

    queued = make_turn(make_session(user, title="Queued"))
    Turn.objects.filter(pk=queued.pk).update(not_before=timezone.now() + timedelta(hours=1))
    leases.register(uuid.uuid4(), host="elsewhere", pid=1, version="1", slots=5)


# --- what is done ---------------------------------------------------------------------------


def running(user: User) -> Holder:
    return make_running(make_session(user))


def says_and_calls(user: User) -> None:
    holder = running(user)
    holder.begin()
    first, second = holder.step("current_time", "calculator")
    holder.begin_call(first)
    holder.settle(first)
    holder.settle(second, "error")
    holder.finish()


def reads_a_follow_up(user: User) -> None:
    holder = running(user)
    accept(holder.session, "more", client_id="same")
    holder.begin()
    holder.settle(holder.step("current_time")[0])
    assert holder.deliver()
    holder.answer()


def goes_on_with_what_waited(user: User) -> None:
    holder = running(user)
    accept(holder.session, "more", delivery="next")
    assert holder.answer()


def holds_and_delivers(user: User) -> None:
    holder = running(user)
    accept(holder.session, "more")
    holder.answer("No.", failed("auth", "No."))
    deliver_queued(user=user, session_id=holder.session.pk)


def withdraws(user: User) -> None:
    holder = running(user)
    message = accept(holder.session, "more").message
    withdraw_queued(user=user, session_id=holder.session.pk, message_id=message.pk)


def interrupts(user: User) -> None:
    accept(running(user).session, "no, this", delivery="interrupt")


def stops_what_waits_for_a_worker(user: User) -> None:
    stop(make_turn(make_session(user)).session)


def stops_what_waits_for_a_person(user: User) -> None:
    stop(turn_of(waiting(session=make_session(user))).session)


def stops_what_runs(user: User) -> None:
    holder = running(user)
    holder.begin()
    holder.begin_call(holder.step("current_time")[0])
    Turn.objects.filter(pk=holder.claim.turn_id).update(stop_requested_at=timezone.now() - timedelta(seconds=60))
    assert finish_unconfirmed(holder.claim.turn_id, 5)


def is_taken_over(user: User) -> None:
    holder = running(user)
    holder.begin()
    holder.begin_call(holder.step("current_time")[0])
    expire_lease(holder.claim.turn_id)
    assert recover.take_over(holder.claim.turn_id, lease=60)


def is_handed_back(user: User) -> None:
    running(user).hand_back()


def decides(kind: str, **fields: Any) -> Deed:
    def deed(user: User) -> None:
        action = waiting(*notes("x", "y"), session=make_session(user))
        submit(action, Wish(decisions=for_each(action, kind, **fields)))

    return deed


def answers(user: User) -> None:
    action = waiting(("ask_user", {"question": "Which?"}), session=make_session(user))
    submit(action, Wish(answer="that one"))


def lets_expire(*calls: Any) -> Deed:
    def deed(user: User) -> None:
        action = waiting(*calls, session=make_session(user))
        overdue(action)
        assert expire(action.pk)

    return deed


def cancels(user: User) -> None:
    assert cancel(waiting(session=make_session(user)).pk, reason="operator")


def edits(user: User) -> None:
    edit(say(make_session(user), "one", "ONE"), "two")


def asks_again(user: User) -> None:
    session = make_session(user)
    say(session, "one", "ONE")
    again(session)


def shows_another_branch(user: User) -> None:
    session = make_session(user)
    first = say(session, "one", "ONE")
    accepted = edit(first, "two")
    stop(session)
    show(session, first)
    assert not fresh(accepted.message).shown


def renames(user: User) -> None:
    update_session(user=user, session_id=make_session(user).pk, title="Mine")
    session = make_session(user)
    say(session, "one", "ONE")
    assert replace_title(session.pk, seen=fresh(session).title, title="Ours", source="model")


def deletes(user: User) -> None:
    session = make_session(user)
    say(session, "one", "ONE")
    delete_session(user=user, session_id=session.pk)


def leaves(user: User) -> None:
    here = uuid.uuid4()
    leases.register(here, host="here", pid=2, version="1", slots=5)
    leases.unregister(here)
    assert not Worker.objects.filter(pk=here).exists()


DEEDS: dict[str, Deed] = {
    deed.__name__: deed
    for deed in (
        says_and_calls,
        reads_a_follow_up,
        goes_on_with_what_waited,
        holds_and_delivers,
        withdraws,
        interrupts,
        stops_what_waits_for_a_worker,
        stops_what_waits_for_a_person,
        stops_what_runs,
        is_taken_over,
        is_handed_back,
        answers,
        cancels,
        edits,
        asks_again,
        shows_another_branch,
        renames,
        deletes,
        leaves,
    )
} | {
    "approves": decides("approve"),
    "refuses": decides("reject", reason="no"),
    "responds": decides("respond", text="Do it by hand."),
    "lets_an_approval_expire": lets_expire(*notes("x")),
    "lets_a_question_expire": lets_expire(("ask_user", {"question": "Which?", "timeout_seconds": 60})),
}


@pytest.fixture(autouse=True)
def _no_limits(settings: Any) -> None:
    settings.SEND_RATE = 1000
    settings.TURNS_PER_USER_MAX = 0


@pytest.mark.parametrize("name", sorted(DEEDS))
@pytest.mark.parametrize("whose", ["of others", "of the same person"])
def test_what_is_done_to_one_session_leaves_the_rows_of_others(name: str, whose: str) -> None:
    user = make_user()
    busy_life(user if whose == "of the same person" else make_user())
    before = everything()
    DEEDS[name](user)
    after = everything()
    gone = {table: sorted(set(rows) - set(after[table])) for table, rows in before.items()}
    if whose == "of the same person":
        del gone["SendRate"]  # how much a person sent lately is one row for all of their sessions
    assert {table: rows for table, rows in gone.items() if rows} == {}


def test_a_query_that_forgets_whose_row_it_is_would_be_seen() -> None:
    user = make_user()
    busy_life(make_user())
    before = everything()
    assert Session.objects.exclude(user=user).update(title="Theirs")
    assert set(before["Session"]) - set(everything()["Session"])
