"""Deciding over the real websocket, and pages on other processes that learn of it at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.process import asking
from tests.process.clients import Rest, following
from tests.process.servers import EmbeddedServer, ScaledStack, Stack

pytestmark = pytest.mark.process

TEXT = asking.tool("demo_note", text="hello") + "\n/words 3"


def scaled(data_dir: Path, env: dict[str, str]) -> Stack:
    """Two web processes: what one of them is told, followers of the other see."""
    return ScaledStack(data_dir, env, n_web=2)


@asynccontextmanager
async def _socket(port: int, key: str, session: str) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{port}/ws/sessions/{session}/"
    headers = {"Authorization": f"Bearer {key}"}
    async with connect(url, additional_headers=headers, proxy=None, open_timeout=10, close_timeout=1) as opened:
        yield opened


async def _answer(opened: ClientConnection, **frame: Any) -> dict[str, Any]:
    """Send a decision and return the frame that answers it."""
    await opened.send(json.dumps({"type": "decide", **frame}))
    async with asyncio.timeout(15):
        while True:
            got: dict[str, Any] = json.loads(await opened.recv())
            if got["type"] in ("ack", "error") and got.get("client_id") == frame["client_id"]:
                return got


@pytest.mark.parametrize("kind", [EmbeddedServer, pytest.param(scaled, marks=pytest.mark.scaled)])
async def test_a_decision_over_the_websocket_is_answered_and_every_page_sees_it(data_dir: Path, kind: Any) -> None:
    with kind(data_dir, {}) as stack:
        key = stack.issue_key()
        async with Rest(stack, key) as rest:
            session = await rest.new_session()
            turn = await rest.start(session, TEXT)
            approval = await asking.asked(rest, turn)
            async with following(stack, key, session) as page, _socket(stack.ports[-1], key, session) as opened:
                await page.until(lambda: asking.kinds(page.seen.get(turn, []))["data-approval"], 10)
                refused = await _answer(opened, approval=approval["id"], decisions=[], client_id="1")
                assert (refused["type"], refused["code"]) == ("error", "incomplete")
                decision = asking.decisions(approval, lambda _: {"type": "approve"})
                told = await _answer(opened, approval=approval["id"], **decision, client_id="2")
                assert (told["type"], told["approval"]["status"]) == ("ack", "decided")
                assert (told["approval"]["id"], told["approval"]["decided_by"]) == (approval["id"], "ada")
                repeated = await _answer(opened, approval=approval["id"], **decision, client_id="3")
                assert repeated["approval"] == told["approval"]
                other = asking.decisions(approval, lambda _: {"type": "reject"})
                late = await _answer(opened, approval=approval["id"], **other, client_id="4")
                assert (late["type"], late["code"]) == ("error", "already_decided")
                await page.until_end(turn, 20)
                seen = [chunk for _, chunk in page.seen[turn] if chunk["type"] == "data-approval-decided"]
                assert [chunk["data"]["approval"] for chunk in seen] == [told["approval"]]
        await asyncio.to_thread(stack.check_invariants)
    assert asking.lines(stack, session) == ["hello"]
