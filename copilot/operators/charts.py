"""Small charts of numbers an hour, to be drawn as SVG by a template: no script, no style of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

#: Units of the drawing.
HEIGHT = 60
_STEP, _WIDTH = 10, 8


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour's number: where the bar is, and what it says to who points at it."""

    x: int
    y: int
    height: int
    says: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars from the oldest hour to the newest."""

    name: str
    bars: list[Bar]
    most: int
    #: What the bars say, for who cannot see them.
    text: str

    @property
    def width(self) -> int:
        """The width of the drawing."""
        return max(len(self.bars), 1) * _STEP


def chart(name: str, hours: Sequence[tuple[datetime, int]]) -> Chart:
    """Return the chart of numbers by the hour that they begin with, oldest first."""
    numbers = [number for _, number in hours]
    most = max(numbers, default=0)
    bars = [_bar(place, f"{at:%H:%M} UTC: {number}", number, most) for place, (at, number) in enumerate(hours)]
    text = f"{name} an hour, the oldest of {len(numbers)} hours first: {', '.join(map(str, numbers))}."
    return Chart(name, bars, most, text)


def _bar(place: int, says: str, number: int, most: int) -> Bar:
    height = max(round(HEIGHT * number / most), 2) if number else 0
    return Bar(place * _STEP, HEIGHT - height, height, says)
