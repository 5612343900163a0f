"""Commands, in a sandbox."""

from __future__ import annotations

import asyncio
from typing import Any

from django.conf import settings

from common.redaction import redact_text
from common.text import storable
from copilot.tools import sandbox
from copilot.tools.base import Tool, ToolContext, object_schema
from copilot.tools.process import Output, Program, run_program, usage_of

SECONDS = 120.0
#: Bytes of each stream that a sign of progress shows, and is looked for secrets in.
SHOWN_BYTES = 4_000
READ_BYTES = 16_000


class Shell(Tool):
    """A command line, run by a shell. Offered only where there is a sandbox."""

    name = "shell"
    description = (
        "Run a shell command in the workspace, in a sandbox with the programs of this machine. "
        "Only the workspace and /tmp can be written; /tmp is emptied after each call. "
        f"It is stopped after {SECONDS:g} seconds unless timeout says otherwise, with its background processes."
    )
    parameters = object_schema(
        ["command"],
        command={"type": "string", "minLength": 1, "maxLength": 100_000},
        timeout={
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 3600,
            "description": "Seconds. Raise it for commands that take long.",
        },
    )
    idempotent = False
    asks = True

    def available(self) -> bool:
        return not sandbox.problem()

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        seconds = min(arguments.get("timeout") or SECONDS, _longest())
        folder = context.workspace
        await asyncio.to_thread(sandbox.prepare, folder)
        on_host = settings.SHELL_SANDBOX == "unsafe_host"

        async def report(program: Program) -> None:
            context.progress(await asyncio.to_thread(_so_far, program.stdout, program.stderr))

        done = await run_program(
            sandbox.command_line(arguments["command"], folder, context.time_zone, seconds),
            # Also of the sandbox's own first process, whose variables can be read in there.
            variables=sandbox.environment(str(folder) if on_host else sandbox.HOME, context.time_zone),
            folder=folder,
            seconds=seconds,
            overuse=_overuse,
            report=report,
        )
        stderr = done.stderr + (f"\n[Stopped: {done.stopped}]" if done.stopped else "")
        return {
            "stdout": storable(done.stdout),
            "stderr": storable(stderr),
            "exit_code": done.exit_code,
            "timed_out": done.timed_out,
        }


def _longest() -> float:
    """Seconds for a command: enough less than a tool may take for its result to be kept."""
    whole = settings.TOOL_MAX_SECONDS
    return float(max(whole - 2, whole / 2))


def _overuse(pid: int) -> str:
    """Tell why a command uses too much: the system's own limits count each process, or each user, by itself."""
    count, memory = usage_of(pid, sandbox.PROCESSES)
    if count > sandbox.PROCESSES:
        return f"It ran more than {sandbox.PROCESSES} processes at once."
    if memory > sandbox.MEMORY_BYTES:
        return f"It used more than {sandbox.MEMORY_BYTES // 1024**3} GB of memory."
    return ""


def _so_far(stdout: Output, stderr: Output) -> dict[str, str]:
    return {"stdout": _end_of(stdout), "stderr": _end_of(stderr)}


def _end_of(output: Output) -> str:
    """Return the last lines, hidden before they are cut: half a secret would not be known as one."""
    shown = redact_text(storable(output.last_lines(READ_BYTES)))
    if len(shown) <= SHOWN_BYTES:
        return shown
    return shown[shown.find("\n", len(shown) - SHOWN_BYTES) + 1 :]
