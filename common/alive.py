"""Does the worker of this container, or of this unit, still answer?

A worker that hangs loses its turns to others, but goes on to take up the place of one that works. So it says with
each heartbeat that its event loop answers, to those who may start it again: to systemd (``WatchdogSec=``), and by
the age of a file to ``python -m common.alive``, which a container's health check runs. It asks nothing of the
database, whose absence no restart mends, and loads nothing but this file.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

#: Seconds of silence after which a worker counts as hung.
SILENCE = 15.0


def mark() -> Path:
    """Return the file whose age is the time since the last report."""
    return Path(tempfile.gettempdir()) / "holdfast-worker"


def report_alive() -> None:
    """Say that this process answers. Never fails: who cannot hear it finds the process dead."""
    with contextlib.suppress(OSError):
        # No link is followed: anybody may have put one into a directory that all share.
        descriptor = os.open(mark(), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)
    if address := os.environ.get("NOTIFY_SOCKET"):
        _notify(address)


def _notify(address: str) -> None:
    """Tell systemd; ``@`` stands for the null byte of an abstract socket's name."""
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(b"WATCHDOG=1", name)


def silence() -> float:
    """Return the seconds since the last report; infinity when there never was one."""
    try:
        return time.time() - mark().stat(follow_symlinks=False).st_mtime
    except OSError:
        return float("inf")


def main() -> int:
    """Print what is known, and return 0 if the worker answers."""
    silent = silence()
    sys.stdout.write(
        "no worker ever reported here\n" if silent == float("inf") else f"reported {silent:.1f} s ago\n"
    )
    return 0 if silent <= SILENCE else 1


if __name__ == "__main__":
    sys.exit(main())
