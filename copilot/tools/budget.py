"""How much of a model's attention the definitions of tools may take."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Sequence

from copilot.tools.base import Tool

logger = logging.getLogger(__name__)

#: Characters of all definitions of one turn: they are sent with every step.
DEFINITIONS_MAX = 32_000


def within_budget(tools: Sequence[Tool]) -> list[Tool]:
    """Return the tools that are offered: from the first on, those that still fit. The log names those left out."""
    offered: list[Tool] = []
    left = DEFINITIONS_MAX
    for tool in tools:
        size = size_of(tool)
        if size > left:
            _warn(tool.name)
        else:
            left -= size
            offered.append(tool)
    return offered


def size_of(tool: Tool) -> int:
    """Return how many characters a tool's definition takes."""
    spec = tool.spec()
    return len(spec.name) + len(spec.description) + len(json.dumps(spec.parameters, ensure_ascii=False))


@functools.lru_cache(maxsize=1000)
def _warn(name: str) -> None:
    """Say so once, not at every turn."""
    logger.warning(
        "tool left out: the definitions of all are too long", extra={"action": "tool_left_out", "tool": name}
    )
