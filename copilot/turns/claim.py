"""Admission: which queued turn a free slot takes, fairly and within each person's limit."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import Q

from common.db import seconds_ago, transact
from common.statements import cursor_that_prepares
from common.trail import STORED
from copilot.events import schema
from copilot.events.log import EventBatch
from copilot.models import Session, Turn, User
from copilot.turns.journal import journal_each

#: Turns that are claimed in one transaction, at most.
BATCH = 16
#: Candidates looked at beyond those wanted; others may take some meanwhile.
SPARE = 8
#: How often the list is read again when other workers took all of them; the sweep looks after the rest.
ROUNDS = 20
ROUND_SECONDS = 0.01

#: From this attempt on a turn is on probation: what killed two workers may kill a third, so it runs alone.
PROBATION_ATTEMPT = 3
#: Seconds that it waits for a process that runs nothing else; then it runs beside others.
PROBATION_PATIENCE = 60

#: A turn that could be claimed: its id, its session's and its user's, and whether it is on probation.
Candidate = tuple[uuid.UUID, uuid.UUID, uuid.UUID, bool]


@dataclass(frozen=True, slots=True)
class Claim:
    """A turn that this process now holds. ``seq`` is that of its newest event."""

    turn_id: uuid.UUID
    session_id: uuid.UUID
    user_id: uuid.UUID
    fence: int
    seq: int
    #: It was taken by an idle process, to run alone.
    alone: bool = False
    #: Seconds that it had been queued, and the trail of the request that submitted it.
    waited: float = field(default=0.0, compare=False)
    trail: Mapping[str, str] = field(default_factory=dict, compare=False)


def claim_waiting(worker_id: uuid.UUID, most: int, *, idle: bool = False) -> list[Claim]:
    """Claim up to ``most`` waiting turns: the oldest of whoever has the fewest running, one after the other.

    It returns with the first that it gets, sixteen at most: their leases run, so they must not wait for others. An
    empty list means that there was nothing to take. When others were faster with all candidates, it looks again:
    this hint may be the last one of a turn.

    Args:
        idle: this process runs nothing: then it takes a turn on probation when no other waits, and that one alone.
    """
    wanted = min(most, BATCH)
    for _ in range(ROUNDS):
        candidates = _candidates(wanted, idle=idle)
        if not candidates:
            break
        ordinary = [candidate for candidate in candidates if not (idle and candidate[3])]
        if found := _claim_some(worker_id, ordinary, wanted):
            return found
        for candidate in candidates:
            if idle and candidate[3] and (found := _claim(worker_id, [candidate])):
                return [replace(found[0], alone=True)]
        # Taken meanwhile, or their sessions are locked, perhaps by a second message: a matter of a moment.
        time.sleep(ROUND_SECONDS)
    return []


def claim_in(worker_id: uuid.UUID, session_id: uuid.UUID) -> Claim | None:
    """Claim what waits in one session, whoever else waits; within the person's limit. Probation counts."""
    waiting = Turn.objects.claimable().filter(session_id=session_id)
    patience = Q(attempt__lt=PROBATION_ATTEMPT) | Q(queued_at__lte=seconds_ago(PROBATION_PATIENCE))
    found = waiting.filter(patience).values_list("pk", "session_id", "user_id").first()
    return next(iter(_claim(worker_id, [(*found, False)])), None) if found else None


def _claim_some(worker_id: uuid.UUID, candidates: list[Candidate], wanted: int) -> list[Claim]:
    """Claim some of the candidates, the first ones if nobody holds them."""
    for start in range(0, len(candidates), wanted):
        if found := _claim(worker_id, candidates[start : start + wanted]):
            return found
    return []


_NO_LIMIT = 2**31 - 1
#: The database's clock, as ``db_now`` writes it.
_NOW = {"sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')", "postgresql": "STATEMENT_TIMESTAMP()"}
_LONG_AGO = {
    "sqlite": f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', '-{PROBATION_PATIENCE} seconds')",
    "postgresql": f"STATEMENT_TIMESTAMP() - INTERVAL '{PROBATION_PATIENCE} seconds'",
}
#: Seconds since a turn was queued.
_WAITED = {
    "sqlite": "(JULIANDAY('NOW') - JULIANDAY(queued_at)) * 86400",
    "postgresql": "EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - queued_at)",
}
#: The scheduler: each person's turns are numbered from the count of their running ones on; the lowest go first,
#: so that a slot goes to who has the fewest, and among them to who has waited longest.
_CANDIDATES = """
    SELECT id, session_id, user_id, attempt
      FROM (SELECT turn.id, turn.session_id, turn.user_id, turn.queued_at, turn.attempt,
                   COALESCE(busy.running, 0)
                   + ROW_NUMBER() OVER (PARTITION BY turn.user_id ORDER BY turn.queued_at, turn.id) AS place
              FROM copilot_turn AS turn
              LEFT JOIN (SELECT user_id, COUNT(*) AS running
                           FROM copilot_turn
                          WHERE status = 'running' AND NOT awaits_child GROUP BY user_id) AS busy
                ON busy.user_id = turn.user_id
             WHERE turn.status = 'queued'
               AND turn.stop_requested_at IS NULL
               AND (turn.not_before IS NULL OR turn.not_before <= {now})
               AND (turn.attempt < %s OR turn.queued_at <= {long_ago})) AS waiting
     WHERE place <= %s
     ORDER BY place, queued_at, id
     LIMIT %s
"""
#: The guarded UPDATE. Plain SQL, as the look before it: all other turns of a burst wait for these two.
_TAKE = """
    UPDATE copilot_turn
       SET status = 'running', worker = %s, fence = fence + 1, heartbeat_at = {now}, claimed_at = {now},
           progress_at = {now}, started_at = COALESCE(started_at, {now}), not_before = NULL, awaits_child = FALSE
     WHERE id IN ({places})
       AND status = 'queued'
       AND stop_requested_at IS NULL
       AND (not_before IS NULL OR not_before <= {now})
    RETURNING id, fence, attempt, sealed_seq, {waited},
              (SELECT data FROM copilot_turnlog AS log
                WHERE log.turn_id = copilot_turn.id AND log.kind = 'submitted' ORDER BY log.id LIMIT 1)
"""
_ID: Any = Turn._meta.pk


def _candidates(wanted: int, *, idle: bool = False) -> list[Candidate]:
    limit = settings.TURNS_PER_USER_MAX or _NO_LIMIT
    attempts = _NO_LIMIT if idle else PROBATION_ATTEMPT
    query = _CANDIDATES.format(now=_NOW[connection.vendor], long_ago=_LONG_AGO[connection.vendor])
    with cursor_that_prepares(connection) as cursor:
        cursor.execute(query, [attempts, limit, wanted + SPARE])
        rows = cursor.fetchall()
    return [
        (_uuid(turn), _uuid(session), _uuid(user), attempt >= PROBATION_ATTEMPT)
        for turn, session, user, attempt in rows
    ]


def _uuid(value: Any) -> uuid.UUID:
    """SQLite has no type for UUIDs and returns their text."""
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


@transact
def _claim(worker_id: uuid.UUID, candidates: list[Candidate]) -> list[Claim]:
    """Claim those of the candidates that are free and whose person has a slot left."""
    free = _lock_free_sessions([candidate[1] for candidate in candidates])
    candidates = [candidate for candidate in candidates if candidate[1] in free]
    slots = _slots_left({candidate[2] for candidate in candidates})
    taken: dict[uuid.UUID, Candidate] = {}
    for candidate in candidates:
        if slots[candidate[2]] > 0:
            slots[candidate[2]] -= 1
            taken[candidate[0]] = candidate
    if not taken:
        return []
    claimed = _take(worker_id, list(taken))
    noted = {
        each.turn_id: {"worker": str(worker_id), "fence": each.fence, "attempt": each.attempt} for each in claimed
    }
    if noted:
        journal_each("claimed", noted)
    return [_begin_claim(taken[each.turn_id], each) for each in claimed]


class _Taken(NamedTuple):
    """A turn that was claimed, as its row is then."""

    turn_id: uuid.UUID
    fence: int
    attempt: int
    sealed_seq: int
    waited: float
    submitted: dict[str, Any]


def _take(worker_id: uuid.UUID, turn_ids: list[uuid.UUID]) -> list[_Taken]:
    """Claim those of the turns that still wait."""
    adapted = [_ID.get_db_prep_value(value, connection) for value in (worker_id, *turn_ids)]
    vendor = connection.vendor
    query = _TAKE.format(now=_NOW[vendor], waited=_WAITED[vendor], places=", ".join(["%s"] * len(turn_ids)))
    with cursor_that_prepares(connection, len(turn_ids)) as cursor:
        cursor.execute(query, adapted)
        rows = cursor.fetchall()
    return [
        _Taken(_uuid(turn), fence, attempt, sealed, max(0.0, float(waited)), json.loads(submitted or "{}"))
        for turn, fence, attempt, sealed, waited, submitted in rows
    ]


def _begin_claim(candidate: Candidate, taken: _Taken) -> Claim:
    """Take back what no row keeps of the claim before."""
    turn_id, session_id, user_id, _ = candidate
    fence, sealed_seq = taken.fence, taken.sealed_seq
    # Nobody can have written before the first claim.
    batch = EventBatch.after_log(turn_id) if fence > 1 else EventBatch(turn_id, 0)
    if batch.seq > sealed_seq:
        batch.append(schema.rollback(sealed_seq))
        batch.write()
    ids = {name: taken.submitted[name] for name in STORED if name in taken.submitted}
    return Claim(turn_id, session_id, user_id, fence, batch.seq, waited=taken.waited, trail=ids)


def _lock_free_sessions(session_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Lock those of the sessions that nobody holds; whoever holds one is not waited for."""
    lock = Session.objects.select_for_update(of=("self",), no_key=True, skip_locked=True)
    return set(lock.filter(pk__in=session_ids).order_by("pk").values_list("pk", flat=True))


def _slots_left(user_ids: set[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Count again under each person's row lock, so that two workers cannot both take the last slot."""
    limit = settings.TURNS_PER_USER_MAX
    if not limit:
        return dict.fromkeys(user_ids, _NO_LIMIT)
    people = User.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=user_ids)
    list(people.order_by("pk").values_list("pk"))
    # Who waits for a child has lent its slot to it: see ``lending``.
    busy = Turn.objects.filter(status=Turn.Status.RUNNING, awaits_child=False, user_id__in=user_ids)
    running = Counter(busy.values_list("user_id", flat=True))
    return {user_id: limit - running[user_id] for user_id in user_ids}
