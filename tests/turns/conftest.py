"""Guards that can be taken away."""

from tests.turns.racing import between, no_fence, no_locks

__all__ = ["between", "no_fence", "no_locks"]
