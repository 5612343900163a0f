"""Where commands run: in namespaces of their own (bubblewrap), with a short list of what they see of this machine.

They get no variable of the server, no file of it but the session's, no network unless it is allowed, and limits
that they cannot lift.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from copilot.tools.folder import MOUNT, hand_over

HOME = f"/{MOUNT}"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Of one process.
MEMORY_BYTES = 2 * 1024**3
FILE_BYTES = 256 * 1024**2
OPEN_FILES = 1024
#: Of all of a call together.
PROCESSES = 128
TMP_BYTES = 256 * 1024**2

#: What programs need of /etc, and no more: it holds keys and passwords, too.
_ETC = (
    "alternatives",
    "ca-certificates",
    "debian_version",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
)
_ETC_NETWORK = ("hosts", "resolv.conf")
_CHECK_SECONDS = 10.0

#: Whose the commands are, and the workspace, where the server is root: a number of no account. The system counts
#: no processes of root, and lets it write settings of the machine for its number alone.
_USER = 65533


def problem() -> str:
    """Return why commands cannot run here; nothing if they can. Tried once a process."""
    return _problem(settings.SHELL_SANDBOX, settings.SHELL_NETWORK)


def environment(home: str, time_zone: str) -> dict[str, str]:
    """Return all the variables that a command gets."""
    return {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "TZ": time_zone or "UTC"}


def prepare(workspace: Path) -> None:
    """Make a session's folder, and let commands write all that is in it. Blocks."""
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _lends_user():
        hand_over(workspace, _USER)


def command_line(command: str, workspace: Path, time_zone: str, seconds: float) -> list[str]:
    """Return what runs a shell command for a session, in the sandbox that is set.

    Args:
        workspace: the session's folder, prepared.
        seconds: of processor time, for each process.
    """
    if settings.SHELL_SANDBOX == "unsafe_host":
        # Without a limit of processes, which would count those of the server.
        return [*_limits(seconds), _shell(), "-c", command]
    inside = [*_limits(seconds, f"--nproc={PROCESSES}"), _shell(), "-c", command]
    variables = environment(HOME, time_zone)
    if _lends_user():
        return [*_as_user(workspace), *_bubblewrap(Path(HOME), variables), "--", *inside]
    return [*_bubblewrap(workspace, variables), "--", *inside]


def _lends_user() -> bool:
    return os.geteuid() == 0 and settings.SHELL_SANDBOX == "bwrap"


def _as_user(workspace: Path) -> list[str]:
    """Return what runs the rest as another user than root, who finds the workspace where commands will.

    It needs a sandbox, too: that user could not reach the workspace by its own path.
    """
    return [
        _bwrap(),
        *("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
        # With process numbers of its own, since all that has one ends with the first: it may not kill that user's.
        *("--unshare-pid", "--die-with-parent"),
        *_programs(),
        *("--ro-bind", "/etc", "/etc", "--ro-bind-try", "/run/systemd/resolve", "/run/systemd/resolve"),
        *("--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev", "--dir", "/tmp"),  # noqa: S108
        *("--bind", str(workspace), HOME),
        *("--", "/usr/bin/setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "--"),
    ]


def _bwrap() -> str:
    return shutil.which("bwrap") or "bwrap"


def _limits(seconds: float, *more: str) -> list[str]:
    return [
        *("/usr/bin/nice", "-n", "10"),
        "/usr/bin/prlimit",
        f"--cpu={int(seconds) + 1}",
        f"--data={MEMORY_BYTES}",
        f"--fsize={FILE_BYTES}",
        f"--nofile={OPEN_FILES}",
        "--core=0",
        *more,
        "--",
    ]


def _shell() -> str:
    return next((path for path in ("/bin/bash", "/usr/bin/bash") if Path(path).exists()), "/bin/sh")


def _bubblewrap(workspace: Path, variables: dict[str, str]) -> list[str]:
    namespaces = ["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    network = [] if settings.SHELL_NETWORK else ["--unshare-net"]
    identity = ["--disable-userns", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--cap-drop", "ALL"]
    named = [piece for name, value in variables.items() for piece in ("--setenv", name, value)]
    return [
        _bwrap(),
        *(*namespaces, *network, *identity),
        *("--die-with-parent", "--new-session", "--clearenv", *named),
        *_programs(),
        *_etc(),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(TMP_BYTES), "--tmpfs", "/dev/shm"),  # noqa: S108 - a mount point
        *("--size", str(TMP_BYTES), "--tmpfs", "/tmp"),  # noqa: S108
        *("--bind", str(workspace), HOME),
        *("--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"),
        *("--chdir", HOME),
    ]


def _programs() -> Iterator[str]:
    """Yield the mounts of programs and libraries, read-only."""
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = f"/{name}"
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        elif os.path.isdir(path):
            yield from ("--ro-bind", path, path)
    for folder in _ours():
        if folder.is_relative_to("/usr"):
            yield from ("--tmpfs", str(folder))


def _etc() -> Iterator[str]:
    for name in (*_ETC, *(_ETC_NETWORK if settings.SHELL_NETWORK else ())):
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _ours() -> set[Path]:
    """Return the folders of the server: its code with ``.env``, its data, its database."""
    database = str(settings.DATABASES["default"]["NAME"])
    folders = {settings.ROOT, settings.DATA_DIR, *([Path(database).parent] if database.startswith("/") else [])}
    return {Path(folder).resolve() for folder in folders}


@functools.cache
def _problem(sandbox: str, network: bool) -> str:
    if sandbox == "disabled":
        return "Commands are switched off (SHELL_SANDBOX=disabled)."
    if not Path("/usr/bin/prlimit").exists():
        return "There is no /usr/bin/prlimit, which sets the limits of commands. Install util-linux."
    if sandbox == "unsafe_host":
        return ""
    if not shutil.which("bwrap"):
        return "There is no bwrap. Install bubblewrap 0.8 or newer."
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        tried = command_line("true", Path(folder), "UTC", _CHECK_SECONDS)
        try:
            done = subprocess.run(tried, env={}, capture_output=True, timeout=_CHECK_SECONDS, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"bwrap does not work here: {error}"
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ended with {done.returncode}"]
        return f"bwrap does not work here: {said[0][:300]}. It takes bubblewrap 0.8 and user namespaces."
    return ""
