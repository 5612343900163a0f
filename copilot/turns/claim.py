"""Admission: which queued turn a free slot takes, fairly and within each person's limit."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from common.db import db_now, transact
from copilot.events import schema
from copilot.events.log import EventBatch
from copilot.models import Session, Turn, User
from copilot.turns.journal import journal

#: Candidates looked at for one slot; those that another worker takes meanwhile are passed over.
CANDIDATES = 8
#: How often the list is read again when other workers took all of them; the sweep looks after the rest.
ROUNDS = 20
ROUND_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Claim:
    """A turn that this process now holds. ``seq`` is that of its newest event."""

    turn_id: uuid.UUID
    session_id: uuid.UUID
    user_id: uuid.UUID
    fence: int
    seq: int


def claim_next(worker_id: uuid.UUID) -> Claim | None:
    """Claim the oldest waiting turn of the person with the fewest running; None when there is none to take.

    When others were faster with all candidates, there may be more: this hint may be the last one of a turn.
    """
    for _ in range(ROUNDS):
        candidates = _candidates()
        if not candidates:
            break
        for candidate in candidates:
            if claim := _claim(worker_id, *candidate):
                return claim
        # Taken meanwhile, or their sessions are locked, by a second message perhaps: it is a matter of a moment.
        time.sleep(ROUND_SECONDS)
    return None


#: The database's clock, as ``db_now`` writes it.
_NOW = {"sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')", "postgresql": "STATEMENT_TIMESTAMP()"}
#: The scheduler: who has the fewest running comes first, then who has waited longest.
_CANDIDATES = """
    SELECT turn.id, turn.session_id, turn.user_id
      FROM copilot_turn AS turn
      LEFT JOIN (SELECT user_id, COUNT(*) AS running FROM copilot_turn WHERE status = 'running' GROUP BY user_id)
           AS busy ON busy.user_id = turn.user_id
     WHERE turn.status = 'queued'
       AND turn.stop_requested_at IS NULL
       AND (turn.not_before IS NULL OR turn.not_before <= {now})
       AND COALESCE(busy.running, 0) < %s
     ORDER BY COALESCE(busy.running, 0), turn.queued_at, turn.id
     LIMIT %s
"""


def _candidates() -> list[tuple[uuid.UUID, uuid.UUID, uuid.UUID]]:
    limit = settings.TURNS_PER_USER_MAX or 2**31 - 1
    with connection.cursor() as cursor:
        cursor.execute(_CANDIDATES.format(now=_NOW[connection.vendor]), [limit, CANDIDATES])
        rows = cursor.fetchall()
    return [(_uuid(turn), _uuid(session), _uuid(user)) for turn, session, user in rows]


def _uuid(value: Any) -> uuid.UUID:
    """SQLite has no type for UUIDs and returns their text."""
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


@transact
def _claim(
    worker_id: uuid.UUID,
    turn_id: uuid.UUID,
    session_id: uuid.UUID,
    user_id: uuid.UUID,
) -> Claim | None:
    lock = Session.objects.select_for_update(of=("self",), no_key=True, skip_locked=True)
    session = lock.filter(pk=session_id)
    if session.values_list("pk").first() is None or not _has_slot(user_id):
        return None
    now = db_now()
    claimed = (
        Turn.objects.claimable()
        .filter(pk=turn_id)
        .update(
            status=Turn.Status.RUNNING,
            worker=worker_id,
            heartbeat_at=now,
            claimed_at=now,
            progress_at=now,
            started_at=Coalesce(F("started_at"), now),
            not_before=None,
            fence=F("fence") + 1,
        )
    )
    if claimed != 1:
        return None
    fence, attempt, sealed_seq = Turn.objects.values_list("fence", "attempt", "sealed_seq").get(pk=turn_id)
    # Nobody can have written before the first claim.
    batch = EventBatch.after_log(turn_id) if fence > 1 else EventBatch(turn_id, 0)
    if batch.seq > sealed_seq:
        batch.append(schema.rollback(sealed_seq))
        batch.write()
    journal(turn_id, "claimed", worker=str(worker_id), fence=fence, attempt=attempt)
    return Claim(turn_id, session_id, user_id, fence, batch.seq)


def _has_slot(user_id: uuid.UUID) -> bool:
    """Count again under the person's row lock, so that two workers cannot both take the last slot."""
    limit = settings.TURNS_PER_USER_MAX
    if not limit:
        return True
    User.objects.select_for_update(of=("self",), no_key=True).filter(pk=user_id).values_list("pk").first()
    return Turn.objects.filter(Q(status=Turn.Status.RUNNING), user_id=user_id).count() < limit
