"""A connection outlives bad frames and a database that is away; it does not outlive the key that opened it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from pytest_django import Settings

from chat import consumers, sockets
from common.db import db
from copilot.events import publish, schema
from copilot.models import Message, Turn, User
from linking.keys import issue_key, revoke_key
from linking.models import PersonalKey
from tests.chat.sockets import Wire, connected
from tests.factories import Holder, accept, expire_lease, make_running, make_session
from tests.uploads import make_file

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hints")]


@pytest.fixture
async def holder(user: User) -> Holder:
    """A turn of the person that a test is about, held by a worker."""
    publish.set_loop(asyncio.get_running_loop())
    made: Holder = await db(lambda: make_running(make_session(user)))
    return made


@pytest.fixture
async def key(user: User) -> tuple[PersonalKey, str]:
    issued: tuple[PersonalKey, str] = await db(lambda: issue_key(user=user))
    return issued


@pytest.fixture
async def wire(user: User, key: tuple[PersonalKey, str]) -> AsyncIterator[Wire]:
    """A websocket to an idle session."""
    session = await db(lambda: make_session(user))
    async with connected(f"sessions/{session.id}/", key[1]) as wire:
        yield wire


async def lives(wire: Wire) -> bool:
    """Whether the connection still answers."""
    await wire.send({"type": "ping"})
    return bool(await wire.frame("heartbeat"))


# --- who is let in may change ---------------------------------------------------------------


async def test_a_key_revoked_in_the_middle_of_traffic_closes_the_socket(
    user: User, key: tuple[PersonalKey, str], holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is never silent is looked at as often as any other."""
    monkeypatch.setattr(sockets, "CHECK_SECONDS", 0.2)

    async def stream() -> None:
        await db(holder.begin)
        await db(holder.open_text)
        while True:
            await db(holder.stream, schema.part_delta("text", "t1.1", "word "))

    async with connected(f"sessions/{holder.claim.session_id}/", key[1]) as wire:
        await wire.send({"type": "follow"})
        streaming = asyncio.create_task(stream())
        try:
            for _ in range(5):
                await wire.frame("event")
            await db(lambda: revoke_key(user=user, key_id=key[0].pk))
            assert await wire.close_code() == sockets.NOT_LOGGED_IN
        finally:
            streaming.cancel()
            await asyncio.wait([streaming])


# --- frames ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
async def test_a_database_that_fails_within_a_frame_is_told_as_busy(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    send = {"type": "send", "text": "hello", "client_id": "one"}

    def fails(**_: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(consumers, "submit_message", fails)
        await wire.send(send)
        refused = await wire.frame("error", "ack")
    assert (refused["type"], refused.get("code"), refused["client_id"]) == ("error", "busy", "one")
    await wire.send(send)
    assert (await wire.frame("error", "ack"))["type"] == "ack", "the same frame again goes through"


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "send", "text": "", "client_id": "\\ud800"}',
        '{"type": "send", "text": "\\ud800"}',
        '{"type": "\\udfff"}',
        '{"type": "ping", "\\uD800": 1}',
        '{"type": "ping", "after": NaN}',
        '{"type": "ping", "after": [-Infinity]}',
    ],
)
async def test_a_frame_that_is_almost_json_is_refused(wire: Wire, text: str) -> None:
    await wire.send(text)
    refused = await wire.frame("error", "heartbeat", "ack")
    assert (refused["type"], refused["code"]) == ("error", "invalid")
    assert await lives(wire)
    assert not await db(Message.objects.exists)


async def test_sending_too_often_is_an_error_frame_and_shared_with_rest(
    wire: Wire, user: User, settings: Settings
) -> None:
    settings.SEND_RATE = 1
    await db(lambda: accept(make_session(user)))
    await wire.send({"type": "send", "text": "hello", "client_id": "one"})
    frame = await wire.frame("ack", "error")
    assert (frame["type"], frame["code"], frame["client_id"]) == ("error", "rate_limited", "one")
    assert frame["fields"]["window"] == "minute"
    assert await lives(wire)
    assert await db(Message.objects.filter(client_id="one").count) == 0


async def test_files_go_along_with_a_frame(wire: Wire, user: User, tmp_path: Path, settings: Settings) -> None:
    settings.DATA_DIR = tmp_path
    file = await db(make_file, user)
    await wire.send({"type": "send", "text": "Look", "client_id": "one", "attachments": [str(uuid.uuid4())]})
    refused = await wire.frame("ack", "error")
    assert (refused["type"], refused["code"], list(refused["fields"])) == ("error", "invalid", ["attachments"])
    await wire.send({"type": "send", "text": "Look", "client_id": "one", "attachments": [str(file.pk)]})
    accepted = await wire.frame("ack", "error")
    assert accepted["message"]["parts"][1]["filename"] == file.name


# --- what connecting does -------------------------------------------------------------------


async def test_a_page_that_is_opened_takes_a_turn_from_a_dead_worker(
    key: tuple[PersonalKey, str], holder: Holder
) -> None:
    await db(expire_lease, holder.claim.turn_id)
    async with connected(f"sessions/{holder.claim.session_id}/", key[1]) as wire:
        shown = (await wire.frame("session"))["active_turn"]
    assert (shown["status"], shown["attempt"]) == ("queued", 2)
    turn = await db(lambda: Turn.objects.get(pk=holder.claim.turn_id))
    assert (turn.status, turn.worker) == ("queued", None)


async def test_a_page_that_is_opened_leaves_a_turn_to_a_living_worker(
    key: tuple[PersonalKey, str], holder: Holder
) -> None:
    async with connected(f"sessions/{holder.claim.session_id}/", key[1]) as wire:
        assert (await wire.frame("session"))["active_turn"]["status"] == "running"
    assert (await db(lambda: holder.turn)).fence == holder.claim.fence
