"""Query parameters. Whatever is wrong with them is said, and is never a bug."""

from __future__ import annotations

import math
import re

from django.http import QueryDict

from common.bodies import check, load_json
from common.errors import invalid

# Frames of websockets are checked like bodies.
__all__ = ["check", "flag", "load_json", "number", "seconds_to_wait", "words"]

#: The largest value of a ``seq``.
SEQ_MAX = 2**31 - 1
#: Seconds that a call may wait for something to happen.
WAIT_MAX = 25.0
LIMIT_MAX = 100
_WORDS = {"true": True, "1": True, "false": False, "0": False}


def number(
    query: QueryDict, name: str, *, default: int | None = None, least: int = 0, most: int = SEQ_MAX
) -> int | None:
    """Return a whole number from the query string.

    Raises:
        Invalid: not a number, or not within ``least`` and ``most``.
    """
    raw = query.get(name, "")
    if raw == "":
        return default
    # The length first: converting thousands of digits is slow and then refused by Python itself.
    if not re.fullmatch(r"[0-9]{1,12}", raw) or not least <= int(raw) <= most:
        raise invalid({name: f"must be a whole number from {least} to {most}."})
    return int(raw)


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


def flag(query: QueryDict, name: str) -> bool:
    """Return a yes or no from the query string, no without it.

    Raises:
        Invalid: some other word.
    """
    raw = query.get(name, "").lower()
    if raw and raw not in _WORDS:
        raise invalid({name: "must be true or false."})
    return _WORDS.get(raw, False)


def words(query: QueryDict, name: str, *, most: int = 200) -> str:
    """Return a text from the query string, without blanks around it.

    Raises:
        Invalid: too long, or it holds a NUL character, which no database compares.
    """
    raw = query.get(name, "").strip()
    if len(raw) > most or "\x00" in raw:
        raise invalid({name: f"must be a text of at most {most} characters."})
    return raw
