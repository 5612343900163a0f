"""A person is deleted while they are answered, and whoever deletes them dies: the server goes on with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.clients import Rest
from tests.process.servers import ROOT, EmbeddedServer, Stack, until

pytestmark = pytest.mark.process
SECONDS = 40.0
SESSIONS = 5


def dies_deleting(stack: Stack, name: str) -> int:
    """Delete a person in a process that dies as soon as it is decided; return its exit code.

    Any step of it the server might be the first to take.
    """
    command = [sys.executable, "manage.py", "delete_user", name, "--yes"]
    env = {**stack.env, "DEBUG": "true", "FAULT_POINTS": "person_leaves"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=60).returncode


def files(data_dir: Path) -> list[str]:
    """The names of everything that people or tools left on disk."""
    return [path.name for part in ("files", "workspaces") for path in (data_dir / part).glob("*")]


async def test_a_killed_deletion_is_finished_by_the_server(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "data") as server:
        leaving, staying = server.issue_key("leaver"), server.issue_key("stayer")
        async with Rest(server, leaving) as leaver, Rest(server, staying) as stayer:
            sessions = [await leaver.new_session() for _ in range(SESSIONS)]
            kept = await stayer.new_session()
            turn = await stayer.start(kept, '/tool demo_once {"text": "mine"}\n/words 20 10')
            await leaver.start(sessions[0], '/tool demo_once {"text": "theirs"}\n/words 5000 10')
            await asyncio.to_thread(until, "file", lambda: len(files(server.data_dir)) == 2, SECONDS)
            assert await asyncio.to_thread(dies_deleting, server, "leaver") == 86
            refused = await leaver.http.get("me")
            assert refused.status_code == 401
            await asyncio.to_thread(until, "end", lambda: _is_gone(server, "leaver"), SECONDS)
            assert (await stayer.ended(turn, SECONDS))["status"] == "completed"
        assert files(server.data_dir) == [kept]
        server.check_invariants()


def _is_gone(server: Stack, name: str) -> bool:
    return f"There is no user '{name}'." in server.run("delete_user", name).stderr
