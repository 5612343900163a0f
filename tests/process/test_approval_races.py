"""Many decisions about the same thing at once: one of them counts, and what it says happens once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.process import asking
from tests.process.clients import Rest, check_log, eventually
from tests.process.servers import EmbeddedServer, ScaledStack, Stack

pytestmark = pytest.mark.process
logger = logging.getLogger(__name__)

DECIDES = 40
TEXT = asking.tool("demo_note", text="as asked") + "\n/words 3"
STOP_ROUNDS = 20


def scaled(data_dir: Path, env: dict[str, str]) -> Stack:
    """Two web processes."""
    return ScaledStack(data_dir, env, n_web=2)


both_stacks = pytest.mark.parametrize("kind", [EmbeddedServer, pytest.param(scaled, marks=pytest.mark.scaled)])


async def _decide_at_once(stack: Stack, rest: Rest, approval: asking.Approval, bodies: list[Any]) -> list[Any]:
    """Send all bodies at the same time, to each web process in turn; return the answers in their order."""
    ports = [stack.ports[number % len(stack.ports)] for number in range(len(bodies))]
    sent = [asking.decide(rest, approval, body, port=port) for body, port in zip(bodies, ports, strict=True)]
    return await asyncio.gather(*sent)


async def _check_one_effect(stack: Stack, rest: Rest, approval: asking.Approval, written: str) -> None:
    turn, session = approval["turn"], approval["session"]
    ended = await rest.ended(turn, 30)
    log = await rest.events(turn)
    assert ended["status"] == "completed"
    check_log(log)
    assert asking.kinds(log)["data-approval-decided"] == 1
    assert asking.lines(stack, session) == [written]
    told = asking.journal(stack, turn)
    assert (told["paused"], told["decided"], told["claimed"]) == (1, 1, 2)
    assert asking.audited(stack, approval) == ["decided"]


@both_stacks
async def test_of_forty_different_decisions_at_once_one_counts(data_dir: Path, kind: Any) -> None:
    with kind(data_dir, {}) as stack:
        async with Rest(stack, stack.issue_key(), timeout=60) as rest:
            turn = await rest.start(await rest.new_session(), TEXT)
            approval = await asking.asked(rest, turn)
            bodies = [
                asking.decisions(approval, lambda _, n=n: {"type": "edit", "arguments": {"text": f"by {n}"}})
                for n in range(DECIDES)
            ]
            answers = await _decide_at_once(stack, rest, approval, bodies)
            codes = Counter((answer.status_code, answer.json().get("code")) for answer in answers)
            assert codes == {(200, None): 1, (409, "already_decided"): DECIDES - 1}
            [winner] = [n for n, answer in enumerate(answers) if answer.status_code == 200]
            losers = [answer.json()["fields"] for answer in answers if answer.status_code == 409]
            assert all(fields["decided_by"] == "ada" and fields["decided_at"] for fields in losers)
            assert {fields["surface"] for fields in losers} == {"api"}
            await _check_one_effect(stack, rest, approval, f"by {winner}")
        await asyncio.to_thread(stack.check_invariants)


@both_stacks
async def test_the_same_decision_forty_times_at_once_is_one_decision(data_dir: Path, kind: Any) -> None:
    with kind(data_dir, {}) as stack:
        async with Rest(stack, stack.issue_key(), timeout=60) as rest:
            turn = await rest.start(await rest.new_session(), TEXT)
            approval = await asking.asked(rest, turn)
            body = asking.decisions(approval, lambda _: {"type": "approve"})
            answers = await _decide_at_once(stack, rest, approval, [body] * DECIDES)
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.text for answer in answers}) == 1
            assert answers[0].json()["status"] == "decided"
            await _check_one_effect(stack, rest, approval, "as asked")
        await asyncio.to_thread(stack.check_invariants)


@both_stacks
async def test_of_a_stop_and_a_decision_at_once_one_comes_first(data_dir: Path, kind: Any) -> None:
    with kind(data_dir, {}) as stack:
        async with Rest(stack, stack.issue_key(), timeout=60) as rest:
            first = Counter([await _stop_and_decide(stack, rest, number) for number in range(STOP_ROUNDS)])
        await asyncio.to_thread(stack.check_invariants)
    logger.info("came first: %s", dict(first))
    assert set(first) == {"stop", "decision"}, first


async def _stop_and_decide(stack: Stack, rest: Rest, number: int) -> str:
    """Stop a waiting turn and decide what it asks at the same moment; check the outcome and say what came first.

    In the first two rounds one of them is answered before the other is sent, so both orders are there.
    """
    session = await rest.new_session()
    turn = await rest.start(session, TEXT)
    approval = await asking.asked(rest, turn)
    decided, stopped = asyncio.Event(), asyncio.Event()
    one, two = stack.ports[0], stack.ports[-1]

    async def decide() -> httpx2.Response:
        if number == 0:
            await stopped.wait()
        body = asking.decisions(approval, lambda _: {"type": "approve"})
        answer = await asking.decide(rest, approval, body, port=one)
        decided.set()
        return answer

    async def stop() -> httpx2.Response:
        if number == 1:
            await decided.wait()
        answer = await rest.http.post(f"http://127.0.0.1:{two}/api/v1/turns/{turn}/cancel", json={})
        stopped.set()
        return answer

    pair = (decide(), stop()) if number % 2 else (stop(), decide())
    answers = {answer.url.path.rpartition("/")[2]: answer for answer in await asyncio.gather(*pair)}
    return await _check_stop_or_decision(stack, rest, approval, answers["decide"], answers["cancel"])


async def _check_stop_or_decision(
    stack: Stack, rest: Rest, approval: asking.Approval, decision: httpx2.Response, stop: httpx2.Response
) -> str:
    turn, session = approval["turn"], approval["session"]
    ended = await rest.ended(turn, 30)
    log = await rest.events(turn)
    check_log(log)
    now = await rest.get(f"approvals/{approval['id']}")
    assert stop.status_code == 200
    assert ended["status"] == ("cancelled" if stop.json()["cancelled"] else "completed")
    assert asking.kinds(log)["data-approval-decided"] == 1
    if decision.status_code == 409:
        assert decision.json()["code"] == "stale"
        assert (now["status"], ended["status"]) == ("cancelled", "cancelled")
        assert asking.lines(stack, session) == []
        assert asking.audited(stack, approval) == ["cancelled"]
        return "stop"
    assert (decision.status_code, now["status"]) == (200, "decided")
    assert asking.audited(stack, approval) == ["decided"]
    # Decided first, then stopped: the call may have had its effect by then, once.
    assert asking.lines(stack, session) in (
        [["as asked"]] if ended["status"] == "completed" else [[], ["as asked"]]
    )
    return "decision"


async def test_a_turn_that_was_stopped_asks_nobody(data_dir: Path) -> None:
    """The inbox and the session know nothing of it any more, and the next message begins a turn at once."""
    with EmbeddedServer(data_dir) as server:
        async with Rest(server, server.issue_key()) as rest:
            session = await rest.new_session()
            turn = await rest.start(session, TEXT)
            await asking.asked(rest, turn)
            assert len((await rest.get("approvals", status="pending"))["results"]) == 1
            stopped = await rest.http.post(f"sessions/{session}/cancel", json={})
            assert stopped.json() == {"cancelled": True, "confirmed": True, "turn": turn}

            async def nothing_pending() -> bool:
                return (await rest.get("approvals", status="pending"))["results"] == []

            await eventually("empty inbox", nothing_pending, 5)
            assert (await rest.get(f"sessions/{session}"))["active_turn"] is None
            again = await rest.ended(await rest.start(session, "/words 2"), 20)
    assert again["status"] == "completed"
