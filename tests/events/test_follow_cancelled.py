"""A follower that is cancelled while it leaves its group."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.layers import get_channel_layer

from copilot.events.follow import _Inbox
from tests.factories import make_turn


@pytest.mark.django_db(transaction=True)
async def test_a_cancellation_while_leaving_the_group_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client closes just when the turn has ended: the follower must end too, not go on with the next turn."""
    turn = await asyncio.to_thread(make_turn)
    leaving = asyncio.Event()

    async def slow_discard(*_: Any) -> None:
        leaving.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(get_channel_layer(), "group_discard", slow_discard)
    went_on = False

    async def follow_once() -> None:
        nonlocal went_on
        async with _Inbox(turn.id) as inbox:
            await inbox.wait(1)
        went_on = True

    task = asyncio.create_task(follow_once())
    await leaving.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not went_on
