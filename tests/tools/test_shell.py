"""Commands: what they see, what they may, and that nothing of them is left behind. With the real bubblewrap."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from common.redaction import redact_text
from copilot.tools import process, sandbox, shell
from copilot.tools.files import EditFile, WriteFile
from copilot.tools.process import Output
from copilot.tools.shell import Shell
from tests.tools.using import use

pytestmark = pytest.mark.sandbox


@pytest.fixture(autouse=True)
def works(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests fail where there is no sandbox: they say nothing when they do not run."""
    assert sandbox.problem() == ""
    monkeypatch.setenv("HOLDFAST_SECRET", "of the server")


async def run(workspace: Path, command: str, **more: Any) -> dict[str, Any]:
    result = await use(Shell(), workspace, command=command, **more)
    assert isinstance(result, dict)
    return result


async def said(workspace: Path, command: str) -> str:
    """Return what a command that succeeds puts out."""
    result = await run(workspace, command)
    assert (result["exit_code"], result["timed_out"]) == (0, False), result
    return str(result["stdout"])


def running(mark: str) -> list[str]:
    """Return the command lines of this machine that hold ``mark``."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if mark in line]


async def gone(mark: str) -> None:
    """Wait until no process with ``mark`` in its command line runs; the system takes a moment to end them."""
    async with asyncio.timeout(5):
        while running(mark):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


@pytest.fixture(params=["bwrap", "unsafe_host"])
def either(request: pytest.FixtureRequest, settings: Settings) -> str:
    """With and without a sandbox."""
    settings.SHELL_SANDBOX = request.param
    return str(request.param)


# --- what they do --------------------------------------------------------------------------------


async def test_a_command_runs_in_the_workspace(either: str, tmp_path: Path) -> None:
    result = await run(tmp_path / "new", "echo out; echo ü >&2; echo kept > file; exit 3")
    assert result == {"stdout": "out\n", "stderr": "ü\n", "exit_code": 3, "timed_out": False}
    assert (tmp_path / "new" / "file").read_text() == "kept\n"
    assert await said(tmp_path / "new", "cat file") == "kept\n"


async def test_there_is_no_input_to_wait_for(either: str, tmp_path: Path) -> None:
    assert await said(tmp_path, "cat") == ""


async def test_the_variables_are_a_short_list(either: str, tmp_path: Path) -> None:
    names = {line.partition("=")[0] for line in (await said(tmp_path, "env")).splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {"PATH", "HOME", "LANG", "TZ"}
    assert await said(tmp_path, "echo $TZ") == "Europe/Berlin\n"


async def test_a_server_that_is_not_root_needs_no_other_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_lends_user", lambda: False)
    assert await said(tmp_path, "echo a > b; cat b; id -u") == "a\n1000\n"
    assert (await run(tmp_path, "echo 1 > /proc/sys/kernel/hostname"))["exit_code"] != 0


async def test_no_process_in_the_sandbox_has_a_variable_of_the_server(tmp_path: Path) -> None:
    """The sandbox's own first process, too; the control reads the server's as a command on the host can."""
    command = "cat /proc/[0-9]*/environ | tr '\\0' '\\n'"
    assert "HOLDFAST_SECRET" not in await said(tmp_path, command)
    found = await said(tmp_path, "ls -d /proc/[0-9]*")
    assert len(found.split()) < 6


async def test_what_is_seen_of_this_machine(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "data" / "session").mkdir(parents=True)
    (tmp_path / "data" / "database").write_text("other people's")
    settings.DATA_DIR = tmp_path / "data"
    workspace = tmp_path / "data" / "session"
    seen = set((await said(workspace, "ls -A /; echo $HOME; id -u; hostname")).split())
    known = {"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc"}
    assert seen - known == {"dev", "proc", "tmp", "workspace", "/workspace", "1000", "sandbox"}
    for path in (tmp_path / "data" / "database", settings.ROOT, Path("/etc/shadow"), Path("/root"), Path("/var")):
        assert (await run(workspace, f"ls {path}"))["exit_code"] != 0
    assert (await said(workspace, "ls -A")) == ""


def test_what_is_ours_is_hidden_where_programs_are(settings: Settings, tmp_path: Path) -> None:
    settings.ROOT, settings.DATA_DIR = Path("/usr/src/app"), Path("/usr/src/app/var")
    line = sandbox.command_line("true", tmp_path, "UTC", 1)
    assert "--tmpfs /usr/src/app" in " ".join(line)


@pytest.mark.parametrize(
    "command",
    [
        "touch /x",
        "touch /usr/x",
        "touch /etc/x",
        "touch /dev/x",
        "echo 1 > /proc/sys/kernel/hostname",
        "echo 0 > /proc/self/oom_score_adj",
        "mkdir /a",
    ],
)
async def test_nothing_else_can_be_written(tmp_path: Path, command: str) -> None:
    result = await run(tmp_path, command)
    assert result["exit_code"] != 0


async def test_the_temporary_folder_is_its_own(tmp_path: Path) -> None:
    assert await said(tmp_path, "echo a > /tmp/holdfast-x; cat /tmp/holdfast-x") == "a\n"
    assert "holdfast-x" not in os.listdir("/tmp")
    assert await said(tmp_path, "ls -A /tmp") == ""


async def test_no_right_can_be_had_back(tmp_path: Path) -> None:
    assert (await run(tmp_path, "unshare --user true"))["exit_code"] != 0
    assert "CapEff:\t0000000000000000" in await said(tmp_path, "cat /proc/self/status")
    assert (await run(tmp_path, "mount -t tmpfs x /tmp"))["exit_code"] != 0


@pytest.mark.parametrize("allowed", [False, True])
async def test_the_network_is_reached_only_where_it_is_allowed(
    tmp_path: Path, settings: Settings, allowed: bool
) -> None:
    settings.SHELL_NETWORK = allowed
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]}"
        assert ((await run(tmp_path, command))["exit_code"] == 0) is allowed


# --- their limits --------------------------------------------------------------------------------


async def test_a_command_over_its_time_is_stopped_with_what_it_had_said(either: str, tmp_path: Path) -> None:
    result = await run(tmp_path, "echo before; sleep 321.5 & sleep 321.5", timeout=0.5)
    assert result == {"stdout": "before\n", "stderr": "", "exit_code": None, "timed_out": True}
    await gone("321.5")


async def test_no_command_takes_longer_than_a_tool_may(tmp_path: Path, settings: Settings) -> None:
    settings.TOOL_MAX_SECONDS = 1
    assert (await run(tmp_path, "sleep 322.5", timeout=3000))["timed_out"]


async def test_what_runs_in_the_background_ends_with_the_call(either: str, tmp_path: Path) -> None:
    began = time.monotonic()
    assert await said(tmp_path, "sleep 323.5 & (sleep 323.5 &) ; nohup sleep 323.5 & echo done") == "done\n"
    assert time.monotonic() - began < 20
    await gone("323.5")


async def test_a_cancelled_call_leaves_nothing_running(either: str, tmp_path: Path) -> None:
    progress: list[Any] = []
    leaves_its_group = "setsid sleep 324.5" if either == "bwrap" else "sleep 324.5"  # which the host allows
    call = asyncio.create_task(use(Shell(), tmp_path, progress, command=f"echo on; {leaves_its_group} & wait"))
    async with asyncio.timeout(10):
        while not progress:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert progress == [{"stdout": "on\n", "stderr": ""}]
    began = time.monotonic()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert time.monotonic() - began < 1
    await gone("324.5")


async def test_a_command_ends_with_its_server(tmp_path: Path) -> None:
    """What started it is killed without a word, as a worker may be."""
    sandbox.prepare(tmp_path)
    line = sandbox.command_line("sleep 325.5", tmp_path, "UTC", 9)
    parent = await asyncio.create_subprocess_exec(
        "python3", "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *line
    )
    async with asyncio.timeout(10):
        while len(running("325.5")) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    parent.kill()
    await parent.wait()
    await gone("325.5")


async def test_too_many_processes_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a real bomb: other tests run on this machine at the same time."""
    monkeypatch.setattr(sandbox, "PROCESSES", 20)
    result = await run(tmp_path, "for each in $(seq 60); do sleep 20 & done; wait")
    assert result["exit_code"] is None
    assert f"more than {sandbox.PROCESSES} processes" in result["stderr"]


async def test_endless_output_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "OUTPUT_MAX", 1_000_000)
    result = await run(tmp_path, "yes")
    assert (result["exit_code"], result["timed_out"]) == (None, False)
    assert "Stopped: It put out more than 1,000,000 bytes." in result["stderr"]
    assert len(result["stdout"]) < process.KEPT_BYTES + 100


async def test_memory_and_files_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MEMORY_BYTES", 100_000_000)
    monkeypatch.setattr(sandbox, "FILE_BYTES", 10_000)
    assert (await run(tmp_path, "perl -e '$x = q(a) x 200_000_000'"))["exit_code"] != 0
    assert (await run(tmp_path, "head -c 20000 /dev/zero > big"))["exit_code"] != 0
    assert (tmp_path / "big").stat().st_size == 10_000


async def test_memory_of_many_processes_counts_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MEMORY_BYTES", 60_000_000)
    hold = "perl -e '$x = q(a) x 20_000_000; sleep 20'"
    result = await run(tmp_path, f"{hold} & {hold} & {hold} & {hold} & wait")
    assert "memory" in result["stderr"]


async def test_a_command_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    result = await run(tmp_path, "no-such-program")
    assert (result["exit_code"], "not found" in result["stderr"]) == (127, True)


async def test_the_limit_of_processes_is_the_systems_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the server is root, of whom none are counted: looking now and then would come too late."""
    monkeypatch.setattr(sandbox, "PROCESSES", 20)
    monkeypatch.setattr(shell, "_overuse", lambda pid: "")
    result = await run(tmp_path, "for each in $(seq 30); do sleep 326.5 & done", timeout=3)
    assert "Resource temporarily unavailable" in result["stderr"]
    await gone("326.5")


async def test_commands_can_change_what_tools_wrote_and_the_other_way_round(tmp_path: Path) -> None:
    workspace = tmp_path / "deep" / "session"
    await use(WriteFile(), workspace, path="a/b", content="1")
    await said(workspace, "echo 2 >> a/b; mkdir c; echo 3 > c/d; ln -s /etc/passwd c/e; chmod 700 a c")
    await use(EditFile(), workspace, path="a/b", old="12\n", new="4")
    await use(EditFile(), workspace, path="c/d", old="3", new="5")
    assert await said(workspace, "cat a/b c/d; echo > a/b; rm -r a c") == "45\n"
    assert await asyncio.to_thread(lambda: Path("/etc/passwd").stat().st_uid) == 0


# --- where there is none -------------------------------------------------------------------------


def test_without_a_sandbox_it_is_not_offered(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Shell().available()
    settings.SHELL_SANDBOX = "disabled"
    assert (Shell().available(), "SHELL_SANDBOX=disabled" in sandbox.problem()) == (False, True)
    settings.SHELL_SANDBOX = "bwrap"
    sandbox._problem.cache_clear()
    try:
        monkeypatch.setenv("PATH", "/nowhere")
        assert "Install bubblewrap" in sandbox.problem()
        monkeypatch.setattr(sandbox.shutil, "which", lambda name: "/bin/false")
        sandbox._problem.cache_clear()
        assert "does not work here" in sandbox.problem()
        assert not Shell().available()
    finally:
        monkeypatch.undo()
        sandbox._problem.cache_clear()


# --- what is kept of their output ----------------------------------------------------------------


def test_of_much_output_the_beginning_and_the_end_are_kept_in_whole_lines() -> None:
    output = Output(100)
    for number in range(1000):
        output.feed(b"line %d\n" % number)
    head, gap, tail = output.text().partition("\n[… ")
    assert head.splitlines() == [f"line {number}" for number in range(7)]
    assert tail.splitlines()[0] == f"{output.total - len(head) - 1 - 45:,} bytes left out …]"
    assert tail.splitlines()[1:] == [f"line {number}" for number in range(995, 1000)]
    assert gap


@pytest.mark.parametrize("size", [99, 100, 101, 151, 1000])
def test_little_output_is_kept_whole(size: int) -> None:
    output = Output(100)
    for _ in range(size):
        output.feed(b"x")
    assert (output.text() == "x" * size) is (size <= 100)


def test_progress_shows_whole_lines_and_no_secret() -> None:
    secret = "ghp_" + "x9Kq2LmZ7tRbW4vN8cYd1HfJ6sPgA3uE5oTi"
    output = Output()
    output.feed(b"one\ntwo " + secret[:20].encode())
    assert output.last_lines(1000) == "one\n"
    output.feed(secret[20:].encode() + b"\n")
    assert secret in output.last_lines(1000)
    assert secret not in redact_text(output.last_lines(1000))
    assert output.last_lines(20) == ""


def test_this_process_counts(tmp_path: Path) -> None:
    count, memory = process.usage_of(os.getpid(), 100)
    assert count >= 1
    assert memory > 10_000_000
