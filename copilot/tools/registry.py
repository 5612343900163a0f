"""Which tools there are, and which of them a model is offered."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from copilot.tools.base import Tool
from copilot.tools.calculator import Calculator
from copilot.tools.current_time import CurrentTime
from copilot.tools.demo import DemoBoom, DemoNote, DemoOnce, DemoWait

TOOLS: dict[str, Tool] = {
    tool.name: tool for tool in (CurrentTime(), Calculator(), DemoNote(), DemoWait(), DemoBoom(), DemoOnce())
}


def tool_names() -> list[str]:
    """Names of all tools."""
    return list(TOOLS)


def offered_tools(model: str, globs: Sequence[str] | None) -> list[Tool]:
    """Return the tools that a model may call: those that match one of ``globs``, all when there are none."""
    demo = model.startswith("demo/")
    return [
        tool
        for tool in TOOLS.values()
        if (demo or not tool.demo_only)
        and (globs is None or any(fnmatch.fnmatchcase(tool.name, pattern) for pattern in globs))
    ]
