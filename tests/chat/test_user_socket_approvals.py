"""The websocket of a person tells how many decisions wait, and what goes on in their sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chat import sockets
from common.db import db, transact
from copilot.events import publish
from copilot.models import Session, User
from copilot.turns.sessions import delete_session, update_session
from linking.keys import issue_key
from tests.approvals.asking import decide_now
from tests.approvals.waiting import overdue, waiting
from tests.chat.sockets import Wire, connected
from tests.factories import make_running, make_session

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hints")]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the rows often, whatever hints come."""
    monkeypatch.setattr(sockets, "CHECK_SECONDS", 0.3)


@pytest.fixture
async def secret(user: User) -> str:
    publish.set_loop(asyncio.get_running_loop())
    _, secret = await db(lambda: issue_key(user=user))
    return secret


@pytest.fixture
async def wire(secret: str) -> AsyncIterator[Wire]:
    """The websocket of a person for whom nothing waits, who was told so."""
    async with connected("user/", secret) as wire:
        assert (await wire.frame("approvals"))["pending"] == 0
        yield wire


async def pending(wire: Wire) -> tuple[int, int]:
    """The next count, and its revision."""
    frame = await wire.frame("approvals")
    assert set(frame) == {"type", "pending", "revision"}
    return frame["pending"], frame["revision"]


async def row_of(wire: Wire, session: Session, **wanted: Any) -> dict[str, Any]:
    """The next row of a session that says what is wanted; None: says nothing of it."""
    async with asyncio.timeout(20):
        while True:
            for row in (await wire.frame("sessions"))["changed"]:
                if row["id"] == str(session.pk) and all(row.get(name) == value for name, value in wanted.items()):
                    return dict(row)


# --- how much waits ---------------------------------------------------------------------------


async def test_the_count_is_told_on_connect(user: User, secret: str) -> None:
    await db(lambda: waiting(session=make_session(user)))
    await db(lambda: waiting(session=make_session(user)))
    async with connected("user/", secret) as wire:
        assert (await pending(wire))[0] == 2


async def test_the_count_follows_what_is_asked_and_decided(user: User, wire: Wire) -> None:
    action = await db(lambda: waiting(session=make_session(user)))
    asked, first = await pending(wire)
    await db(lambda: decide_now(action, "reject"))
    decided, second = await pending(wire)
    assert (asked, decided) == (1, 0)
    assert second > first


async def test_another_action_in_place_of_one_is_told_although_the_count_stays(user: User, wire: Wire) -> None:
    action = await db(lambda: waiting(session=make_session(user)))
    _, first = await pending(wire)
    session = await db(lambda: make_session(user))

    @transact
    def swap() -> None:
        waiting(session=session)
        decide_now(action, "reject")

    await db(swap)
    count, second = await pending(wire)
    assert count == 1
    assert second > first


async def test_what_expires_unnoticed_is_not_counted(user: User, wire: Wire) -> None:
    action = await db(lambda: waiting(session=make_session(user)))
    assert (await pending(wire))[0] == 1
    await db(lambda: overdue(action))
    assert (await pending(wire))[0] == 0


async def test_what_is_deleted_with_its_session_is_not_counted(user: User, wire: Wire) -> None:
    action = await db(lambda: waiting(session=make_session(user)))
    assert (await pending(wire))[0] == 1
    await db(lambda: delete_session(user=user, session_id=action.session))
    assert (await pending(wire))[0] == 0


async def test_what_others_are_asked_is_not_counted(user: User, other_user: User, secret: str) -> None:
    await db(lambda: waiting(session=make_session(other_user)))
    await db(lambda: waiting(session=make_session(user)))
    async with connected("user/", secret) as wire:
        assert (await pending(wire))[0] == 1


# --- what goes on in sessions -----------------------------------------------------------------


async def test_a_session_tells_that_it_runs_waits_and_is_idle(user: User, wire: Wire) -> None:
    session = await db(lambda: make_session(user))
    await row_of(wire, session, live=None)
    holder = await db(lambda: make_running(session))
    await row_of(wire, session, live="running")
    await db(holder.begin)
    await db(lambda: holder.answer())
    await row_of(wire, session, live=None)
    await db(lambda: waiting(session=session))
    await row_of(wire, session, live="requires_action")


async def test_on_connect_no_session_is_told(user: User, secret: str) -> None:
    await db(lambda: make_session(user))
    async with connected("user/", secret) as wire:
        await wire.frame("approvals")
        await wire.send({"type": "ping"})
        assert (await wire.frame("sessions", "heartbeat"))["type"] == "heartbeat"


async def test_a_page_is_told_what_it_does_not_know_yet(user: User, wire: Wire) -> None:
    same, renamed, new, gone = [await db(lambda: make_session(user)) for _ in range(4)]
    known = {str(each.pk): each.revision for each in (same, renamed, gone)}
    await db(lambda: update_session(user=user, session_id=renamed.pk, title="Renamed"))
    await db(lambda: delete_session(user=user, session_id=gone.pk))
    await db(lambda: make_running(new))
    async with connected("user/", (await db(lambda: issue_key(user=user)))[1]) as other:
        await other.frame("approvals")
        await other.send({"type": "known", "sessions": known})
        frame = await other.frame("sessions")
    assert {row["id"]: (row["title"], row.get("live")) for row in frame["changed"]} == {
        str(renamed.pk): ("Renamed", None),
        str(new.pk): (new.title or "hello", "running"),
    }
    assert frame["gone"] == [str(gone.pk)]


async def test_a_page_that_knows_everything_is_told_nothing(user: User, secret: str) -> None:
    session = await db(lambda: make_session(user))
    async with connected("user/", secret) as wire:
        await wire.send({"type": "known", "sessions": {str(session.pk): session.revision}})
        await wire.send({"type": "ping"})
        assert (await wire.frame("sessions", "heartbeat"))["type"] == "heartbeat"


async def test_sessions_of_others_are_told_to_nobody(other_user: User, wire: Wire) -> None:
    session = await db(lambda: make_session(other_user))
    await wire.send({"type": "known", "sessions": {str(session.pk): 0}})
    frame = await wire.frame("sessions")
    assert (frame["changed"], frame["gone"]) == ([], [str(session.pk)])


@pytest.mark.parametrize("sessions", [None, [], "x", 1])
async def test_a_frame_that_names_no_sessions_is_refused(wire: Wire, sessions: object) -> None:
    await wire.send({"type": "known", "sessions": sessions})
    assert (await wire.frame("error"))["code"] == "invalid"
    await wire.send({"type": "ping"})
    assert await wire.frame("heartbeat")


async def test_a_session_that_is_archived_is_told_as_gone(user: User, wire: Wire) -> None:
    session = await db(lambda: make_session(user))
    await row_of(wire, session)
    await db(lambda: update_session(user=user, session_id=session.pk, archived=True))
    async with asyncio.timeout(20):
        while (await wire.frame("sessions")).get("gone") != [str(session.pk)]:
            continue
