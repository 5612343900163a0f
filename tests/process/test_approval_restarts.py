"""Processes that come and go while a turn waits for a person: it waits in rows, and in nobody's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process import asking
from tests.process.clients import Rest, check_turn, following, words
from tests.process.servers import EmbeddedServer, Process, ScaledStack

pytestmark = pytest.mark.process

TEXT = "/words 4\n" + asking.tool("demo_note", text="hello") + "\n/words 6"
SAID = words(4) + words(6)


def _approve(approval: asking.Approval) -> dict[str, object]:
    return asking.decisions(approval, lambda _: {"type": "approve"})


@pytest.mark.parametrize("end", [Process.kill, Process.stop])
async def test_a_turn_waits_through_a_restart_and_goes_on_as_decided(
    data_dir: Path, end: Callable[[Process], object]
) -> None:
    with EmbeddedServer(data_dir) as server:
        key = server.issue_key()
        async with Rest(server, key) as rest:
            session = await rest.new_session()
            async with following(server, key, session) as follower:
                turn = await rest.start(session, TEXT)
                follower.expect(turn)
                before = await asking.asked(rest, turn)
                await asyncio.to_thread(end, server.server)
                await asyncio.to_thread(server.restart)
                found = await rest.get(f"sessions/{session}")
                assert found["active_turn"]["status"] == "requires_action"
                assert found["active_turn"]["approval"] == before
                assert (await rest.get("approvals", status="pending"))["results"] == [before]
                answer = await asking.decide(rest, before, _approve(before))
                assert answer.status_code == 200, answer.text
                ended = await rest.ended(turn, 20)
                await check_turn(rest, turn, follower)
        await asyncio.to_thread(server.check_invariants)
    assert (ended["status"], ended["text"], ended["attempt"]) == ("completed", SAID, 1)
    assert asking.lines(server, session) == ["hello"]


@pytest.mark.scaled
async def test_a_worker_that_is_killed_while_a_turn_waits_changes_nothing(data_dir: Path) -> None:
    quick = {"TURN_LEASE_SECONDS": "1", "TURN_HEARTBEAT_SECONDS": "0.2"}
    with ScaledStack(data_dir, quick) as stack:
        key = stack.issue_key()
        async with Rest(stack, key) as rest:
            session = await rest.new_session()
            async with following(stack, key, session) as follower:
                turn = await rest.start(session, TEXT)
                approval = await asking.asked(rest, turn)
                log = await rest.events(turn)
                await asyncio.to_thread(stack.workers[0].kill)
                await asyncio.to_thread(stack.add_worker)
                # The new worker sweeps: a turn whose lease ran out would be taken over in the meantime.
                probe = await rest.ended(await rest.start(await rest.new_session(), "/sleep 2\n/words 1"), 20)
                assert probe["status"] == "completed"
                assert await rest.events(turn) == log
                assert (await rest.get(f"turns/{turn}"))["approval"] == approval
                answer = await asking.decide(rest, approval, _approve(approval))
                assert answer.status_code == 200, answer.text
                ended = await rest.ended(turn, 20)
                await check_turn(rest, turn, follower)
        told = asking.journal(stack, turn)
        await asyncio.to_thread(stack.check_invariants)
    assert (ended["status"], ended["text"], ended["attempt"]) == ("completed", SAID, 1)
    assert (told["claimed"], told["recovered"]) == (2, 0)
    assert asking.lines(stack, session) == ["hello"]
