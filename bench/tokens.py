"""The text that the bench provider streams, and what its arrival says.

Token 0 is ``t<start>``, the start of the schedule in tenths of a millisecond on the monotonic clock, which all
processes of a machine share; token ``i`` is ``w<i>``. Each ends with a space, so a text says how many it holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

#: One arrival: when (monotonic seconds), and how many tokens had arrived with it.
Arrival = tuple[float, int]


def stamp(start: float) -> str:
    """Return token 0 of a schedule that starts at ``start`` (monotonic seconds)."""
    return f"t{int(start * 10_000)} "


def word(index: int) -> str:
    """Return token ``index``, from 1."""
    return f"w{index} "


@lru_cache(maxsize=64)
def _rest(count: int) -> str:
    return "".join(word(index) for index in range(1, count))


def start_of(text: str) -> float | None:
    """Return the start of the schedule (monotonic seconds) that ``text`` begins with, None if it has no stamp."""
    head = text.partition(" ")[0]
    return int(head[1:]) / 10_000 if head[:1] == "t" and head[1:].isdigit() else None


def is_whole(text: str, count: int) -> bool:
    """Tell whether ``text`` is all ``count`` tokens, each exactly once, in order."""
    rest = text.partition(" ")[2]
    return start_of(text) is not None and rest == _rest(count)


def lags(
    start: float, rate: float, arrivals: Iterable[Arrival], window: tuple[float, float] | None = None
) -> tuple[list[float], list[float]]:
    """Return seconds between due and arrival: of every token, and of the newest token of each arrival.

    Args:
        start: start of the provider's schedule, monotonic seconds.
        rate: tokens a second.
        arrivals: in order.
        window: only tokens that were due between these two moments (monotonic seconds) count.
    """
    low, high = window or (0.0, float("inf"))
    every: list[float] = []
    newest: list[float] = []
    seen = 0
    for at, upto in arrivals:
        for index in range(seen, upto):
            due = start + index / rate
            if low <= due <= high:
                every.append(at - due)
        if upto > seen and low <= start + (upto - 1) / rate <= high:
            newest.append(at - start - (upto - 1) / rate)
        seen = max(seen, upto)
    return every, newest
