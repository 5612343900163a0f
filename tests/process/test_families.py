"""Children in real processes: where there is one slot for all of them, and after ``kill -9``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.children.asking import run
from tests.process import asking
from tests.process.clients import Rest, check_log
from tests.process.servers import EmbeddedServer, ScaledStack
from tests.process.test_approval_kills import QUICK, bring_back

pytestmark = pytest.mark.process

STACKS = pytest.mark.parametrize("kind", [EmbeddedServer, pytest.param(ScaledStack, marks=pytest.mark.scaled)])


@STACKS
async def test_a_family_of_four_gets_by_with_one_slot(data_dir: Path, kind: Any) -> None:
    with kind(data_dir, {"WORKER_TURNS": "1", "TURNS_PER_USER_MAX": "1"}) as stack:
        async with Rest(stack, stack.issue_key()) as rest:
            session = await rest.new_session()
            turn = await rest.start(session, run(run(run("/words 3"))))
            ended = await rest.ended(turn, 30)
            depths = asking.query(stack, "SELECT depth FROM copilot_session ORDER BY depth")
            states = asking.query(stack, "SELECT DISTINCT status FROM copilot_turn")
        await asyncio.to_thread(stack.check_invariants)
    assert ended["status"] == "completed", ended
    assert [depth for (depth,) in depths] == [0, 1, 2, 3]
    assert states == [("completed",)]


@STACKS
@pytest.mark.parametrize("point", ["prompt_sent", "turn_claimed:2", "turn_ends", "call_ran"])
async def test_a_killed_parent_sends_no_second_prompt(data_dir: Path, kind: Any, point: str) -> None:
    with kind(data_dir, {**QUICK, "DEBUG": "true", "FAULT_POINTS": point}) as stack:
        async with Rest(stack, stack.issue_key()) as rest:
            session = await rest.new_session()
            turn = await rest.start(session, run("/words 3"))
            await asyncio.to_thread(bring_back, stack)
            ended = await rest.ended(turn, 30)
            log = await rest.events(turn)
            said = await rest.messages(session)
        below = "SELECT COUNT(*) FROM copilot_session WHERE depth = 1"
        prompts = "SELECT COUNT(*) FROM copilot_message WHERE origin = 'child' AND role = 'user'"
        assert asking.query(stack, below) + asking.query(stack, prompts) == [(1,), (1,)]
        await asyncio.to_thread(stack.check_invariants)
    assert ended["status"] == "completed", ended
    check_log(log)
    [call] = [part for message in said for part in message["parts"] if part["type"] == "dynamic-tool"]
    assert (call["output"]["status"], call["output"]["text"]) == ("completed", "w1 w2 w3")


async def test_a_child_is_stopped_that_a_killed_process_left_to_itself(data_dir: Path) -> None:
    """The process dies between the end of the parent and the stop of the child."""
    with EmbeddedServer(data_dir, {**QUICK, "DEBUG": "true", "FAULT_POINTS": "turn_ended"}) as stack:
        async with Rest(stack, stack.issue_key()) as rest:
            session = await rest.new_session()
            turn = await rest.start(session, run("/words 1\n/sleep 60", wait=0) + "\n/fail auth")
            await asyncio.to_thread(bring_back, stack)
            assert (await rest.ended(turn, 30))["status"] == "failed"
            [(child,)] = asking.query(stack, "SELECT id FROM copilot_turn WHERE parent_id IS NOT NULL")
            ended = await rest.ended(str(child), 30)
        await asyncio.to_thread(stack.check_invariants)
    assert (ended["status"], ended["error"]["code"]) == ("cancelled", "parent_stopped")
