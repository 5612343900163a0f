"""Redis emptied, hung and gone in the middle of turns. ``REDIS_DOWN_SECONDS=30`` makes the outages longer."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.process.clients import Rest, check_session, check_turn, eventually, following, words
from tests.process.servers import RedisServer, ScaledStack

pytestmark = [pytest.mark.process, pytest.mark.scaled]
logger = logging.getLogger(__name__)

DOWN_SECONDS = float(os.environ.get("REDIS_DOWN_SECONDS", "6"))
#: A message is accepted within this time, whatever Redis does.
ACCEPTED_SECONDS = 5.0


async def test_emptying_redis_loses_no_turn(data_dir: Path) -> None:
    """One turn runs; others are accepted and their hints lost before a worker has room for them."""
    with ScaledStack(data_dir, {"WORKER_TURNS": "1"}) as stack:
        key = stack.issue_key()
        async with Rest(stack, key) as rest:
            session = await rest.new_session()
            async with following(stack, key, session) as follower:
                running = await rest.start(session, "/words 150 20")
                await follower.until(lambda: follower.words(running) > 20, 10)
                waiting = [await rest.start(await rest.new_session(), "/words 5") for _ in range(3)]
                await asyncio.to_thread(stack.redis.flushall)
                waiting.append(await rest.start(await rest.new_session(), "/words 5"))
                ended = [await rest.ended(turn, 20) for turn in (running, *waiting)]
                await check_turn(rest, running, follower)
            await _check_fresh_follower(stack, key, rest, session, running)
            for turn in waiting:
                await check_turn(rest, turn)
    assert {turn["status"] for turn in ended} == {"completed"}
    assert [turn["text"] for turn in ended] == [words(150), *[words(5)] * 4]


@pytest.mark.parametrize("fault", ["hung", "gone"])
async def test_turns_do_without_redis(data_dir: Path, fault: str) -> None:
    """A turn runs through the outage; others are accepted during it, and run or are stopped, all without Redis."""
    with ScaledStack(data_dir) as stack:
        key = stack.issue_key()
        async with Rest(stack, key, timeout=30) as rest:
            one, two = await rest.new_session(), await rest.new_session()
            async with following(stack, key, one) as follower:
                running = await rest.start(one, "/words 150 20")
                await follower.until(lambda: follower.words(running) > 20, 10)
                down = time.monotonic()
                _break(stack.redis, fault)
                accepted = await rest.start(two, "/words 5", client_id="during")
                took = time.monotonic() - down
                # The running turn does not notice, and neither does whoever follows it.
                ended = await rest.ended(running, 15)
                log = await check_turn(rest, running, follower)
                lag = _worst_silence(follower.arrived, down)
                await _check_fresh_follower(stack, key, rest, one, running)
                later = await rest.ended(accepted, 20)
                waited = time.monotonic() - down
                await check_turn(rest, accepted)
                stopped = await _stop_one(rest)
                await asyncio.sleep(max(0, down + DOWN_SECONDS - time.monotonic()))
                await asyncio.to_thread(_mend, stack.redis, fault)
            await check_session(rest, two, ["/words 5"])
            # Everything is fast again: hints pass, followers hear at once.
            async with following(stack, key, two) as fresh:
                again = await rest.start(two, "/words 100 10")
                await fresh.until_end(again, 10)
                await check_turn(rest, again, fresh)
        await asyncio.to_thread(stack.check_invariants)
    logger.info(
        "redis %s for %g s: accepted in %.2f s, follower silent %.2f s at most, waiting turn ended after %.1f s, "
        "stopped in %.2f s", fault, DOWN_SECONDS, took, lag, waited, stopped,
    )  # fmt: skip
    assert took < ACCEPTED_SECONDS
    assert (ended["status"], ended["text"]) == ("completed", words(150))
    assert len({chunk["id"] for _, chunk in log if chunk["type"] == "text-start"}) == 1
    assert lag < 3.0
    assert (later["status"], later["text"]) == ("completed", words(5))
    assert stopped < 6.0


async def _stop_one(rest: Rest) -> float:
    """Start a turn and stop it once it runs; return how many seconds the stop took."""
    turn = await rest.start(await rest.new_session(), "/words 2000 50")

    async def runs() -> bool:
        return bool((await rest.get(f"turns/{turn}"))["status"] == "running")

    await eventually("running turn", runs, 20)
    asked = time.monotonic()
    answer = await rest.http.post(f"turns/{turn}/cancel", json={})
    assert answer.json() == {"cancelled": True, "confirmed": True, "turn": turn}
    return time.monotonic() - asked


def _break(redis: RedisServer, fault: str) -> None:
    if fault == "hung":
        redis.send(signal.SIGSTOP)
    else:
        redis.kill()


def _mend(redis: RedisServer, fault: str) -> None:
    if fault == "hung":
        redis.send(signal.SIGCONT)
    else:
        redis.start()


async def _check_fresh_follower(stack: ScaledStack, key: str, rest: Rest, session: str, turn: str) -> None:
    """A page that is opened now, and asks for a turn, gets all of it."""
    async with following(stack, key, session) as fresh:
        fresh.expect(turn)
        assert fresh.socket is not None
        await fresh.socket.send(json.dumps({"type": "follow", "turn": turn}))
        await check_turn(rest, turn, fresh)


def _worst_silence(arrived: list[Any], since: float) -> float:
    times = [since, *(at for at, _, _ in arrived if at > since)]
    return max(later - earlier for earlier, later in pairwise(times))
