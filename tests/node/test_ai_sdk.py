"""The AI SDK's own client in front of the server, in both versions: what it shows is what is stored."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node.conftest import HERE, SCRIPT_SECONDS
from tests.process.asking import lines
from tests.process.servers import EmbeddedServer, Process, until

pytestmark = pytest.mark.node


@pytest.fixture(params=["ai", "ai7"])
def ai(request: pytest.FixtureRequest, run_script: Callable[..., Any]) -> Callable[[str], Any]:
    """Return a function that runs a script with one version of the client."""
    return lambda name: run_script(f"ai/{name}.mjs", PACKAGE=request.param)


@pytest.mark.parametrize("name", ["send", "resume", "question", "busy", "rollback", "stop", "again"])
def test_a_client_sees_what_is_stored(ai: Callable[[str], Any], name: str) -> None:
    ai(name)


def test_of_a_batch_one_call_runs_and_one_does_not(ai: Callable[[str], Any], server: EmbeddedServer) -> None:
    session = ai("approve")
    assert lines(server, session) == ["one"]


@pytest.mark.parametrize("package", ["ai", "ai7"])
def test_a_client_outlives_the_server(package: str, tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "data") as own:
        env = {"PATH": os.environ["PATH"], "API": f"{own.url}/api/v1", "KEY": own.issue_key(), "PACKAGE": package}
        client = Process("client", ["node", str(HERE / "ai" / "survive.mjs")], env=env, folder=tmp_path).start()
        try:
            until("half an answer", lambda: "killed now" in client.output(), SCRIPT_SECONDS)
            own.server.kill()
            own.restart()
            until("end of the client", lambda: not client.alive, SCRIPT_SECONDS)
            assert client.exit_code == 0, client.output()
        finally:
            client.kill()
