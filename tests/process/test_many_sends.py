"""Fifty messages to one session at once, through two web processes: one runs, ten wait, the rest is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.process.clients import Rest, check_session
from tests.process.servers import EmbeddedServer, ScaledStack, Stack

pytestmark = pytest.mark.process

SENDS = 50
#: The turn outlives the sending; calls of one step run side by side, so the ten of the next turn take no longer.
TEXT = '/tool demo_wait {{"seconds": 6}}\n{}'


def scaled(data_dir: Path, env: dict[str, str]) -> Stack:
    """Two web processes."""
    return ScaledStack(data_dir, env, n_web=2)


@pytest.mark.parametrize("kind", [EmbeddedServer, pytest.param(scaled, marks=pytest.mark.scaled)])
async def test_fifty_sends_at_once_are_one_turn_ten_places_and_refusals(data_dir: Path, kind: Any) -> None:
    with kind(data_dir, {"SEND_RATE": "1000000"}) as stack:
        key = stack.issue_key()
        async with Rest(stack, key, timeout=30) as rest:
            session = await rest.new_session()

            async def send(number: int) -> httpx2.Response:
                port = stack.ports[number % len(stack.ports)]
                url = f"http://127.0.0.1:{port}/api/v1/sessions/{session}/messages"
                body = {"text": TEXT.format(number), "client_id": str(number), "delivery": "next"}
                return await rest.http.post(url, json=body)

            answers = await asyncio.gather(*map(send, range(SENDS)))
            codes = Counter((answer.status_code, answer.json().get("code")) for answer in answers)
            assert codes == {(202, None): 11, (409, "queue_full"): 39}
            accepted = [(n, answer.json()) for n, answer in enumerate(answers) if answer.status_code == 202]
            running = [n for n, body in accepted if not body["queued"]]
            waiting = {body["position"]: n for n, body in accepted if body["queued"]}
            assert len(running) == 1
            assert sorted(waiting) == list(range(1, 11))
            await rest.idle(session, 60)
            in_order = [*running, *(waiting[position] for position in range(1, 11))]
            await check_session(rest, session, [TEXT.format(number) for number in in_order])
        await asyncio.to_thread(stack.check_invariants)
