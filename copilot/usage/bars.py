"""Bar charts as plain numbers, for templates to draw without a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: The units of a chart: its height, the width that a bar has for itself, and how much of it is bar.
HEIGHT = 1_000
STEP = 100
BAR = 72
#: What is not nothing can be seen.
_LEAST = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, from the bottom up; ``label`` says what it stands for, in words."""

    x: int
    y: int
    width: int
    height: int
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars side by side, in a box of ``width`` by ``height``."""

    bars: list[Bar]
    width: int
    height: int = HEIGHT


def chart(values: Sequence[tuple[str, int]]) -> Chart:
    """Return a chart of labelled values that are not negative; the largest is as high as the chart."""
    most = max((value for _, value in values), default=0)
    bars = []
    for number, (label, value) in enumerate(values):
        height = max(value * HEIGHT // most, _LEAST) if value else 0
        bars.append(Bar(number * STEP + (STEP - BAR) // 2, HEIGHT - height, BAR, height, label))
    return Chart(bars, max(1, len(values)) * STEP)
