"""Turns whose tools are those of MCP servers."""

from tests.approvals.asking import people
from tests.harness import crew, hints

__all__ = ["crew", "hints", "people"]
