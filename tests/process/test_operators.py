"""What operators see of a server in real trouble, what they do about it, and a worker that comes back later."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.process import asking
from tests.process.clients import Rest, eventually
from tests.process.servers import ScaledStack, until

pytestmark = [pytest.mark.process, pytest.mark.scaled]

#: Leases that run out soon, and a second that is long.
QUICK = {
    "TURN_LEASE_SECONDS": "2",
    "TURN_HEARTBEAT_SECONDS": "0.4",
    "DIAG_STUCK_QUEUED_SECONDS": "1",
    "DIAG_LONG_RUNNING_SECONDS": "1",
}
#: A worker that is stopped in the middle of a transaction keeps its locks until the database ends that.
UNLOCKED_SECONDS = 75.0


class Operator(Rest):
    """A member of the staff, who opens no session: that would take its turn over."""

    async def ids(self, category: str) -> set[str]:
        """Return the turns of a category, as many as the diagnostics say."""
        listed = await self.get("operator/turns", category=category)
        assert listed["total"] == len(listed["results"])
        return {turn["id"] for turn in listed["results"]}

    async def sees(self, category: str, *turns: str, seconds: float = 15) -> None:
        """Wait until these turns are in a category, and no others."""

        async def seen() -> bool:
            return await self.ids(category) == set(turns)

        await eventually(f"turns that are {category}", seen, seconds)
        assert (await self.get("operator/diagnostics"))[category] == len(turns)

    async def cleans_up(self, category: str) -> None:
        """Clean up the one turn of a category."""

        async def done() -> bool:
            answer = await self.http.post("operator/turns/cleanup", json={"all": category}, timeout=30)
            assert answer.status_code == 200, answer.text
            outcome: dict[str, Any] = answer.json()
            assert outcome["requested"] == 1
            return bool(outcome["affected"] == 1)

        await eventually(f"cleanup of what is {category}", done, UNLOCKED_SECONDS)


async def test_a_worker_that_comes_back_leaves_what_an_operator_cleaned_up(data_dir: Path) -> None:
    with ScaledStack(data_dir, QUICK) as stack:
        key = stack.issue_key()
        operators = stack.manage("issue_key", "olga", "--scopes", "operator").splitlines()[-1]
        async with Rest(stack, key) as rest, Operator(stack, operators) as operator:
            failed = await rest.start(await rest.new_session(), "/fail quota")
            waiting = await rest.start(await rest.new_session(), asking.tool("demo_note", text="may I?"))
            running = await rest.start(await rest.new_session(), "/words 3000 50")
            await operator.sees("failed", failed)
            await operator.sees("waiting", waiting)
            await operator.sees("long_running", running)
            assert (await operator.ids("orphaned"), await operator.ids("stuck_queued")) == (set(), set())

            zombie = stack.workers[0]
            zombie.send(signal.SIGSTOP)
            stuck = await rest.start(await rest.new_session(), "/words 3")
            await operator.sees("orphaned", running)
            await operator.sees("stuck_queued", stuck)
            await operator.sees("queued", stuck)
            await operator.cleans_up("orphaned")
            await operator.cleans_up("stuck_queued")
            zombie.send(signal.SIGCONT)
            await asyncio.to_thread(_wait_for_stale, zombie)

            after = await rest.start(await rest.new_session(), "/words 3")
            assert (await rest.ended(after, 15))["status"] == "completed", "it works again"
            lost, late = await rest.get(f"turns/{running}"), await rest.get(f"turns/{stuck}")
            await operator.sees("waiting", waiting)
            assert await operator.ids("failed") == {failed, running, stuck}
            for category in ("running", "queued", "orphaned", "stuck_queued", "invalid"):
                assert await operator.ids(category) == set(), category
        await asyncio.to_thread(stack.check_invariants)
        acts = stack.query(
            "SELECT operator_name, category, requested FROM copilot_operatorentry WHERE affected = 1 ORDER BY id"
        )
    assert (lost["status"], lost["error"]["code"]) == ("failed", "worker_lost")
    assert (late["status"], late["error"]["code"]) == ("failed", "stalled")
    assert acts == [("olga", "orphaned", 1), ("olga", "stuck_queued", 1)]


def _wait_for_stale(zombie: Any) -> None:
    until("stale turn", lambda: "turn is held by somebody else" in zombie.output(), 15)
