"""Turns that wait for a person, run by real workers or written as rows."""

from tests.approvals.asking import people
from tests.harness import crew, hints
from tests.turns.racing import between, no_fence, no_locks

__all__ = ["between", "crew", "hints", "no_fence", "no_locks", "people"]
