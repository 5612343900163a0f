"""Which tools there are, and which of them a model is offered."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from copilot.tools.ask_user import AskUser
from copilot.tools.base import Tool
from copilot.tools.budget import within_budget
from copilot.tools.calculator import Calculator
from copilot.tools.current_time import CurrentTime
from copilot.tools.demo import DemoBoom, DemoNote, DemoOnce, DemoWait
from copilot.tools.fetch import FetchUrl
from copilot.tools.files import EditFile, ListFiles, ReadFile, WriteFile
from copilot.tools.mcp import mcp_tools
from copilot.tools.search import SearchFiles
from copilot.tools.shell import Shell
from copilot.tools.subsession import GetSubsessionResult, RunSubsession
from copilot.tools.todo import Todo

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        CurrentTime(),
        Calculator(),
        AskUser(),
        ListFiles(),
        ReadFile(),
        WriteFile(),
        EditFile(),
        SearchFiles(),
        FetchUrl(),
        Shell(),
        Todo(),
        RunSubsession(),
        GetSubsessionResult(),
        DemoNote(),
        DemoWait(),
        DemoBoom(),
        DemoOnce(),
    )
}


def tool_names() -> list[str]:
    """Names of all tools, those of MCP servers too."""
    return [*TOOLS, *(tool.name for tool in mcp_tools())]


def offered_tools(model: str, globs: Sequence[str] | None, *, mcp: bool = True) -> list[Tool]:
    """Return the tools that a model may call here: those that match one of ``globs``, all when there are none.

    Those of MCP servers come last, in the order of their names, as long as all definitions together are not too
    long. May block: a tool may have to find out whether it can run.

    Args:
        mcp: whether tools of MCP servers are among them.
    """
    demo = model.startswith("demo/")
    tools = [*TOOLS.values(), *(mcp_tools() if mcp else [])]
    wanted = [tool for tool in tools if (demo or not tool.demo_only) and matches(tool, globs)]
    return within_budget([tool for tool in wanted if tool.available()])


def matches(tool: Tool, globs: Sequence[str] | None) -> bool:
    """Whether one of ``globs`` is for a tool; without any, all are."""
    return globs is None or any(fnmatch.fnmatchcase(tool.name, pattern) for pattern in globs)
