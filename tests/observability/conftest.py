from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import crew, hints, make_session, session
from tests.observability.measuring import Lines, Measured

__all__ = ["crew", "hints", "make_session", "session"]


@pytest.fixture
def measured() -> Measured:
    """How the process's own metrics grew since the test began."""
    return Measured()


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What our own loggers write while the test runs, as JSON."""
    with Lines() as lines:
        yield lines
