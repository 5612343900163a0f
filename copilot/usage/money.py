"""Amounts of money in words. They are kept and compared in microdollars: a million of them is a dollar."""

from __future__ import annotations

_CENT = 10_000


def dollars(microdollars: int) -> str:
    """Return an amount as ``$1,234.56``; less than half a cent, but not nothing, is ``<$0.01``."""
    cents = (microdollars + _CENT // 2) // _CENT
    if microdollars > 0 and cents == 0:
        return "<$0.01"
    return f"${cents // 100:,}.{cents % 100:02}"
