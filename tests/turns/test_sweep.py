"""The sweep, rule by rule: what nobody looks after is set going again, and nothing else is touched."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from copilot import sweep as sweeping
from copilot.events import schema
from copilot.events.follow import read_page
from copilot.models import Message, Session, Turn, TurnEvent, Worker
from copilot.sweep import sweep
from copilot.turns.sessions import delete_session
from tests.factories import (
    Holder,
    accept,
    backdate,
    events_of,
    expire_lease,
    fresh,
    hold,
    kinds_of,
    make_running,
    make_session,
    make_turn,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """The turns that workers were told of."""
    told: list[uuid.UUID] = []

    def tell(turn_id: uuid.UUID) -> bool:
        told.append(turn_id)
        return True

    monkeypatch.setattr(sweeping, "dispatch", tell)
    monkeypatch.setattr(sweeping, "runs_here", lambda: True)
    return told


def worker(slots: int) -> Worker:
    return Worker.objects.create(host="h", pid=1, version="1", slots=slots)


def wait(seconds: float) -> None:
    """Let this much time pass for turns that wait to be heard of."""
    Turn.objects.update(redispatch_at=F("redispatch_at") - timedelta(seconds=seconds))


def test_nothing_to_do() -> None:
    make_running()
    make_running().answer()
    make_turn()
    assert sweep() == {}


def test_a_lost_turn_is_queued_again() -> None:
    lost, fine = make_running(), make_running()
    expire_lease(lost.claim.turn_id)
    assert sweep() == {"orphaned": 1}
    assert (lost.turn.status, fine.turn.status) == ("queued", "running")


def test_a_stop_without_an_answer_is_carried_out() -> None:
    ignored, recent = make_running(), make_running()
    for holder, seconds in ((ignored, 6), (recent, 3)):
        Turn.objects.filter(pk=holder.claim.turn_id).update(
            stop_requested_at=timezone.now() - timedelta(seconds=seconds), stop_reason="stopped"
        )
    assert sweep() == {"unconfirmed_stops": 1}
    assert (ignored.turn.status, recent.turn.status) == ("cancelled", "running")


def test_a_turn_in_which_nothing_happens_is_stalled(settings: Settings) -> None:
    settings.TOOL_MAX_SECONDS = 10
    stalled, slow = make_running(), make_running()
    backdate(stalled.turn, progress_at=timedelta(seconds=81))
    backdate(slow.turn, progress_at=timedelta(seconds=79))
    assert sweep() == {"stalled": 1}
    assert (stalled.turn.status, stalled.turn.outcome, slow.turn.status) == ("failed", "stalled", "running")
    assert kinds_of(stalled.turn) == ["data-error", "error"]


def test_a_turn_over_its_time_fails(settings: Settings) -> None:
    settings.TURN_MAX_SECONDS = 100
    over, under = make_running(), make_running()
    backdate(over.turn, claimed_at=timedelta(seconds=131))
    backdate(under.turn, claimed_at=timedelta(seconds=120))
    assert sweep() == {"over_time": 1}
    assert (over.turn.status, over.turn.outcome, under.turn.status) == ("failed", "timeout", "running")


def test_earlier_stretches_of_a_turn_count_towards_its_time(settings: Settings) -> None:
    settings.TURN_MAX_SECONDS = 100
    over, under = make_running(), make_running()
    for holder, running_ms in ((over, 111_000), (under, 109_000)):
        backdate(holder.turn, claimed_at=timedelta(seconds=20))
        Turn.objects.filter(pk=holder.claim.turn_id).update(running_ms=running_ms)
    assert sweep() == {"over_time": 1}
    assert (over.turn.status, under.turn.status) == ("failed", "running")


def test_the_time_of_a_turn_has_no_pauses(settings: Settings) -> None:
    settings.TURN_MAX_SECONDS = 100
    holder = make_running()
    backdate(holder.turn, created_at=timedelta(hours=2), started_at=timedelta(hours=2))
    assert sweep() == {}


def test_a_turn_that_no_worker_heard_of_is_told_again_and_more_rarely(told: list[uuid.UUID]) -> None:
    turn = make_turn()
    assert sweep() == {}, "it was told a moment ago"
    Turn.objects.update(redispatch_at=F("redispatch_at") - timedelta(seconds=3))
    assert sweep() == {"undispatched": 1}
    assert sweep() == {}
    Turn.objects.update(redispatch_at=F("redispatch_at") - timedelta(seconds=3))
    assert sweep() == {}, "four seconds the second time"
    Turn.objects.update(redispatch_at=F("redispatch_at") - timedelta(seconds=2))
    assert sweep() == {"undispatched": 1}
    assert told == [turn.id, turn.id]
    Turn.objects.update(dispatches=30, redispatch_at=timezone.now() - timedelta(seconds=1))
    assert sweep() == {"undispatched": 1}, "never given up"


def test_a_broker_that_does_not_answer_is_asked_once_and_the_turns_run_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[uuid.UUID] = []
    ran: list[int] = []
    monkeypatch.setattr(sweeping, "dispatch", asked.append)  # None: nobody was told
    monkeypatch.setattr(sweeping, "run_here", ran.append)
    turns = [make_turn() for _ in range(3)]
    wait(3)
    assert sweep() == {"undispatched": 1}
    assert (asked, ran) == ([turns[0].id], [3])


def test_a_hint_that_nobody_followed_is_followed_here(
    told: list[uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    monkeypatch.setattr(sweeping, "run_here", ran.append)
    turn = make_turn()
    assert sweep() == {}
    wait(3)
    assert sweep() == {"undispatched": 1}
    assert (told, ran) == ([turn.id], [1])


def test_a_turn_whose_probation_is_over_is_told(told: list[uuid.UUID]) -> None:
    turn = make_turn()
    wait(60)
    Turn.objects.update(not_before=timezone.now() + timedelta(seconds=5))
    assert sweep() == {}
    Turn.objects.update(not_before=timezone.now() - timedelta(seconds=1), redispatch_at=timezone.now())
    assert sweep() == {"undispatched": 1}
    assert told == [turn.id]


def test_nobody_is_told_while_all_slots_are_taken(told: list[uuid.UUID]) -> None:
    make_running()
    turn = make_turn()
    Turn.objects.filter(pk=turn.pk).update(redispatch_at=timezone.now() - timedelta(minutes=1))
    busy = worker(slots=1)
    assert sweep() == {}
    Worker.objects.filter(pk=busy.pk).update(slots=2)
    assert sweep() == {"undispatched": 1}
    assert told == [turn.id]


def test_slots_of_a_lost_worker_do_not_count(told: list[uuid.UUID]) -> None:
    make_running()
    turn = make_turn()
    Turn.objects.filter(pk=turn.pk).update(redispatch_at=timezone.now() - timedelta(minutes=1))
    Worker.objects.filter(pk=worker(slots=1).pk).update(seen_at=timezone.now() - timedelta(minutes=1))
    assert sweep() == {"undispatched": 1}


def test_a_stranded_message_gets_its_turn() -> None:
    holder = make_running()
    stranded = accept(holder.session, "and me?").message
    holder.finish()
    # Undo the hand-over, as if finishing had missed the message.
    next_turn = Turn.objects.live().get()
    Turn.objects.update(next_turn=None)
    Message.objects.filter(pk=stranded.pk).update(state="queued", seq=None, parent=None, turn=None)
    next_turn.delete()
    assert sweep() == {"stranded_messages": 1}
    assert fresh(stranded).state == "done"
    assert Turn.objects.live().get() == fresh(stranded).turn


def test_a_stranded_message_is_found_behind_many_that_wait_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass looks at some of the queued messages, the next one at those that follow."""
    monkeypatch.setattr(sweeping, "QUEUES_AT_ONCE", 2)
    monkeypatch.setattr(sweeping, "_queued_after", sweeping.OLDEST)
    waiting = [accept(make_running().session, "and me?").message for _ in range(3)]
    idle = make_session()
    stranded = Message.objects.create(session=idle, role="user", state="queued", number=1)
    Session.objects.filter(pk=idle.pk).update(accepted=1)
    assert [sweep().get("stranded_messages", 0) for _ in range(3)] == [0, 1, 0]
    assert fresh(stranded).state == "done"
    assert {fresh(message).state for message in waiting} == {"queued"}


def test_held_messages_stay_held() -> None:
    holder = make_running()
    held = accept(holder.session, "and me?").message
    Turn.objects.update(stop_requested_at=timezone.now(), stop_reason="stopped")
    holder.finish()
    assert sweep() == {}
    assert fresh(held).held


def test_workers_that_are_long_gone_are_forgotten() -> None:
    gone, here = worker(1), worker(1)
    Worker.objects.filter(pk=gone.pk).update(seen_at=timezone.now() - timedelta(days=2))
    assert sweep() == {"gone_workers": 1}
    assert list(Worker.objects.all()) == [here]


def test_what_is_left_of_a_deleted_turn_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker removes it; one that was lost does not."""
    monkeypatch.setattr(sweeping, "LOGS_AT_ONCE", 2)
    monkeypatch.setattr(sweeping, "_looked_before", sweeping.NEWEST)
    holders = [make_running() for _ in range(6)]
    for holder in holders:
        holder.begin()
    for holder in holders[::2]:
        delete_session(user=holder.session.user, session_id=holder.session.id)
    left = [(holder.claim.turn_id, 3) for holder in holders[::2]]
    assert list(TurnEvent.objects.filter(chunk__type="abort").values_list("turn_id", "seq")) == left
    done = [sweep() for _ in range(4)]
    assert sum(each.pop("leftover_events", 0) for each in done) == 3, "a few at a time, and every one once"
    assert not any(done)
    kept = {holder.claim.turn_id for holder in holders[1::2]}
    assert set(TurnEvent.objects.values_list("turn_id", flat=True)) == kept
    assert all(len(events_of(holder.turn)) == 2 for holder in holders[1::2])


def test_leftovers_are_looked_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "LOGS_AT_ONCE", 1)
    monkeypatch.setattr(sweeping, "_looked_before", sweeping.NEWEST)
    for _ in range(2):
        holder = make_running()
        delete_session(user=holder.session.user, session_id=holder.session.id)
        assert sweep() == {"leftover_events": 1}
        assert sweep() == {}, "it has come to the oldest, and begins again"
    assert not TurnEvent.objects.exists()


def test_one_turn_that_cannot_be_settled_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    poison, *others = (make_running() for _ in range(3))
    for holder in (poison, *others):
        expire_lease(holder.claim.turn_id)
    take_over = sweeping.take_over

    def fails(turn_id: uuid.UUID, *, lease: float) -> bool:
        if turn_id == poison.claim.turn_id:
            raise KeyError("a bug")
        return take_over(turn_id, lease=lease)

    monkeypatch.setattr(sweeping, "take_over", fails)
    Worker.objects.filter(pk=worker(1).pk).update(seen_at=timezone.now() - timedelta(days=2))
    assert sweep() == {"orphaned": 2, "gone_workers": 1}
    assert [holder.turn.status for holder in (poison, *others)] == ["running", "queued", "queued"]


# --- retention -------------------------------------------------------------------------------


@pytest.fixture
def ended(settings: Settings) -> Holder:
    """A turn whose events are due to be pruned."""
    settings.EVENT_RETENTION_SECONDS = 60
    holder = make_running()
    holder.answer("Hello there.")
    backdate(holder.turn, finished_at=timedelta(seconds=61))
    return holder


def test_old_events_go_and_the_end_stays(ended: Holder) -> None:
    last_seq = ended.turn.last_seq
    assert last_seq is not None
    assert sweep() == {"old_events": last_seq - 1}
    assert events_of(ended.turn) == [(last_seq, schema.finish("stop"))]
    assert sweep() == {}


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(lambda: make_running().begin(), id="running"),
        pytest.param(lambda: make_running().answer(), id="just ended"),
        pytest.param(lambda: make_turn(make_session()), id="queued"),
    ],
)
def test_events_that_may_be_needed_stay(settings: Settings, prepare: Callable[[], object]) -> None:
    settings.EVENT_RETENTION_SECONDS = 60
    prepare()
    Turn.objects.update(created_at=timezone.now() - timedelta(days=9))
    before = TurnEvent.objects.count()
    sweep()
    assert TurnEvent.objects.count() == before


def test_a_late_reader_gets_the_stored_parts_instead(ended: Holder) -> None:
    last_seq = ended.turn.last_seq
    assert last_seq is not None
    sweep()
    page = read_page(ended.claim.turn_id, 0)
    parts = [{"type": "step-start"}, {"type": "text", "text": "Hello there.", "state": "done"}]
    assert page.events == [
        (last_seq - 1, schema.data("reset", {"parts": parts})),
        (last_seq, schema.finish("stop")),
    ]
    assert page.terminal


@pytest.mark.parametrize("behind", [0, 1])
def test_a_reader_that_misses_nothing_gets_no_reset(ended: Holder, behind: int) -> None:
    last_seq = ended.turn.last_seq
    assert last_seq is not None
    sweep()
    page = read_page(ended.claim.turn_id, last_seq - behind)
    assert [seq for seq, _ in page.events] == [last_seq] * behind
    assert page.terminal


def test_the_first_turn_of_a_session_is_pruned_while_the_next_runs(ended: Holder) -> None:
    accept(ended.session, "next")
    holder = hold(Turn.objects.live().get())
    holder.begin()
    assert set(sweep()) == {"old_events"}
    assert len(events_of(holder.turn)) == 2
