"""System checks of the approval settings. Every message names the variable, every hint the mend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from common.checks import TAG

LISTS = ("APPROVALS_ALLOW", "APPROVALS_DENY", "APPROVALS_ASK")


@register(TAG)
def check_globs(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Every glob of the approval lists can match the name of a tool: one that cannot protects nobody."""
    return [
        Error(
            f"{name} holds {glob!r}, which matches no tool: {problem}.",
            hint=f"Correct {name}: the full names of tools or globs over them, such as mcp:github:*, separated by "
            "commas.",
            id="holdfast.E005",
        )
        for name in LISTS
        for glob in getattr(settings, name)
        for problem in _problems(glob)
    ]


def _problems(glob: str) -> Iterator[str]:
    if not glob.strip():
        yield "it is empty"
    elif any(character.isspace() for character in glob):
        yield "names of tools have no blanks"
    elif any(quote in glob for quote in "'\""):
        yield "names of tools have no quotes"
    elif glob.startswith("mcp__"):
        yield "tools of MCP servers are written mcp:server:tool here"
