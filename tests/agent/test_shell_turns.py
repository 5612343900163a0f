"""Commands in turns: stopped with them, and what rows keep of them. With the real bubblewrap."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from pytest_django import Settings

from common.db import db
from copilot import worker
from copilot.models import ToolCall
from copilot.providers.base import ToolResultPart
from copilot.turns import cancel
from copilot.workspaces import workspace_of
from tests.factories import events_of
from tests.harness import Crew

pytestmark = [pytest.mark.sandbox, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def allowed(settings: Settings, tmp_path: Path) -> None:
    """Commands run without asking, in a folder of the test's own."""
    settings.DATA_DIR = tmp_path
    settings.APPROVALS_ALLOW = ("shell",)


def shell(command: str) -> str:
    return f"/tool shell {json.dumps({'command': command})}"


def left_running(mark: str) -> bool:
    found = [path / "cmdline" for path in Path("/proc").iterdir() if path.name.isdigit()]
    for path in found:
        try:
            if mark.encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


async def test_a_stop_kills_a_command_within_a_second_and_keeps_what_it_said(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send(f"{shell('echo on; sleep 331.5 & sleep 331.5')}\n/words 1")
    await crew.until(turn, "tool-output-available")
    loop = asyncio.get_running_loop()
    began = loop.time()
    result = await cancel.cancel_turn(user=turn.session.user, turn_id=turn.id)
    await crew.true(lambda: not left_running("331.5"))
    assert loop.time() - began < 1
    assert (result.cancelled, result.confirmed) == (True, True)
    chunks = [chunk for _, chunk in await db(events_of, turn) if chunk["type"] == "tool-output-available"]
    assert chunks[0]["output"] == {"stdout": "on\n", "stderr": ""}


async def test_a_worker_that_stops_leaves_no_command_running(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LEAVE_TOOLS_SECONDS", 0.1)
    await crew.hire()
    turn = await crew.send(f"{shell('echo on; sleep 332.5')}\n/words 1")
    await crew.until(turn, "tool-output-available")
    await crew.dismiss()
    await crew.true(lambda: not left_running("332.5"))


async def test_a_secret_reaches_the_command_and_no_row(crew: Crew) -> None:
    secret = "ghp_" + "x9Kq2LmZ7tRbW4vN8cYd1HfJ6sPgA3uE5oTi"
    await crew.hire()
    turn = await crew.say(f"{shell(f'echo {secret} | tee secret | wc -c; cat secret; env')}\n/words 1")
    call = await db(lambda: ToolCall.objects.get(turn=turn))
    assert call.output["stdout"].startswith("41\n"), call.error
    assert secret not in json.dumps([call.arguments, call.output, call.error])
    assert secret not in json.dumps([chunk for _, chunk in await db(events_of, turn)])
    parts = [part for message in crew.requests[-1].messages for part in message.parts]
    [read] = [part for part in parts if isinstance(part, ToolResultPart)]
    assert secret in read.output
    assert (await db((workspace_of(turn.session_id) / "secret").read_text)) == f"{secret}\n"
