"""Counters say at every moment what the records add up to, in the windows of the records' own time."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from copilot.models import UsageCounter, UsageRecord, User
from copilot.providers.base import Usage
from copilot.providers.pricing import Cost
from copilot.turns import asides, progress
from copilot.turns.sessions import delete_session
from copilot.usage import counters
from copilot.usage.counters import Amounts
from copilot.usage.windows import windows_of
from tests.factories import Holder, make_running, make_session
from tests.turns.racing import guarded, race
from tests.usage.spending import counted, spend, untrue, use


@pytest.fixture
def holder(user: User) -> Holder:
    return make_running(make_session(user))


@pytest.mark.django_db
def test_what_calls_cost_is_counted_for_the_day_and_the_week(user: User, holder: Holder) -> None:
    use(holder, 300)
    use(holder, 50, call=2)  # the same step, tried again
    use(holder, 7, call=3, step=2)
    spend(user, 1000)
    assert counted(user) == {"day": (1357, 0, 0, 0), "week": (1357, 0, 0, 0)}
    assert untrue() == []


@pytest.mark.django_db
def test_a_call_that_is_recorded_again_counts_once(user: User, holder: Holder) -> None:
    for _ in range(2):
        use(holder, 300)
    aside = {"aside": uuid.uuid4(), "user_id": user.pk, "session_id": holder.claim.session_id, "model": "m"}
    for _ in range(2):
        asides.record_aside(call=1, usage=Usage(1, 1), cost=Cost(5, "table"), **aside)
    assert counted(user)["day"] == (305, 0, 0, 0)
    assert untrue() == []


@pytest.mark.django_db
def test_what_cost_nothing_makes_no_statement(user: User, holder: Holder) -> None:
    with CaptureQueriesContext(connection) as seen:
        use(holder, 0)
    assert not [each for each in seen.captured_queries if UsageCounter._meta.db_table in each["sql"]]
    assert counted(user) == {}
    assert untrue() == []


@pytest.mark.django_db
def test_records_without_a_known_cost_are_counted_apart(user: User, holder: Holder) -> None:
    use(holder, None)
    use(holder, 20, call=2)  # known, but the record's cost still is not, as a whole
    use(holder, None, call=3)
    use(holder, 20, call=4, step=2)
    use(holder, None, call=5, step=2)
    spend(user, None)
    assert UsageRecord.objects.filter(cost_source="unknown").count() == 3
    assert counted(user)["day"] == (40, 0, 0, 3)
    assert untrue() == []


@pytest.mark.django_db
def test_what_is_added_to_a_record_counts_where_the_record_began(user: User, holder: Holder) -> None:
    use(holder, 100)
    before = timezone.now() - timedelta(days=8)
    UsageRecord.objects.update(created_at=before)
    for window in windows_of(before):
        UsageCounter.objects.filter(window=window.kind).update(starts_on=window.starts_on)
    use(holder, 11, call=2)
    assert counted(user) == {"day": (111, 0, 0, 0), "week": (111, 0, 0, 0)}
    use(holder, 5, call=3, step=2)
    rows = UsageCounter.objects.filter(user=user, window="day").order_by("starts_on")
    assert list(rows.values_list("used", flat=True)) == [111, 5]
    assert untrue() == []


@pytest.mark.django_db
def test_deleting_a_session_takes_nothing_back(user: User, holder: Holder) -> None:
    use(holder, 100)
    delete_session(user=user, session_id=holder.claim.session_id)
    assert counted(user)["week"] == (100, 0, 0, 0)
    kept = UsageRecord.objects.get()
    assert (kept.turn_id, kept.user_id, kept.cost_microdollars) == (None, user.pk, 100)
    assert untrue() == []


@pytest.mark.django_db
def test_a_call_that_ends_after_its_session_was_deleted_is_kept_and_counted_once(
    user: User, holder: Holder
) -> None:
    delete_session(user=user, session_id=holder.claim.session_id)
    for call in (1, 1, 2):
        use(holder, 100, call=call)
    assert counted(user)["day"] == (200, 0, 0, 0)
    assert UsageRecord.objects.filter(turn=None, session=None, user=user).count() == 2
    assert untrue() == []


@pytest.mark.django_db
def test_a_call_of_a_person_who_was_deleted_is_nobodys(user: User, holder: Holder) -> None:
    delete_session(user=user, session_id=holder.claim.session_id)
    user.delete()
    use(holder, 100)
    assert not UsageRecord.objects.exists()


@pytest.mark.django_db
def test_what_cannot_be_recorded_is_told_to_the_operator(
    holder: Holder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(progress, "do_count", broken)
    monkeypatch.setattr(asides, "do_count", broken)
    with pytest.raises(ValueError, match="no such thing"):
        use(holder, 5)
    with pytest.raises(ValueError, match="no such thing"):
        spend(holder.session.user, 5)
    lost = [record for record in caplog.records if record.getMessage() == "usage lost"]
    assert [(record.levelname, record.action) for record in lost] == [("ERROR", "usage_lost")] * 2  # type: ignore[attr-defined]
    assert not UsageRecord.objects.exists(), "a record that is not counted is not kept"


@pytest.mark.django_db
def test_counting_is_one_statement_whatever_the_windows(user: User, django_assert_num_queries: Any) -> None:
    now = timezone.now()
    with django_assert_num_queries(1):
        counters.do_add(user.pk, (now, Amounts(used=5)), (now - timedelta(days=9), Amounts(reserved=3)))
    assert UsageCounter.objects.filter(user=user).count() == 4


@pytest.mark.django_db(transaction=True)
@guarded
def test_parallel_calls_all_count(
    guarded: bool, user: User, monkeypatch: pytest.MonkeyPatch, no_locks: Any
) -> None:
    """From connections of their own, some for turns in sessions of their own, some beside them."""
    holders = [make_running(make_session(user)) for _ in range(4)]
    if not guarded:
        no_locks()
        monkeypatch.setattr(counters, "_add", look_then_write())
    acts = [lambda holder=holder: use(holder, 10) for holder in holders]
    outcomes = race(*acts, *(lambda: spend(user, 10) for _ in range(4)))
    if guarded:
        assert outcomes == [None] * 8
        assert counted(user) == {"day": (80, 0, 0, 0), "week": (80, 0, 0, 0)}
        assert untrue() == []
    else:
        assert untrue() or any(outcomes)


def look_then_write() -> Callable[..., None]:
    """Count as one would without an upsert: the first two have both read before either of them writes."""
    both_looked = threading.Barrier(2, timeout=2)

    def add(user_id: Any, rows: dict[Any, Amounts]) -> None:
        for window, more in rows.items():
            key = {"user_id": user_id, "window": window.kind, "starts_on": window.starts_on}
            row = UsageCounter.objects.filter(**key).first() or UsageCounter(**key)
            with suppress(threading.BrokenBarrierError):
                both_looked.wait()
            row.used += more.used
            row.save()

    return add


@pytest.mark.django_db(transaction=True)
def test_calls_of_yesterday_and_of_today_never_wait_for_each_other_in_a_circle(user: User) -> None:
    """As around midnight: each locks the day of its own, and the week of both."""
    now = timezone.now()

    def add(*moments: Any) -> None:
        for _ in range(20):
            counters.do_add(user.pk, *((moment, Amounts(used=1)) for moment in moments))

    yesterday = now - timedelta(days=1)
    outcomes = race(
        lambda: add(now, yesterday), lambda: add(yesterday, now), lambda: add(now), lambda: add(yesterday)
    )
    assert outcomes == [None] * 4
    days = UsageCounter.objects.filter(window="day").values_list("used", flat=True)
    assert list(days) == [60, 60]
