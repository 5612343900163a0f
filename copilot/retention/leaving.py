"""The sweep's part in deleting people: some steps on each pass, so that nothing else has to wait."""

from __future__ import annotations

import time

from copilot.retention.deletion import Progress, being_deleted, go_on

#: People with whose deletion one pass goes on, and the seconds that it has for it.
PEOPLE_AT_ONCE = 20
SECONDS = 0.5


def leaving_people() -> int:
    """People who are being deleted, with everything of theirs."""
    end = time.monotonic() + SECONDS
    steps = 0
    for user_id in being_deleted(PEOPLE_AT_ONCE):
        while go_on(user_id) is Progress.MORE:
            steps += 1
            if time.monotonic() > end:
                return steps
    return steps
