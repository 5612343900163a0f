"""A channel layer of one's own."""

from tests.harness import hints

__all__ = ["hints"]
