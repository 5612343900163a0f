"""What to leave out of a model's view so that it fits into the window. Estimates; nothing is read or asked here.

The question, what was sent meanwhile and the newest steps stay as they are. What came before the question is
summarised from its beginning, whole messages at a time, so no call ever loses its result. When the turn itself is
too long, the results of its tools are given in short.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.conf import settings

from copilot.agent.estimate import request_tokens
from copilot.agent.history import Earlier, Group, StepView
from copilot.agent.shortened import Shortened
from copilot.providers import pricing
from copilot.providers.base import ModelMessage, ModelRequest

#: Share of the window that is used before room is made, and that is to be left of it afterwards.
FULL = 0.8
ROOMY = 0.5
#: Most tokens of a summary, also as a share of a small window.
SUMMARY_TOKENS = 4000
SUMMARY_SHARE = 1 / 8
#: Leaving out less than this is not worth it.
WORTH_TOKENS = 100
#: Steps whose results are shortened last.
NEWEST_STEPS = 2
#: How many characters may be left of a result, tried in this order.
_LONGEST = (20_000, 8_000, 2_000)


def window_of(model: str) -> int | None:
    """Return how many tokens a model takes: what the operator says, else the catalogue; None if nobody knows."""
    return settings.COPILOT_CONTEXT_TOKENS or pricing.facts(model).context


@dataclass(frozen=True, slots=True)
class Limits:
    """In tokens of a whole request: room is made above ``full``, until it has ``roomy``."""

    full: int
    roomy: int

    @classmethod
    def of(cls, window: int, answer: int) -> Limits:
        """Return those of a window; ``answer`` is what the model may say at most, 0 if nobody limits that."""
        full = min(int(window * FULL), max(window - answer, window // 2))
        return cls(full, min(int(window * ROOMY), full))


def summary_tokens(window: int | None) -> int:
    """Return how long a summary may be."""
    return max(256, min(SUMMARY_TOKENS, int(window * SUMMARY_SHARE))) if window else SUMMARY_TOKENS


def tokens_of(messages: Iterable[ModelMessage]) -> int:
    """Estimate the tokens of some messages."""
    return request_tokens(ModelRequest(model="", system="", messages=tuple(messages)))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is summarised from now on (nothing more, if empty), what stays of it, and which results are short."""

    covered: Sequence[Group]
    kept: Sequence[Group]
    shortened: Shortened


def plan(
    earlier: Earlier,
    steps: Sequence[StepView],
    present: Shortened,
    *,
    fixed: int,
    limits: Limits,
    summary: int,
) -> Plan | None:
    """Return what to leave out; None when that would gain nothing.

    Args:
        present: which results are given in short by now.
        fixed: tokens of what is sent with every request: the system prompt and the tools.
        summary: tokens that a summary may take.
    """
    own = fixed + tokens_of(earlier.question) + tokens_of(present.flatten(steps))
    covered = _cover(earlier, own, limits, summary)
    # When the present turn does not fit with all before it summarised, its own results have to give.
    shortened = _shorten(earlier, steps, present, limits, fixed=fixed + summary)
    if not covered and shortened == present:
        return None
    return Plan(earlier.before[:covered], earlier.before[covered:], shortened)


def _cover(earlier: Earlier, own: int, limits: Limits, summary: int) -> int:
    """Return how many of the messages before the question are to be summarised, the oldest ones.

    What stays begins with something that the person said.
    """
    sizes = [tokens_of(group.messages) for group in earlier.before]
    if earlier.whole and own + tokens_of(earlier.preamble()) <= limits.full:
        return 0
    left = limits.roomy - own - summary
    first = len(sizes)
    while first and sizes[first - 1] <= left:
        first -= 1
        left -= sizes[first]
    while first < len(sizes) and not _begins_with_a_person(earlier.before[first]):
        first += 1
    return first if sum(sizes[:first]) >= WORTH_TOKENS else 0


def _begins_with_a_person(group: Group) -> bool:
    return bool(group.messages) and group.messages[0].role == "user"


def _shorten(
    earlier: Earlier, steps: Sequence[StepView], present: Shortened, limits: Limits, *, fixed: int
) -> Shortened:
    """Return the mildest way to shorten results after which the turn fits, else the harshest that gains some."""
    asked = fixed + tokens_of(earlier.question)
    size = tokens_of(present.flatten(steps))
    if asked + size <= limits.full:
        return present
    best = present
    for shortened in _ways(present, through=steps[-1].number if steps else 0):
        now = tokens_of(shortened.flatten(steps))
        if now <= size - WORTH_TOKENS:
            best, size = shortened, now
        if asked + size <= limits.roomy:
            break
    return best


def _ways(present: Shortened, *, through: int) -> Iterable[Shortened]:
    noted = max(present.noted, through - NEWEST_STEPS)
    yield Shortened(noted, present.through, present.longest)
    for longest in _LONGEST:
        if not present.longest or longest < present.longest:
            yield Shortened(noted, through, longest)
    yield Shortened(max(noted, through - 1), through, min(_LONGEST[-1], present.longest or _LONGEST[-1]))
