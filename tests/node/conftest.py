"""Other people's front ends, as they are published, before a real server: one of it for a module."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process import servers
from tests.process.servers import EmbeddedServer
from tests.run import no_node

HERE = Path(__file__).parent
#: Far more than a script needs: reaching it is a failure.
SCRIPT_SECONDS = 60


@pytest.fixture(scope="session", autouse=True)
def _node() -> None:
    if reason := no_node():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """``manage.py up`` with a fresh data directory."""
    with EmbeddedServer(tmp_path_factory.mktemp("node") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def key(server: EmbeddedServer) -> str:
    """A personal key."""
    return server.issue_key()


@pytest.fixture
def run_script(server: EmbeddedServer, key: str) -> Callable[..., Any]:
    """Return a function that runs a script of this folder to its end, which must be a good one.

    Its environment tells it the server's ``API`` address, a ``KEY``, and what is given by keyword. What it prints
    as JSON is returned.
    """

    def run(script: str, **more: str) -> Any:
        told = {"API": f"{server.url}/api/v1", "KEY": key, **more}
        done = subprocess.run(
            ["node", script],
            cwd=HERE,
            env={"PATH": os.environ["PATH"], "NO_COLOR": "1", **told},
            capture_output=True,
            text=True,
            timeout=SCRIPT_SECONDS,
        )
        if done.returncode:
            pytest.fail(
                f"{script} ended with {done.returncode}\n{done.stdout}{done.stderr}{_logs()}", pytrace=False
            )
        return json.loads(done.stdout or "null")

    return run


def _logs() -> str:
    return "".join(f"\n--- server log\n{stack.logs()}" for stack in servers.running)
