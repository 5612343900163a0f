"""The one event log: reading it, and appending in the transaction of the rows that a chunk speaks of.

A seq is used once: the primary key refuses a second writer, and whoever ends or requeues a turn takes the next
seq in that transaction. So a writer that was given up for dead collides, learns that it is stale, and stops.
"""

from __future__ import annotations

import functools
import json
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from django.db import IntegrityError, connection, transaction
from django.db.models import Max

from common.errors import Busy
from common.prepared import prepared
from common.statements import cursor_that_prepares
from copilot.events import publish
from copilot.events.schema import Chunk
from copilot.models import TurnEvent

P = ParamSpec("P")
T = TypeVar("T")
Row = tuple[int, Chunk]
#: Rows a statement; three bound values each, well under SQLite's limit.
_STATEMENT_ROWS = 3000


class StaleTurn(Exception):
    """Somebody else ended or took over this turn: its holder writes nothing more and stops."""


#: Tries of a transition from outside against a holder that goes on writing.
_OUTSIDE_TRIES = 5


def from_outside(fn: Callable[P, T]) -> Callable[P, T]:
    """Run a transition of a turn that somebody else may hold; again when its holder appended meanwhile.

    Who does not hold a turn reads its log to the end and writes after it. A holder that still writes can get in
    between; then nothing was changed, and what it wrote has to be read too. Goes outside ``transact``.

    Raises:
        Busy: the holder was faster each time.
    """

    @functools.wraps(fn)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(_OUTSIDE_TRIES):
            try:
                return fn(*args, **kwargs)
            except StaleTurn:
                continue
        raise Busy

    return run


def last_seq(turn_id: uuid.UUID) -> int:
    """Return the seq of the newest event, 0 when there is none."""
    newest: int | None = TurnEvent.objects.filter(turn_id=turn_id).aggregate(newest=Max("seq"))["newest"]
    return newest or 0


def read_events(turn_id: uuid.UUID, after: int = 0, limit: int | None = None) -> list[Row]:
    """Return the events after ``after`` in order, at most ``limit``."""
    return _events_after(turn_id, after) if limit is None else _first_events_after(limit)(turn_id, after)


@prepared
def _events_after(turn_id: Any, after: Any) -> Any:
    rows = TurnEvent.objects.filter(turn_id=turn_id, seq__gt=after)
    return rows.order_by("seq").values_list("seq", "chunk")


@functools.cache
def _first_events_after(limit: int) -> Callable[..., list[Row]]:
    @prepared
    def first(turn_id: Any, after: Any) -> Any:
        rows = TurnEvent.objects.filter(turn_id=turn_id, seq__gt=after)
        return rows.order_by("seq").values_list("seq", "chunk")[:limit]

    return first


def insert_rows(rows: Iterable[tuple[uuid.UUID, int, Chunk]]) -> None:
    """Append rows; the primary key refuses a seq that is taken (IntegrityError).

    Plain SQL: this is the hottest write of the project, and model instances would triple its cost.
    """
    prepare = TurnEvent._meta.get_field("turn").target_field.get_db_prep_value
    values = [
        (prepare(turn_id, connection), seq, json.dumps(chunk, ensure_ascii=False, separators=(",", ":")))
        for turn_id, seq, chunk in rows
    ]
    table = connection.ops.quote_name(TurnEvent._meta.db_table)
    with cursor_that_prepares(connection, len(values)) as cursor:
        for start in range(0, len(values), _STATEMENT_ROWS):
            some = values[start : start + _STATEMENT_ROWS]
            cursor.execute(
                f"INSERT INTO {table} (turn_id, seq, chunk) VALUES {', '.join(['(%s, %s, %s)'] * len(some))}",  # noqa: S608
                [value for row in some for value in row],
            )


@dataclass
class EventBatch:
    """Events that are inserted in the transaction of the rows they speak of."""

    turn_id: uuid.UUID
    seq: int
    rows: list[Row] = field(default_factory=list)
    #: When its events were made, by this host's clock.
    since: float = field(default_factory=time.time, compare=False)

    @classmethod
    def after_log(cls, turn_id: uuid.UUID) -> EventBatch:
        """Begin after the newest event: for whoever ends or requeues a turn that it does not run."""
        return cls(turn_id, last_seq(turn_id))

    def append(self, *chunks: Chunk) -> int:
        """Add chunks and return the seq of the last one."""
        for chunk in chunks:
            self.seq += 1
            self.rows.append((self.seq, chunk))
        return self.seq

    def write(self) -> None:
        """Insert them now, and tell followers once the transaction has committed.

        Raises:
            StaleTurn: a seq is taken; this writer no longer holds the turn. The transaction is broken then and
                has to be rolled back: let it through.
        """
        if not self.rows:
            return
        try:
            insert_rows((self.turn_id, seq, chunk) for seq, chunk in self.rows)
        except IntegrityError as error:
            raise StaleTurn from error
        turn_id, rows, since = self.turn_id, list(self.rows), self.since
        transaction.on_commit(lambda: publish.publish_events(turn_id, rows, since), robust=True)
