"""Running a program for a tool: watched, with bounded output, and gone with its children when the call ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from copilot.tools.base import ToolError

#: Bytes of each stream that are kept: its beginning and its end.
KEPT_BYTES = 100_000
#: A program that puts out more is stopped: reading on would keep the event loop busy for nothing.
OUTPUT_MAX = 20_000_000
#: Seconds between looks at what a program uses, and between signs of how far it is.
WATCH_SECONDS = 0.25
REPORT_SECONDS = 0.5
#: Seconds for the output of a program that has ended to arrive.
DRAIN_SECONDS = 0.5


class Output:
    """The beginning and the end of what a program writes to a stream."""

    def __init__(self, kept: int = KEPT_BYTES) -> None:
        self._half = kept // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        self.total += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    def text(self) -> str:
        """Return what was kept; where something was left out, a line says how much, and no line is cut in two."""
        head, tail = bytes(self._head), bytes(self._tail[-self._half :])
        left_out = self.total - len(head) - len(tail)
        if not left_out:
            return (head + tail).decode(errors="replace")
        head = head[: head.rfind(b"\n") + 1] or head
        tail = tail[tail.find(b"\n") + 1 :]
        left_out = self.total - len(head) - len(tail)
        gap = f"\n[… {left_out:,} bytes left out …]\n"
        return head.decode(errors="replace").rstrip("\n") + gap + tail.decode(errors="replace")

    def last_lines(self, most: int) -> str:
        """Return whole lines from the end, about ``most`` bytes; nothing before the first line is whole."""
        end = bytes((self._tail or self._head)[-most:])
        lines = end[: end.rfind(b"\n") + 1]
        if len(end) < self.total:
            lines = lines[lines.find(b"\n") + 1 :]
        return lines.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended; ``exit_code`` is None when it was stopped, ``stopped`` says why if not for its time."""

    stdout: str
    stderr: str
    exit_code: int | None
    timed_out: bool
    stopped: str


class Program(asyncio.SubprocessProtocol):
    """A program that runs, as its event loop tells of it."""

    def __init__(self, overuse: Callable[[int], str]) -> None:
        self.stdout, self.stderr = Output(), Output()
        self.stopped = ""
        self._overuse = overuse
        self._transport: asyncio.SubprocessTransport
        self._exited, self._drained = asyncio.Event(), asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        (self.stdout if fd == 1 else self.stderr).feed(data)
        if self.stdout.total + self.stderr.total > OUTPUT_MAX:
            self.stop(f"It put out more than {OUTPUT_MAX:,} bytes.")

    def process_exited(self) -> None:
        self._exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._drained.set()

    async def finish(self, seconds: float, report: Callable[[Program], Awaitable[None]]) -> Finished:
        """Wait for its end, for ``seconds`` at most. Cancelled or not, nothing of it runs afterwards."""
        helpers = [asyncio.create_task(self._watch()), asyncio.create_task(self._report(report))]
        timed_out = False
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            timed_out = True
        finally:
            self._kill()
            for helper in helpers:
                helper.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    await self._drained.wait()
            self._transport.close()  # whoever still holds the streams has left the process group
        by_us = timed_out or bool(self.stopped)
        code = None if by_us else self._transport.get_returncode()
        return Finished(self.stdout.text(), self.stderr.text(), code, timed_out, self.stopped)

    def stop(self, reason: str) -> None:
        """End it at once, and all its children."""
        self.stopped = self.stopped or reason
        self._kill()

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), signal.SIGKILL)

    async def _watch(self) -> None:
        while not self.stopped:
            await asyncio.sleep(WATCH_SECONDS)
            if not self._exited.is_set() and (reason := self._overuse(self._transport.get_pid())):
                self.stop(reason)

    async def _report(self, report: Callable[[Program], Awaitable[None]]) -> None:
        pause, said = REPORT_SECONDS, 0
        while True:
            await asyncio.sleep(pause)
            total = self.stdout.total + self.stderr.total
            if total != said:
                said = total
                await report(self)
                pause = min(pause * 1.2, 5.0)  # each report is kept: a long call makes fewer of them


async def run_program(
    line: Sequence[str],
    *,
    variables: Mapping[str, str],
    folder: Path,
    seconds: float,
    overuse: Callable[[int], str],
    report: Callable[[Program], Awaitable[None]],
) -> Finished:
    """Run a program in a process group of its own, with these variables and no input.

    Args:
        overuse: tells of a running program, by its process id, why it is to be stopped now; "" if it is not.
        report: called now and then while something new was put out.

    Raises:
        ToolError: it could not be started.
    """
    try:
        _, program = await asyncio.get_running_loop().subprocess_exec(
            lambda: Program(overuse),
            *line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(variables),
            cwd=folder,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ToolError(f"The command could not be started: {error}") from error
    return await program.finish(seconds, report)


def usage_of(pid: int, most: int) -> tuple[int, int]:
    """Return how many processes a process has begotten that still run, with itself, and their memory in bytes.

    It stops counting beyond ``most`` processes. Where the system does not tell, there is one.
    """
    waiting, count, pages = [pid], 0, 0
    while waiting and count <= most:
        current = waiting.pop()
        count += 1
        with suppress(OSError, ValueError, IndexError):
            resident, shared = Path(f"/proc/{current}/statm").read_text().split()[1:3]
            pages += int(resident) - int(shared)
            for task in os.listdir(f"/proc/{current}/task"):
                waiting += map(int, Path(f"/proc/{current}/task/{task}/children").read_text().split())
    return count, pages * os.sysconf("SC_PAGE_SIZE")
