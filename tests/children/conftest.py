"""Workers that run the demo model, and guards that can be taken away."""

from tests.harness import crew, hints
from tests.turns.racing import between, no_fence, no_locks

__all__ = ["between", "crew", "hints", "no_fence", "no_locks"]
