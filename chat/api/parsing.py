"""What stands in queries and frames, from wherever it is read."""

from __future__ import annotations

from common.bodies import check, load_json
from common.paging import LIMIT_MAX, number
from common.query import flag, words
from common.waiting import seconds_to_wait

# Frames of websockets are checked like bodies.
__all__ = ["LIMIT_MAX", "check", "flag", "load_json", "number", "seconds_to_wait", "words"]
