"""Looking at many silent turns at once.

Hundreds of followers that hear nothing would each read the log once a second. They ask here first: one query
answers all of a process that asked at about the same time, and only those whose turn moved on read the log.
"""

from __future__ import annotations

import asyncio
import uuid
import weakref
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

from common.db import db
from copilot.models import Turn, TurnEvent

#: Seconds that the first who asks waits for others.
GATHER_SECONDS = 0.1
#: Turns a query.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Glance:
    """How far a turn is: the seq of its newest event, and its status."""

    newest: int
    status: str


async def glance(turn_id: uuid.UUID) -> Glance | None:
    """Return how far the turn is, None when it is gone; takes a tenth of a second longer than a query."""
    loop = asyncio.get_running_loop()
    if loop not in _lookouts:
        _lookouts[loop] = _Lookout()
    return await _lookouts[loop].ask(turn_id)


def read_glances(turn_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Glance]:
    """Return how far turns are, with one query; those that are gone are left out."""
    newest = TurnEvent.objects.filter(turn=OuterRef("pk")).order_by("-seq").values("seq")[:1]
    turns = Turn.objects.filter(pk__in=list(turn_ids)).annotate(newest=Coalesce(Subquery(newest), 0))
    return {pk: Glance(seq, status) for pk, seq, status in turns.values_list("pk", "newest", "status")}


class _Lookout:
    """Collects who wants to know, on one event loop."""

    def __init__(self) -> None:
        self._asked: dict[uuid.UUID, list[asyncio.Future[Glance | None]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, turn_id: uuid.UUID) -> Glance | None:
        """Return the answer of the next query."""
        answer: asyncio.Future[Glance | None] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(turn_id, []).append(answer)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        return await answer

    async def _look(self) -> None:
        while self._asked:
            await asyncio.sleep(GATHER_SECONDS)
            asked, self._asked = self._asked, {}
            try:
                turn_ids = list(asked)
                for start in range(0, len(turn_ids), BATCH):
                    some = turn_ids[start : start + BATCH]
                    glances = await db(read_glances, some, pool="follow")
                    for turn_id in some:
                        _tell(asked.pop(turn_id), glances.get(turn_id))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is theirs who asked
                for answers in asked.values():
                    _tell(answers, error)


def _tell(answers: list[asyncio.Future[Glance | None]], result: Glance | Exception | None) -> None:
    for answer in answers:
        if answer.done():
            continue  # who asked is gone
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)


_lookouts: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Lookout] = weakref.WeakKeyDictionary()
