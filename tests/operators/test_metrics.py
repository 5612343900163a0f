"""The figures of the diagnostics: each is what the rows say, and none of them can fail the others."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common.db import db_now, read_clock, seconds_ago
from copilot.diagnostics import metrics
from copilot.diagnostics.broker import QUEUE
from copilot.diagnostics.categories import CATEGORIES, rows_of
from copilot.diagnostics.metrics import DispatchLag, measure
from copilot.models import Message, Turn, TurnEvent, Worker
from copilot.turns.dispatch import dispatch, set_runner
from tests.factories import accept, backdate, make_session, make_turn, make_user
from tests.operators import troubles
from tests.operators.troubles import HOUR
from tests.turns.test_sweep_plans import plans, scans

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def test_nothing_at_all_can_be_measured() -> None:
    measured = measure()
    assert set(measured.counts) == set(CATEGORIES)
    assert not any(measured.counts.values())
    assert measured.oldest_running_seconds is None
    assert measured.dispatch_lag is None
    assert (measured.completed.per_hour, measured.failed.per_hour) == (0, 0)


def test_the_number_of_a_category_is_that_of_its_turns() -> None:
    troubles.one_of_each()
    troubles.failure(30 * HOUR)
    for hours in (24, 48):
        measured = measure(hours=hours)
        assert measured.counts == {name: rows_of(name, hours=hours).count() for name in CATEGORIES}
        assert measured.hours == hours


def test_ends_are_counted_by_the_hour_and_by_the_day() -> None:
    for ago in (MINUTE, 2 * HOUR, 23 * HOUR, 25 * HOUR):
        troubles.ended(ago)
    for ago in (MINUTE, 2 * MINUTE, 5 * HOUR, 30 * HOUR):
        troubles.failure(ago)
    measured = measure()
    assert (measured.completed.hour, measured.completed.day, measured.completed.per_hour) == (1, 3, 0.12)
    assert (measured.failed.hour, measured.failed.day, measured.failed.per_hour) == (2, 3, 0.12)


def test_the_series_has_an_hour_for_each_of_the_day() -> None:
    now = read_clock()
    hour = now.replace(minute=0, second=0, microsecond=0)
    for ends, make in ((3, troubles.ended), (2, troubles.failure)):
        for _ in range(ends):
            turn = make()
            Turn.objects.filter(pk=turn.pk).update(finished_at=hour - 5 * HOUR + MINUTE)
    troubles.ended(40 * HOUR)
    series = metrics._series(now)
    assert [each.at for each in series] == [hour - ago * HOUR for ago in range(23, -1, -1)]
    told = {each.at: (each.completed, each.failed) for each in series if each.completed or each.failed}
    assert told == {hour - 5 * HOUR: (3, 2)}


def test_a_turn_that_was_held_before_is_not_one_that_never_started() -> None:
    troubles.running().hand_back()
    make_turn()
    measured = measure()
    assert (measured.counts["queued"], measured.never_started) == (2, 1)


def test_a_stop_counts_until_the_worker_confirms_it() -> None:
    holder = troubles.running()
    assert measure().stop_unconfirmed == 0
    Turn.objects.filter(pk=holder.turn.pk).update(stop_requested_at=db_now())
    assert measure().stop_unconfirmed == 1
    holder.answer()
    assert measure().stop_unconfirmed == 0


def test_the_oldest_running_turn_is_the_one_that_ran_longest() -> None:
    paused = troubles.long_running(hours=1)
    backdate(paused, started_at=90 * HOUR)
    Turn.objects.filter(pk=paused.pk).update(running_ms=3_600_000)
    troubles.running()
    oldest = measure().oldest_running_seconds
    assert oldest is not None
    assert 7200 <= oldest < 7260


def test_active_people_are_those_whose_turns_run_or_wait_for_a_worker() -> None:
    busy = make_user()
    troubles.running(make_session(busy))
    make_turn(make_session(busy))
    make_turn()
    troubles.asking()
    troubles.ended()
    measured = measure()
    assert (measured.active_sessions, measured.active_users) == (3, 2)


def test_a_message_that_waits_where_nothing_is_live_is_noticed() -> None:
    holder = troubles.running()
    queued = accept(holder.session, "And then?").message
    assert measure().stranded_messages == 0
    ended = troubles.ended()
    Message.objects.filter(pk=queued.pk).update(session=ended.session)
    assert measure().stranded_messages == 1


def test_invalid_turns_are_counted_by_kind() -> None:
    with troubles.past_the_constraints():
        for _ in range(2):
            troubles.spoil(troubles.running().turn, started_at=None)
        troubles.spoil(troubles.asking(), action_id=None)
        measured = measure()
    assert measured.counts["invalid"] == 3
    assert measured.invalid_kinds == {"running_without_start": 2, "waiting_for_nothing": 1}


# --- workers ---------------------------------------------------------------------------------


def make_worker(host: str, *, silence: float, **over: Any) -> None:
    about = {"host": host, "pid": 7, "version": "1", "slots": 4, **over}
    worker = Worker.objects.create(**about)
    Worker.objects.filter(pk=worker.pk).update(seen_at=seconds_ago(silence))


def test_workers_are_alive_as_long_as_their_lease(settings: Any) -> None:
    make_worker("here", silence=0, running=3, loop_lag_ms=12)
    make_worker("leaving", silence=1, stopping=True)
    make_worker("gone", silence=settings.TURN_LEASE_SECONDS + 1)
    workers = measure().workers
    assert [(each.host, each.alive, each.stopping) for each in workers] == [
        ("here", True, False),
        ("leaving", True, True),
        ("gone", False, False),
    ]
    assert (workers[0].running, workers[0].slots, workers[0].loop_lag_ms) == (3, 4, 12)
    assert workers[2].seen_seconds > settings.TURN_LEASE_SECONDS


# --- the queue -------------------------------------------------------------------------------


def test_the_dispatch_lag_is_from_the_queue_to_the_claim() -> None:
    for milliseconds in (10, 20, 30, 4000):
        turn = troubles.ended()
        queued = turn.claimed_at - timedelta(milliseconds=milliseconds) if turn.claimed_at else None
        Turn.objects.filter(pk=turn.pk).update(queued_at=queued)
    assert measure().dispatch_lag == DispatchLag(4, 20.0, 4000.0)


def test_the_dispatch_lag_is_that_of_the_latest_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CLAIMS", 1)
    old, new = troubles.running().turn, troubles.ended()
    backdate(old, claimed_at=HOUR, queued_at=3 * HOUR)
    lag = measure().dispatch_lag
    assert lag is not None
    assert lag.claims == 1
    assert new.claimed_at is not None
    assert lag.p99_ms == pytest.approx((new.claimed_at - new.queued_at).total_seconds() * 1000, abs=0.01)


@pytest.fixture
def _runs_here() -> Iterator[None]:
    set_runner(lambda count: None)
    yield
    set_runner(None)


@pytest.fixture
def _empty_broker() -> Iterator[None]:
    """Nothing else is in the broker, neither before nor after."""
    _purge()
    yield
    _purge()


def _purge() -> None:
    with current_app.connection_for_write() as broker:
        channel = broker.default_channel
        channel.queue_declare(QUEUE)
        channel.queue_purge(QUEUE)


@pytest.mark.usefixtures("_runs_here", "_empty_broker")
def test_the_depth_of_the_broker_is_how_many_hints_wait_in_it() -> None:
    assert measure().broker_queue_depth == 0
    for _ in range(3):
        dispatch(uuid.uuid4())
    assert measure().broker_queue_depth == 3


def test_another_process_does_not_know_the_broker_of_the_embedded_server(settings: Any) -> None:
    settings.EMBEDDED = True
    assert measure().broker_queue_depth is None


@pytest.mark.parametrize("address", ["redis://127.0.0.1:1/0", "nonsense"])
def test_a_broker_that_does_not_answer_costs_its_own_figure_only(settings: Any, address: str) -> None:
    troubles.running()
    settings.EMBEDDED, settings.REDIS_URL = False, address
    measured = measure()
    assert measured.broker_queue_depth is None
    assert measured.counts["running"] == 1


# --- what it costs ---------------------------------------------------------------------------


def test_the_size_of_the_log_is_estimated() -> None:
    troubles.ended()
    size = measure().log
    assert size.bytes > 0
    if connection.vendor == "sqlite":
        assert size.rows == TurnEvent.objects.count()


def test_a_measurement_takes_few_queries_however_many_turns_there_are() -> None:
    troubles.one_of_each()
    with CaptureQueriesContext(connection) as few:
        measure()
    troubles.one_of_each()
    with CaptureQueriesContext(connection) as more:
        measure()
    assert len(few) == len(more) <= 24


def test_a_measurement_reads_no_growing_table_from_end_to_end() -> None:
    troubles.one_of_each()
    assert scans(plans(measure)) == []


@pytest.mark.parametrize("name", CATEGORIES)
def test_no_category_is_found_by_reading_all_turns(name: str) -> None:
    troubles.one_of_each()
    assert scans(plans(lambda: list(rows_of(name)[:100]))) == []
    assert scans(plans(rows_of(name).count)) == []
