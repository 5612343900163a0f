"""Stopping in good order: turns under way are handed back, go on elsewhere, and it costs them no attempt."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import pytest

from tests.process.clients import Follower, Rest, check_session, check_turn, following, words
from tests.process.servers import EmbeddedServer, Process, ScaledStack

pytestmark = pytest.mark.process
logger = logging.getLogger(__name__)

STOPPED_SECONDS = 10.0
CALLING = '/words 3\n/tool demo_wait {"seconds": 60}\n/words 4'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_server_resumes_its_turns(data_dir: Path, number: signal.Signals) -> None:
    with EmbeddedServer(data_dir) as server:
        key = server.issue_key()
        async with Rest(server, key) as rest:
            session = await rest.new_session()
            async with following(server, key, session) as follower:
                turn = await rest.start(session, "/words 200 10")
                await follower.until(lambda: follower.words(turn) > 20, 10)
                await rest.send(session, "/words 2", client_id="follow-up")
                await _stop(server.server, number)
                await asyncio.to_thread(server.restart)
                ended = await rest.ended(turn, 15)
                await check_turn(rest, turn, follower)
            later = (await rest.ended(ended["next_turn"], 10))["text"]
            await check_session(rest, session, ["/words 200 10", "/words 2"])
        await asyncio.to_thread(server.check_invariants)
        assert "Stopped. What was running goes on at the next start." in server.server.output()
    assert (ended["status"], ended["attempt"], ended["text"]) == ("completed", 1, words(200))
    assert later == words(2)


@pytest.mark.scaled
async def test_a_stopped_worker_hands_its_turns_to_another(data_dir: Path) -> None:
    """One turn is in its text and goes at once; one in a tool that takes too long to be waited for."""
    with ScaledStack(data_dir) as stack:
        key = stack.issue_key()
        async with Rest(stack, key) as rest:
            one, two = await rest.new_session(), await rest.new_session()
            async with following(stack, key, one) as first, following(stack, key, two) as second:
                turns = [await rest.start(one, "/words 300 15"), await rest.start(two, CALLING)]
                await first.until(lambda: first.words(turns[0]) > 20, 10)
                await second.until(lambda: _waiting(second, turns[1]), 10)
                other = await asyncio.to_thread(stack.add_worker)
                await _stop(stack.workers[0], signal.SIGTERM)
                ended = await rest.ended(turns[0], 15)
                await check_turn(rest, turns[0], first)
                # The tool may be run again: it says so. It runs elsewhere, where it is stopped.
                assert await asyncio.to_thread(stack.worker_of, turns[1]) is other
                answer = await rest.http.post(f"turns/{turns[1]}/cancel", json={})
                assert answer.json() == {"cancelled": True, "confirmed": True, "turn": turns[1]}
                log = await check_turn(rest, turns[1], second)
        await asyncio.to_thread(stack.check_invariants)
        assert stack.query("SELECT max(attempt) FROM copilot_turn") == [(1,)]
    assert (ended["status"], ended["attempt"], ended["text"]) == ("completed", 1, words(300))
    assert log[-1][1] == {"type": "abort", "reason": "stopped"}


async def test_who_still_waits_when_the_server_stops_is_told_to_ask_again(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server:
        key = server.issue_key()
        async with Rest(server, key, timeout=30) as rest:
            turn = await rest.start(await rest.new_session(), "/sleep 60")
            paths = [f"turns/{turn}?wait=25", f"turns/{turn}/events?after=100&wait=25"]
            waiting = [asyncio.create_task(rest.http.get(path)) for path in paths]
            # A request that comes later is answered first: the others have been accepted.
            await rest.get(f"turns/{turn}", wait=1)
            await _stop(server.server, signal.SIGTERM)
            for answer in await asyncio.gather(*waiting):
                assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert "Exception in ASGI application" not in server.server.output()


async def _stop(process: Process, number: signal.Signals) -> None:
    code, seconds = await asyncio.to_thread(process.stop, number)
    logger.info("%s stopped by %s after %.1f s", process.name, number.name, seconds)
    assert code == 0
    assert seconds < STOPPED_SECONDS


def _waiting(follower: Follower, turn: str) -> bool:
    return any(chunk["type"] == "tool-output-available" for _, chunk in follower.seen.get(turn, []))
