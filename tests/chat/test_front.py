"""A page says over the websocket that it is in front of its person."""

from __future__ import annotations

import pytest

from approvals.reach import presence
from common.db import db
from copilot.models import User
from linking.keys import issue_key
from tests.chat.sockets import connected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hints")]


async def test_a_page_in_front_is_noted(user: User, other_user: User) -> None:
    presence.forget(user.pk)
    _, secret = await db(lambda: issue_key(user=user))
    async with connected("user/", secret) as wire:
        await wire.send({"type": "front"})
        await wire.send({"type": "ping"})
        await wire.frame("heartbeat")
    assert await db(lambda: [row.pk for row in presence.in_front()]) == [user.pk]


async def test_other_frames_are_refused(user: User) -> None:
    _, secret = await db(lambda: issue_key(user=user))
    async with connected("user/", secret) as wire:
        await wire.send({"type": "behind"})
        assert (await wire.frame("error"))["code"] == "invalid"
