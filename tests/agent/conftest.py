"""Workers that run the demo model."""

from tests.harness import crew, hints

__all__ = ["crew", "hints"]
