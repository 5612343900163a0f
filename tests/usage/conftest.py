"""People with limits, workers that run the demo model, and guards that can be taken away."""

from tests.harness import crew, hints
from tests.turns.racing import no_locks

__all__ = ["crew", "hints", "no_locks"]
