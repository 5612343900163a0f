"""The examples of the documentation do what it says that they do."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.node.conftest import HERE, SCRIPT_SECONDS
from tests.process.servers import ROOT, EmbeddedServer, Process, free_port, until

pytestmark = pytest.mark.node

_EXAMPLE = re.compile(r"^```js\n// (\S+\.mjs)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(params=["ai", "ai7"])
def examples(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the examples as files, for one version of the client."""
    for name, code in _EXAMPLE.findall((ROOT / "docs" / "ai-sdk.md").read_text()):
        (tmp_path / name).write_text(code.replace("from 'ai';", f"from '{request.param}';"))
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    return tmp_path


@pytest.fixture
def own_server(examples: Path, server: EmbeddedServer, key: str) -> Iterator[str]:
    """The server of the front end's own, which passes calls on; its address."""
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "HOLDFAST_URL": server.url,
        "HOLDFAST_KEY": key,
        "PORT": str(port),
    }
    process = Process("server", ["node", str(examples / "server.mjs")], env=env, folder=examples).start()
    try:
        until("server", lambda: "ready" in process.output(), SCRIPT_SECONDS)
        yield f"http://127.0.0.1:{port}/api/chat"
    finally:
        process.kill()


def test_a_chat_in_a_terminal(examples: Path, own_server: str) -> None:
    typed = ["/words 3", '/tool demo_note {"text": "hello"}', "y", "/ask Which? | red | blue", "blue"]
    done = subprocess.run(
        ["node", "chat.mjs"],
        cwd=examples,
        env={"PATH": os.environ["PATH"], "API": own_server},
        input="".join(f"{line}\n" for line in typed),
        capture_output=True,
        text=True,
        timeout=SCRIPT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("You:", "w1 w2 w3"),
        *("You:", 'May demo_note run with {"text":"hello"}? (y/n)', "Done."),
        *("You:", "Which?", "- red", "- blue", "Done."),
        "You:",
    ]


@pytest.mark.parametrize(
    "path", ["/api/v1/me", "/api/chat/../../me", "/api/chat/x/../../../me", "/api/chat/%2e%2e/stream"]
)
def test_the_server_passes_no_other_calls_on(own_server: str, path: str) -> None:
    address = urlsplit(own_server)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=SCRIPT_SECONDS)) as wire:
        wire.request("GET", path)
        with wire.getresponse() as response:
            assert response.status == 404


def test_every_example_loads(examples: Path) -> None:
    names = sorted(file.name for file in examples.glob("*.mjs"))
    assert names == ["chat.mjs", "options.mjs", "server.mjs", "short.mjs"]
    for name in ("options.mjs", "short.mjs"):
        subprocess.run(["node", name], cwd=examples, check=True, timeout=SCRIPT_SECONDS)
