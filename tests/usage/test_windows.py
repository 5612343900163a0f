"""The day and the week of a moment, in UTC, whatever zone it is told in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.usage.windows import Window, windows_of

EAST = timezone(timedelta(hours=1))
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moment=MOMENTS, zone=ZONES)
def test_a_moment_is_within_its_windows_and_the_next_ones_begin_where_they_end(
    moment: datetime, zone: timezone
) -> None:
    windows = windows_of(moment.astimezone(zone))
    for window, days in zip(windows, (1, 7), strict=True):
        begins = datetime.combine(window.starts_on, datetime.min.time(), UTC)
        assert begins <= moment < window.resets_at == begins + timedelta(days=days)
        assert window in windows_of(begins)
        assert window in windows_of(window.resets_at - timedelta(microseconds=1))
        assert window not in windows_of(window.resets_at)
        assert window not in windows_of(begins - timedelta(microseconds=1))
    assert (windows[1].starts_on.weekday(), windows[1].starts_on <= windows[0].starts_on) == (0, True)


@pytest.mark.parametrize(
    ("moment", "day", "monday"),
    [
        (datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC), date(2026, 11, 22), date(2026, 11, 16)),  # a Sunday
        (datetime(2026, 11, 23, tzinfo=UTC), date(2026, 11, 23), date(2026, 11, 23)),
        # The years' weeks 53 and 1 reach across their ends.
        (datetime(2026, 12, 31, 12, tzinfo=UTC), date(2026, 12, 31), date(2026, 12, 28)),
        (datetime(2027, 1, 1, tzinfo=UTC), date(2027, 1, 1), date(2026, 12, 28)),
        (datetime(2028, 2, 29, 1, tzinfo=UTC), date(2028, 2, 29), date(2028, 2, 28)),
        # Already the next day there, still the one before here.
        (
            datetime(2026, 11, 23, 0, 30, tzinfo=EAST),
            date(2026, 11, 22),
            date(2026, 11, 16),
        ),
    ],
)
def test_days_and_weeks_are_those_of_utc(moment: datetime, day: date, monday: date) -> None:
    assert windows_of(moment) == (Window("day", day), Window("week", monday))


def test_days_come_before_weeks_in_the_order_in_which_counters_are_locked() -> None:
    windows = [
        each for days in range(20) for each in windows_of(datetime(2026, 11, 22, tzinfo=UTC) - timedelta(days))
    ]
    kinds = [window.kind for window in sorted(set(windows))]
    assert kinds == ["day"] * 20 + ["week"] * 3
