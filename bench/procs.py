"""What /proc says about processes and about the machine."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LIBRARIES = ("django", "channels", "channels-redis", "celery", "uvicorn", "openai", "psycopg")


def tree(pid: int) -> list[int]:
    """Return ``pid`` and all its descendants that are alive."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue  # the thread has just ended
        for child in children:
            found += tree(int(child))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds that the processes and their waited-for children used so far."""
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _stat(pid))) / _TICKS


def _stat(pid: int) -> list[str]:
    try:
        # The name in parentheses may hold spaces; the numbers begin after the last one. Index 11 is utime.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def rss_bytes(pids: Iterable[int]) -> int:
    """Return the resident memory of the processes."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        except OSError:
            continue  # it has just ended
    return total


def named(name: str) -> list[int]:
    """Return the processes whose command is ``name``: the database's, Redis'."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() == name:
                found.append(int(comm.parent.name))
        except OSError:
            continue  # it has just ended
    return found


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on, without naming it."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }
