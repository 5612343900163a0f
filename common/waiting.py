"""How long a call may wait for something to happen, as its query parameter says."""

from __future__ import annotations

import math

from django.http import QueryDict

from common.errors import invalid

#: Seconds that a call may wait for something to happen.
WAIT_MAX = 25.0


def seconds_to_wait(query: QueryDict) -> float:
    """Return the seconds of ``wait``, 0 without it; more than ``WAIT_MAX`` waits as long as is allowed.

    Raises:
        Invalid: not a number, or negative.
    """
    raw = query.get("wait", "") or "0"
    try:
        wait = float(raw[:40])
    except ValueError:
        wait = math.nan
    if not wait >= 0:  # also refuses "nan"
        raise invalid({"wait": f"must be a number of seconds from 0 to {WAIT_MAX:g}."})
    return min(wait, WAIT_MAX)
