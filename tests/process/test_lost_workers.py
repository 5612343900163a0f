"""Worker and web processes that are killed, or stopped and continued, on PostgreSQL and Redis.

``WORKER_KILL_ROUNDS=30`` makes a long run of the first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.process.clients import Follower, Rest, check_session, check_turn, following, rollbacks, words
from tests.process.servers import ScaledStack, until

pytestmark = [pytest.mark.process, pytest.mark.scaled]
logger = logging.getLogger(__name__)

ROUNDS = int(os.environ.get("WORKER_KILL_ROUNDS", "1"))
#: Lease 5 s, found within a second, and a little for a busy machine.
RECOVERED_SECONDS = 8.0


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_turns_of_a_killed_worker_go_on_elsewhere(data_dir: Path, round_: int) -> None:
    moment = random.SystemRandom().randint(1, 200)
    with ScaledStack(data_dir, n_workers=2) as stack:
        key = stack.issue_key()
        async with Rest(stack, key) as rest:
            session = await rest.new_session()
            async with following(stack, key, session) as follower:
                # Two seconds of it are left at the last of the moments: nobody is killed after the end.
                turn = await rest.start(session, "/words 400 10")
                await follower.until(lambda: follower.words(turn) >= moment, 10)
                victim = await asyncio.to_thread(stack.worker_of, turn)
                await asyncio.to_thread(victim.kill)
                killed = time.monotonic()
                before = len(follower.seen[turn])
                await follower.until(lambda: len(follower.seen[turn]) > before + 3, 15, "for the takeover")
                silent = time.monotonic() - killed
                ended = await rest.ended(turn, 15)
                log = await check_turn(rest, turn, follower)
            await check_session(rest, session, ["/words 400 10"])
        await asyncio.to_thread(stack.check_invariants)
    logger.info("killed after %d words, the follower heard nothing for %.1f s", moment, silent)
    assert silent < RECOVERED_SECONDS
    assert (ended["status"], ended["text"]) == ("completed", words(400))
    assert rollbacks(log) == 1


async def test_a_killed_web_process_costs_a_follower_nothing(data_dir: Path) -> None:
    with ScaledStack(data_dir) as stack:
        key = stack.issue_key()
        async with Rest(stack, key) as rest:
            session = await rest.new_session()
            async with following(stack, key, session) as follower:
                turn = await rest.start(session, "/words 300 15")
                await follower.until(lambda: follower.words(turn) > 20, 10)
                await asyncio.to_thread(stack.web[0].kill)
                stack.web[0].start()
                ended = await rest.ended(turn, 20)
                log = await check_turn(rest, turn, follower)
    assert follower.connections == 2
    assert (ended["status"], ended["text"], ended["attempt"]) == ("completed", words(300), 1)
    assert rollbacks(log) == 0


async def test_a_stopped_and_continued_worker_writes_nothing_more(data_dir: Path) -> None:
    """The zombie is continued while its successor is in the middle of the same turns: one in its text, one in
    the tool call that must not have its effect twice."""
    quick = {"TURN_LEASE_SECONDS": "2", "TURN_HEARTBEAT_SECONDS": "0.4"}
    speaking, calling = "/words 200 20", '/words 5\n/tool demo_once {"text": "slow once"}\n/words 150 20'
    with ScaledStack(data_dir, quick) as stack:
        key = stack.issue_key()
        async with Rest(stack, key) as rest:
            one, two = await rest.new_session(), await rest.new_session()
            async with following(stack, key, one) as first, following(stack, key, two) as second:
                turns = [await rest.start(one, speaking), await rest.start(two, calling)]
                zombie = stack.workers[0]
                await first.until(lambda: first.words(turns[0]) > 10, 10)
                await second.until(lambda: _called(second.seen.get(turns[1], [])), 10)
                zombie.send(signal.SIGSTOP)
                successor = await asyncio.to_thread(stack.add_worker)
                await _until_taken_over(first, turns[0])
                await _until_taken_over(second, turns[1])
                zombie.send(signal.SIGCONT)
                await asyncio.to_thread(_wait_for_stale, zombie, 2)
                ended = [await rest.ended(turn, 15) for turn in turns]
                logs = [await check_turn(rest, turns[0], first), await check_turn(rest, turns[1], second)]
                holders = stack.query("SELECT DISTINCT pid FROM copilot_worker ORDER BY pid")
        await asyncio.to_thread(stack.check_invariants)
    assert [turn["status"] for turn in ended] == ["completed", "completed"]
    assert [turn["text"] for turn in ended] == [words(200), words(5) + words(150)]
    for log in logs:
        taken_over = next(seq for seq, chunk in log if chunk["type"] == "data-status")
        assert _holders(log[:taken_over]).isdisjoint(_holders(log[taken_over:]))
        assert len(_holders(log[taken_over:])) == 1
    assert _unknown(logs[1])
    once = data_dir / "workspaces" / two / "once.txt"
    assert not once.exists() or once.read_text().splitlines() == ["slow once"]
    # Both live on: the zombie has nothing to be ashamed of and takes new turns.
    assert {zombie.pid, successor.pid} == {pid for (pid,) in holders}


async def _until_taken_over(follower: Follower, turn: str) -> None:
    """Wait until somebody else has written something of their own."""

    def taken_over() -> bool:
        rows = follower.seen[turn]
        changed = [at for at, (_, chunk) in enumerate(rows) if chunk["type"] == "data-status"]
        return bool(changed) and sum(chunk["type"] == "text-delta" for _, chunk in rows[changed[0] :]) > 3

    await follower.until(taken_over, 10, "for the takeover")


def _called(rows: list[tuple[int, dict[str, Any]]]) -> bool:
    return any(chunk["type"] == "tool-input-available" for _, chunk in rows)


def _unknown(rows: list[tuple[int, dict[str, Any]]]) -> bool:
    return any(chunk["type"] == "tool-output-error" and "not known" in chunk["errorText"] for _, chunk in rows)


def _holders(rows: list[tuple[int, dict[str, Any]]]) -> set[str]:
    """Who wrote these parts: their ids begin with the fence under which they were opened."""
    return {chunk["id"].partition(".")[0] for _, chunk in rows if chunk["type"] == "text-start"}


def _wait_for_stale(zombie: Any, turns: int) -> None:
    until("stale turns", lambda: zombie.output().count("turn is held by somebody else") >= turns, 10)
