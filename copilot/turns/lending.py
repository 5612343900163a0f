"""A turn that waits for its child lends it its slot, so that it can never keep from its child what that needs.

While it waits, a turn counts neither against ``TURNS_PER_USER_MAX`` nor among the turns of its process. So those
that count are all at work: each of them ends, or waits for a child in its turn and counts no more. Where none is
at work there is room, and a waiting turn's own process takes its child, whoever else waits, once nobody else did.
"""

from __future__ import annotations

import uuid

from common.db import transact
from copilot.models import Turn
from copilot.turns.claim import Claim, claim_in


def lend_slot(worker_id: uuid.UUID, parent: Claim, session_id: uuid.UUID, *, run: bool) -> Claim | None:
    """Mark ``parent`` as waiting for a child, and claim the turn that waits in the child's session, if any.

    Args:
        run: this process has room; else only the mark is made, and some other process takes the child.
    """
    waits = Turn.objects.claimable().filter(session_id=session_id).exists()
    marked = Turn.objects.held_by(parent.turn_id, parent.fence).filter(awaits_child=True).exists()
    # Asked each second: nothing is locked where there is nothing to do.
    return None if marked and not (waits and run) else _lend(worker_id, parent, session_id, run=run)


@transact
def _lend(worker_id: uuid.UUID, parent: Claim, session_id: uuid.UUID, *, run: bool) -> Claim | None:
    held = Turn.objects.held_by(parent.turn_id, parent.fence)
    if held.update(awaits_child=True) != 1 or not run:
        return None
    return claim_in(worker_id, session_id)


@transact
def take_slot_back(parent: Claim) -> None:
    """Count again: the turn waits for no child any more."""
    Turn.objects.held_by(parent.turn_id, parent.fence).filter(awaits_child=True).update(awaits_child=False)
