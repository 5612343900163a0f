"""What turns that are live may still cost is held back, so that they cannot all pass on what is left for one."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from common.errors import UsageLimit
from copilot import sweep
from copilot.models import Session, Turn, UsageCounter, UsageRecord, User
from copilot.turns.cancel import request_stop
from copilot.turns.finish import failed
from copilot.turns.sessions import delete_session
from copilot.usage import reservations
from copilot.usage.reservations import TYPICAL, typical_cost
from copilot.usage.tally import reconcile
from copilot.usage.windows import windows_of
from tests.factories import accept, backdate, expire_lease, fresh, make_running, make_session, make_turn
from tests.turns.racing import guarded, race
from tests.usage.records import spend_at_random
from tests.usage.spending import counted, spend, untrue, use

PLENTY = 100 * TYPICAL


@pytest.fixture(autouse=True)
def _limits(settings: Settings) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = PLENTY


def reserved(user: User) -> set[int]:
    """Return what is held back in the day and in the week: one number, if they agree."""
    return {amounts[2] for amounts in counted(user).values()}


# --- how much -----------------------------------------------------------------------------------


def run_for(user: User, *costs: int) -> None:
    """Have a turn run that uses so much in its calls."""
    holder = make_running(make_session(user))
    for call, cost in enumerate(costs, 1):
        use(holder, cost, call=call)
    holder.answer()


@pytest.mark.django_db
def test_a_turn_costs_what_those_of_its_person_did(user: User, other_user: User) -> None:
    assert typical_cost(user.pk, "demo/demo") == TYPICAL
    run_for(other_user, 900)
    assert typical_cost(user.pk, "demo/demo") == 900, "everybody's, as long as there is nothing better"
    run_for(user, 100, 50)
    run_for(user, 50)
    assert typical_cost(user.pk, "demo/demo") == 100
    assert typical_cost(user.pk, "demo/other") == TYPICAL
    use(make_running(make_session(user)), 1_000_000)  # not ended: it may come to more
    spend(user, 1_000_000)  # no turn
    assert typical_cost(user.pk, "demo/demo") == 100


@pytest.mark.django_db
def test_no_more_is_read_than_the_newest_records(user: User, other_user: User) -> None:
    """However much somebody used outside of turns that still are."""
    run_for(user, 100)
    run_for(other_user, 900)
    spend_at_random([user], reservations.OWN_RECORDS, 1)
    UsageRecord.objects.filter(turn=None).update(created_at=timezone.now() + timedelta(minutes=1))
    assert typical_cost(user.pk, "demo/demo") == 500, "everybody's: the person's newest tell nothing"
    spend_at_random([other_user], reservations.ALL_RECORDS, 2)
    assert typical_cost(user.pk, "demo/demo") == TYPICAL


@pytest.mark.django_db
def test_what_nobody_knows_the_cost_of_tells_nothing(user: User) -> None:
    holder = make_running(make_session(user))
    use(holder, None)
    holder.answer()
    assert typical_cost(user.pk, "demo/demo") == TYPICAL


# --- from the beginning of a turn to its end ------------------------------------------------------


@pytest.mark.django_db
def test_what_is_used_takes_the_place_of_what_is_reserved(user: User) -> None:
    holder = make_running(make_session(user))
    assert (reserved(user), holder.turn.reserved) == ({TYPICAL}, TYPICAL)
    use(holder, TYPICAL - 1000)
    assert (reserved(user), holder.turn.reserved) == ({1000}, 1000)
    use(holder, 5000, call=2)
    assert (reserved(user), holder.turn.reserved) == ({0}, 0)
    assert counted(user)["day"][0] == TYPICAL + 4000
    holder.answer()
    assert reserved(user) == {0}
    assert untrue() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "end", ["completed", "failed", "stopped", "stopped while queued", "swept", "deleted", "lost"]
)
def test_every_end_gives_back_the_rest(user: User, settings: Settings, end: str) -> None:
    session = make_session(user)
    if end == "stopped while queued":
        make_turn(session)
        request_stop(user=user, session_id=session.pk, turn_id=None, reason="stopped")
        assert reserved(user) == {0}
        return
    holder = make_running(session)
    use(holder, 300)
    assert reserved(user) == {TYPICAL - 300}
    turn = holder.turn
    match end:
        case "completed":
            holder.answer()
        case "failed":
            holder.answer(ending=failed("quota", "Nothing left."))
        case "stopped":
            request_stop(user=user, session_id=session.pk, turn_id=None, reason="stopped")
            holder.answer()
        case "swept":
            backdate(turn, progress_at=timedelta(days=2), claimed_at=timedelta(days=2))
            sweep.sweep([sweep.Rule(sweep._stalled)])
        case "deleted":
            delete_session(user=user, session_id=session.pk)
        case "lost":
            settings.TURN_MAX_ATTEMPTS = 1
            expire_lease(turn.pk)
            sweep.sweep([sweep.Rule(sweep._orphaned)])
    assert reserved(user) == {0}
    assert untrue() == []
    use(holder, 40, call=2)  # its worker tells of a call that it still made
    assert (reserved(user), counted(user)["week"][0]) == ({0}, 340)
    assert untrue() == []


@pytest.mark.django_db
def test_code_from_before_reservations_can_end_a_turn_that_has_one(user: User) -> None:
    """As during an update, or when it is taken back. What it leaves is mended once and given back by nobody."""
    holder = make_running(make_session(user))
    ended = {"status": "failed", "outcome": "quota", "finished_at": timezone.now(), "last_seq": 1}
    Turn.objects.filter(pk=holder.turn.pk).update(worker=None, heartbeat_at=None, **ended)
    assert holder.turn.reserved == TYPICAL
    assert {each.rule for each in untrue()} == {"reserved_is_of_live_turns"}
    reconcile(user.pk)
    use(holder, 300)
    assert (reserved(user), counted(user)["day"][0]) == ({0}, 300)
    delete_session(user=user, session_id=holder.claim.session_id)
    assert reserved(user) == {0}
    assert untrue() == []


@pytest.mark.django_db
def test_a_deleted_session_takes_along_what_its_children_reserved(user: User) -> None:
    home = make_session(user)
    make_running(home)
    below = {"parent": home, "parent_call": uuid.uuid4(), "depth": 1}
    child = Session.objects.create(user=user, updated_at=home.updated_at, **below)
    make_turn(child)
    assert reserved(user) == {2 * TYPICAL}
    delete_session(user=user, session_id=home.pk)
    assert reserved(user) == {0}
    assert untrue() == []


@pytest.mark.django_db
def test_a_turn_of_yesterday_settles_where_it_reserved_and_counts_where_it_uses(user: User) -> None:
    holder = make_running(make_session(user))
    began = holder.turn.created_at - timedelta(days=8)
    Turn.objects.update(created_at=began)
    for window in windows_of(began):
        UsageCounter.objects.filter(window=window.kind).update(starts_on=window.starts_on)
    use(holder, 300)
    days = UsageCounter.objects.filter(window="day").order_by("starts_on").values_list("used", "reserved")
    assert list(days.all()) == [(0, TYPICAL - 300), (300, 0)]
    assert untrue() == []
    holder.answer()
    assert list(days.all()) == [(0, 0), (300, 0)]
    assert untrue() == []


@pytest.mark.django_db
def test_limits_that_are_taken_away_meanwhile_leave_nothing_reserved(user: User, settings: Settings) -> None:
    holder = make_running(make_session(user))
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = 0
    use(holder, 300)
    assert untrue() == []
    holder.answer()
    assert reserved(user) == {0}
    assert fresh(holder.turn).reserved == 0
    assert untrue() == []


@pytest.mark.django_db
def test_a_refused_turn_reserves_nothing_in_the_window_that_had_room(user: User, settings: Settings) -> None:
    settings.USAGE_WEEKLY_LIMIT_MICRODOLLARS = 10
    spend(user, 10)
    with pytest.raises(UsageLimit):
        accept(make_session(user))
    assert reserved(user) == {0}


# --- many at once ---------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("room", [1, 3])
def test_as_many_begin_at_once_as_there_is_room_for(user: User, settings: Settings, room: int) -> None:
    """From connections of their own, in sessions of their own: only the counters are between them."""
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = room * TYPICAL
    sessions = [make_session(user) for _ in range(8)]
    outcomes = race(*(lambda session=session: accept(session) for session in sessions))
    refused = [outcome for outcome in outcomes if isinstance(outcome, UsageLimit)]
    assert (len(outcomes) - len(refused), len(refused)) == (room, 8 - room), outcomes
    assert Turn.objects.count() == room
    assert reserved(user) == {room * TYPICAL}
    assert untrue() == []


_both_looked = threading.Barrier(2, timeout=5)


@pytest.mark.django_db(transaction=True)
@guarded
def test_the_last_room_is_taken_once(
    guarded: bool, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch, no_locks: Any
) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = TYPICAL
    spend(user, 1)
    if not guarded:
        no_locks()
        monkeypatch.setattr(reservations, "do_add_where_room", look_then_write)
    sessions = [make_session(user) for _ in range(2)]
    outcomes = race(*(lambda session=session: accept(session) for session in sessions))
    assert sum(isinstance(outcome, UsageLimit) for outcome in outcomes) == (1 if guarded else 0), outcomes


def look_then_write(user_id: Any, moment: Any, more: int, *, day: int, week: int) -> set[str]:
    """Reserve as one would without a guard: look whether there is room, then write."""
    rows = UsageCounter.objects.filter(user_id=user_id)
    limits = {"day": day, "week": week}
    free = {row.window for row in rows if row.used - row.forgiven + row.reserved < limits[row.window]}
    _both_looked.wait()
    rows.filter(window__in=free).update(reserved=F("reserved") + more)
    return free


@pytest.mark.django_db(transaction=True)
def test_turns_that_begin_use_and_end_at_once_lose_nothing(user: User) -> None:
    def live(session: Session) -> None:
        turn = accept(session).turn
        assert turn is not None
        request_stop(user=user, session_id=session.pk, turn_id=None, reason="stopped")

    sessions = [make_session(user) for _ in range(4)]
    acts = [lambda session=session: live(session) for session in sessions]
    assert race(*acts, *(lambda: spend(user, 10) for _ in range(4))) == [None] * 8
    assert counted(user) == {"day": (40, 0, 0, 0), "week": (40, 0, 0, 0)}
    assert UsageRecord.objects.count() == 4
    assert untrue() == []
