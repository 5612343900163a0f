"""Using tools as the agent does, without an agent."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from common.schemas import problem_of
from copilot.tools.base import Tool, ToolContext


async def use(tool: Tool, workspace: Path, progress: list[Any] | None = None, **arguments: Any) -> Any:
    """Run a call with arguments that fit the tool's schema."""
    assert problem_of(arguments, tool.parameters) is None
    seen: list[Any] = [] if progress is None else progress
    context = ToolContext(uuid.uuid4(), uuid.uuid4(), "Europe/Berlin", workspace, seen.append)
    return await tool.run(context, **arguments)
