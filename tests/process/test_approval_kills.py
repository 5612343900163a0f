"""``kill -9`` at each point from the pause to the end of the turn: what was approved runs once, the rest never.

The process under test is armed: it dies when it gets to the named point. Then it is started again as usual.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.process import asking
from tests.process.clients import Rest, check_log
from tests.process.servers import EmbeddedServer, Process, ScaledStack, Stack, until

pytestmark = pytest.mark.process

TEXT = "\n".join(
    [
        "/words 3",
        asking.tool("demo_note", text="approved"),
        asking.tool("demo_note", text="rejected"),
        asking.tool("demo_once", text="allowed"),
        "/words 4",
    ]
)
QUICK = {"TURN_LEASE_SECONDS": "1.5", "TURN_HEARTBEAT_SECONDS": "0.3"}
#: What a process that was armed ends with.
STRUCK = 86

#: Points in the order in which they are reached, and what may be said of the approved call afterwards: its state,
#: and how often it ran. The allowed call, or the first claim, gets there first: the second time is the one.
POINTS = {
    "turn_pauses": ("output-available", 1),
    "decision_stored": ("output-available", 1),
    "turn_goes_on": ("output-available", 1),
    "before_dispatch:2": ("output-available", 1),
    "turn_claimed:2": ("output-available", 1),
    "call_begun:2": ("output-error", 0),
    "call_ran:2": ("output-error", 1),
    "call_settled:2": ("output-available", 1),
    "turn_ends": ("output-available", 1),
}
#: At these the decision has not been committed.
UNDECIDED = {"turn_pauses", "decision_stored", "turn_goes_on"}


@pytest.mark.parametrize("kind", [EmbeddedServer, pytest.param(ScaledStack, marks=pytest.mark.scaled)])
@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_around_a_decision_loses_and_doubles_nothing(data_dir: Path, kind: Any, point: str) -> None:
    with kind(data_dir, {**QUICK, "DEBUG": "true", "FAULT_POINTS": point}) as stack:
        key = stack.issue_key()
        async with Rest(stack, key) as rest:
            session = await rest.new_session()
            turn = await rest.start(session, TEXT)
            if point == "turn_pauses":
                await asyncio.to_thread(bring_back, stack)
                approval = await asking.asked(rest, turn)
            else:
                approval = await asking.asked(rest, turn)
                with suppress(httpx2.TransportError):
                    await asking.decide(rest, approval, _wish(approval))
                await asyncio.to_thread(bring_back, stack)
            seen = await rest.get(f"approvals/{approval['id']}")
            assert seen["status"] == ("pending" if point in UNDECIDED else "decided")
            # Decided again, or the answer was lost and the same is sent once more.
            answer = await asking.decide_until_answered(rest, approval, _wish(approval))
            assert answer.status_code == 200, answer.text
            ended = await rest.ended(turn, 30)
            log = await rest.events(turn)
            said = asking.calls(await rest.messages(session))
        await asyncio.to_thread(stack.check_invariants)
        assert asking.audited(stack, approval) == ["decided", "decided"]
    assert ended["status"] == "completed", ended
    check_log(log)
    found = asking.kinds(log)
    assert (found["data-approval"], found["data-approval-decided"]) == (1, 1)
    state, times = POINTS[point]
    states = {text: part["state"] for text, part in said.items()}
    assert states == {"approved": state, "rejected": "output-denied", "allowed": "output-available"}
    assert asking.lines(stack, session) == ["approved"] * times
    assert asking.lines(stack, session, "once.txt") == ["allowed"]
    if state == "output-error":
        assert "not known" in said["approved"]["errorText"]


def _wish(approval: asking.Approval) -> dict[str, Any]:
    return asking.decisions(approval, lambda text: {"type": "approve" if text == "approved" else "reject"})


def bring_back(stack: Stack) -> None:
    """Wait until the armed process is struck, and start it again as usual."""
    struck: Process = until("death", lambda: next((each for each in stack.processes if not each.alive), None), 30)
    assert struck.exit_code == STRUCK, struck.output()[-3000:]
    del stack.env["FAULT_POINTS"]
    struck.start()
    stack.wait_ready(stack.server if isinstance(stack, EmbeddedServer) else stack.web[0])  # type: ignore[attr-defined]
