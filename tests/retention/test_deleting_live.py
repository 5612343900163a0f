"""People are deleted while agents answer them: the answer stops, and nobody writes afterwards."""

from __future__ import annotations

import asyncio

import pytest
from pytest_django import Settings

from chat import sockets
from common.db import db
from copilot.events import publish
from copilot.models import Session, Turn, TurnEvent, User
from copilot.retention import deletion
from copilot.retention.decision import begin_deletion
from copilot.retention.deletion import Progress, go_on
from copilot.workspaces import workspace_of
from linking.keys import issue_key
from tests.chat.sockets import connected
from tests.factories import make_session
from tests.harness import PATIENCE, Crew, crew, hints
from tests.retention.lives import mentions

__all__ = ["crew", "hints"]

pytestmark = pytest.mark.django_db(transaction=True)


async def delete(user: User) -> None:
    """Delete a person to the end, as the command does."""
    await db(lambda: begin_deletion(user.pk, by=user, operated=False))
    async with asyncio.timeout(PATIENCE):
        while (progress := await db(go_on, user.pk)) is not Progress.DONE:
            if progress is Progress.WAITING:
                await asyncio.sleep(0.05)


def left_of(user: User) -> dict[str, int]:
    return mentions(str(user.pk), user.pk.hex)


async def test_an_answer_in_its_middle_stops_and_leaves_nothing(crew: Crew) -> None:
    here = await crew.hire()
    turn = await crew.send('/tool demo_once {"text": "before"}\n/words 2000 10')
    other = await crew.send("/words 30 10")
    await crew.until(turn, "text-delta", 2)
    user = turn.session.user
    await delete(user)
    await crew.true(lambda: turn.pk not in here.live)
    assert await db(left_of, user) == {}
    assert not await db(TurnEvent.objects.filter(turn_id=turn.pk).exists)
    assert not workspace_of(turn.session_id).exists()
    assert (await crew.ended(other)).status == "completed", "nobody else is stopped"


async def test_a_lost_worker_keeps_nobody_from_being_deleted(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(deletion, "CONFIRM_SECONDS", 0.1)
    here = await crew.hire()
    turn = await crew.send("/words 2000 10")
    await crew.until(turn, "text-delta", 2)
    await crew.lose(here)
    user = turn.session.user
    await delete(user)
    assert await db(left_of, user) == {}
    assert not await db(TurnEvent.objects.exists)


async def test_children_go_with_the_turn_that_waits_for_them(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send('/tool run_subsession {"prompt": "/words 2000 10"}')
    await crew.true(Turn.objects.filter(parent=turn.pk, status="running").exists)
    user = turn.session.user
    await delete(user)
    assert not await db(Session.objects.filter(user=user).exists)
    assert await db(left_of, user) == {}


async def test_open_pages_are_closed(hints: None, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "CHECK_SECONDS", 0.3)
    publish.set_loop(asyncio.get_running_loop())
    session = await db(make_session, user)
    _, secret = await db(lambda: issue_key(user=user))
    async with connected("user/", secret) as everywhere, connected(f"sessions/{session.pk}/", secret) as chat:
        await everywhere.frame("approvals")
        await chat.frame("session")
        await db(lambda: begin_deletion(user.pk, by=user, operated=False))
        assert [await everywhere.close_code(), await chat.close_code()] == [4401, 4401]
