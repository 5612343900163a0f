"""The example of ``docs/clients.md``, with a client that a public generator makes of the API document."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.servers import ROOT, EmbeddedServer, environment

pytestmark = pytest.mark.process

SECONDS = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("generated") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def folder(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the generated package and the example."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "config.yaml").write_text("post_hooks: []\n")
    options = ["--url", f"{server.url}/api/v1/schema", "--meta", "none", "--output-path", "holdfast"]
    said = run(folder, "-m", "openapi_python_client", "generate", *options, "--config", "config.yaml")
    # Whatever it cannot make something of it only warns about, and leaves out.
    assert "warning" not in said.lower(), said
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.DOTALL)
    (folder / "example.py").write_text(example)
    return folder


def run(folder: Path, *arguments: str) -> str:
    """Run Python in a folder; return what it said. It must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(NO_COLOR="1"),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_the_example_makes_a_session_sends_waits_and_decides(server: EmbeddedServer, folder: Path) -> None:
    said = run(folder, "example.py", server.url, server.issue_key())
    approved, *results, refused = said.splitlines()
    assert approved == "approved: demo_note {'text': 'hello'}"
    assert "demo_note" in results[0]
    assert refused == "invalid"


def test_the_example_is_typed(folder: Path) -> None:
    run(folder, "-m", "mypy", "--strict", "--no-error-summary", "--follow-imports=silent", "example.py")
