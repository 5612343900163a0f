"""How long a provider is left alone before it is asked again, and when it is not asked again at all."""

from __future__ import annotations

import pytest

from copilot.agent.asking import BACKOFF_MAX, backoff, may_repeat, naming_the_wait
from copilot.providers.base import ProviderError


def test_waits_grow_and_differ() -> None:
    """Turns that failed together must not come back together."""
    first, third = [[backoff(tries, None) for _ in range(50)] for tries in (1, 3)]
    assert 0 < min(first) <= max(first) <= min(third)
    assert len(set(first)) > 1
    asked = [backoff(1, 10.0) for _ in range(50)]
    assert 10.0 <= min(asked) < max(asked) <= 11.0
    assert max(backoff(40, None) for _ in range(50)) <= BACKOFF_MAX


@pytest.mark.parametrize(
    ("seconds", "named"),
    [(31, "31 seconds"), (100.2, "101 seconds"), (121, "3 minutes"), (3600, "60 minutes"), (7201, "3 hours"),
     (200_000, "3 days")],
)  # fmt: skip
def test_how_a_wait_is_named(seconds: float, named: str) -> None:
    error = ProviderError("rate_limit", "Slow down", retry_after=seconds)
    assert named in naming_the_wait(error).detail
    assert not may_repeat(error, 1)


def test_a_wait_that_is_waited_for_is_not_named() -> None:
    error = ProviderError("rate_limit", "Slow down", retry_after=BACKOFF_MAX)
    assert naming_the_wait(error) is error
    assert may_repeat(error, 1)
