"""What holds of what each person used, at every committed moment. Each rule yields a sentence for each breach."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from copilot.diagnostics.facts import PersonFacts

Rule = Callable[[PersonFacts], Iterator[str]]


def counters_are_sums(facts: PersonFacts) -> Iterator[str]:
    """The counter of a window is the sum of the cost of its records, and says how many have none that is known."""
    for window, counted, actual in facts.tally.differences():
        if counted[:2] != actual[:2]:
            yield (
                f"the {window.kind} from {window.starts_on} counts (used, unknown) {counted[:2]}, but its usage "
                f"records add up to {actual[:2]}"
            )


def reserved_is_of_live_turns(facts: PersonFacts) -> Iterator[str]:
    """What a window holds back is what the live turns that began in it reserve."""
    for window, counted, actual in facts.tally.differences():
        if counted.reserved != actual.reserved:
            yield (
                f"the {window.kind} from {window.starts_on} holds back {counted.reserved}, but live turns reserve "
                f"{actual.reserved}"
            )


RULES: tuple[Rule, ...] = (counters_are_sums, reserved_is_of_live_turns)
