"""The AI SDK's own client in front of the server, in both versions: what it shows is what is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.process.asking import lines
from tests.process.servers import EmbeddedServer

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
