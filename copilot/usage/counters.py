"""Adding to what a person used, in the transaction that writes what it was used for.

One statement for the day and the week, the last one to lock anything that others share; its rows always come in
the same order. So all sessions of a person wait for each other here, and never in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from common.statements import cursor_that_prepares
from copilot.models import UsageCounter
from copilot.usage.windows import Window, windows_of

_TABLE = UsageCounter._meta.db_table
_USER: Any = UsageCounter._meta.get_field("user")
_COLUMNS = '(user_id, "window", starts_on, used, unknown, reserved, forgiven)'
_ROW = "(%s, %s, %s, %s, %s, %s, 0)"
_ADD = f"""
    INSERT INTO {_TABLE} AS counter {_COLUMNS} VALUES {{rows}}
        ON CONFLICT (user_id, "window", starts_on) DO UPDATE
       SET used = counter.used + excluded.used, reserved = counter.reserved + excluded.reserved,
           unknown = counter.unknown + excluded.unknown
"""  # noqa: S608 - our own names
#: The guarded UPDATE: a row that has no room stays as it is, and is not returned.
_ADD_WHERE_ROOM = f"""
    INSERT INTO {_TABLE} AS counter {_COLUMNS} VALUES {_ROW}, {_ROW}
        ON CONFLICT (user_id, "window", starts_on) DO UPDATE
       SET reserved = counter.reserved + excluded.reserved
     WHERE counter.used - counter.forgiven + counter.reserved
           < CASE excluded."window" WHEN 'day' THEN %s ELSE %s END
 RETURNING "window"
"""  # noqa: S608 - our own names


class Amounts(NamedTuple):
    """What is added to a counter: microdollars, records without a known cost, and microdollars held back."""

    used: int = 0
    unknown: int = 0
    reserved: int = 0


def do_add(user_id: Any, *amounts: tuple[datetime, Amounts]) -> None:
    """Add to the counters of the days and weeks of some moments, each by the database's clock.

    An ``Amounts()`` adds nothing: it only takes its place in the order, for a statement that follows.
    """
    rows: dict[Window, Amounts] = {}
    for moment, more in amounts:
        for window in windows_of(moment):
            before = rows.get(window, Amounts())
            rows[window] = Amounts(*(a + b for a, b in zip(before, more, strict=True)))
    _add(user_id, rows)


def do_touch(user_id: Any, windows: Iterable[Window]) -> None:
    """Lock the counters of these windows, in the order of all; those that there are not yet begin with nothing."""
    _add(user_id, dict.fromkeys(windows, Amounts()))


def _add(user_id: Any, rows: dict[Window, Amounts]) -> None:
    values: list[Any] = []
    for window in sorted(rows):
        values += _values(user_id, window, rows[window])
    with cursor_that_prepares(connection, len(rows)) as cursor:
        cursor.execute(_ADD.format(rows=", ".join([_ROW] * len(rows))), values)


def do_add_where_room(user_id: Any, moment: datetime, reserved: int, *, day: int, week: int) -> set[str]:
    """Reserve microdollars in the day and the week of a moment, each where less than its limit is taken.

    Returns the kinds of the windows that had room. Unless both had, the caller takes it back.
    """
    more = Amounts(reserved=reserved)
    values = [value for window in windows_of(moment) for value in _values(user_id, window, more)]
    with cursor_that_prepares(connection, 2) as cursor:
        cursor.execute(_ADD_WHERE_ROOM, [*values, day, week])
        return {kind for (kind,) in cursor.fetchall()}


def _values(user_id: Any, window: Window, amounts: Amounts) -> list[Any]:
    user = _USER.get_db_prep_value(user_id, connection)
    return [user, window.kind, window.starts_on.isoformat(), *amounts]
