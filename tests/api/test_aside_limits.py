"""Side questions: who may ask them, how many at once, whose reader leaves, and what they cost."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.test import AsyncClient
from pytest_django import Settings

from common.db import db
from copilot.agent import aside as asides
from copilot.models import (
    SendRate,
    Session,
    UsageRecord,
    User,
)
from copilot.providers.base import (
    ProviderError,
    Stop,
    Text,
    Usage,
)
from copilot.providers.pricing import Cost
from copilot.turns.asides import record_aside
from copilot.turns.sessions import delete_session
from tests.api.side_questions import (
    PATIENCE,
    Scripted,
    answer,
    ask,
    at_once,
    body_of,
    chunks_of,
    no_place_taken,
    nobody_is_left,
    rows,
    says,
    session,
    text_of,
)
from tests.factories import Holder, hold, make_turn
from tests.factories import make_session as make

__all__ = ["at_once", "nobody_is_left", "says", "session"]

pytestmark = pytest.mark.django_db(transaction=True)


# --- who may -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid"),
        ({"text": " \n"}, 400, "invalid"),
        ({"text": 1}, 400, "invalid"),
        ({"text": "x", "model": "demo/demo"}, 400, "unknown_field"),
        ({"text": "x" * 64_001}, 413, "text_too_long"),
    ],
)
async def test_what_cannot_be_asked_is_refused_before_a_stream_begins(
    async_client: AsyncClient, session: Session, body: Any, status: int, code: str
) -> None:
    response = await async_client.post(
        f"/api/v1/sessions/{session.id}/aside", body, content_type="application/json"
    )
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_other_peoples_sessions_are_not_there(
    async_client: AsyncClient, other_async_client: AsyncClient, session: Session
) -> None:
    assert (await ask(other_async_client, session, "x")).status_code == 404
    response = await async_client.post("/api/v1/sessions/x/aside", {"text": "x"}, content_type="application/json")
    assert response.status_code == 404
    assert (await async_client.get(f"/api/v1/sessions/{session.id}/aside")).status_code == 405


async def test_strangers_and_forged_forms_are_refused(user: User, session: Session) -> None:
    assert (await ask(AsyncClient(), session, "x")).status_code == 401
    client = AsyncClient(enforce_csrf_checks=True)
    await client.aforce_login(user)
    assert (await ask(client, session, "x")).json()["code"] == "csrf"


@pytest.mark.parametrize("loss", ["deleted", "logged out", "nobody can tell"])
async def test_who_may_not_read_on_gets_one_end(
    async_client: AsyncClient,
    session: Session,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    says: Callable[..., Scripted],
    loss: str,
) -> None:
    monkeypatch.setattr(asides, "BEAT_SECONDS", 0.02)
    model = says([Text("secret"), 60.0])
    reading = asyncio.create_task(body_of(await ask(async_client, session, "?")))
    await model.streaming.wait()
    if loss == "deleted":
        await db(delete_session, user=user, session_id=session.id)
    elif loss == "logged out":
        await async_client.alogout()
    else:

        def away(*_: Any) -> None:
            raise OperationalError("the database is away")

        monkeypatch.setattr("chat.api.asides._check", away)
    chunks = chunks_of(await reading)
    assert chunks[-1] == {"type": "abort", "reason": "stopped"}
    assert model.closed.is_set()


# --- leaving, and how many -----------------------------------------------------------------------


@pytest.mark.parametrize("while_", ["it waits for words", "words wait for it"])
async def test_a_client_that_leaves_ends_the_models_call(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted], while_: str
) -> None:
    model = says([Text("one"), Usage(5, 1, cost_microdollars=7), 60.0])
    before = await db(rows)
    response = await ask(async_client, session, "?")
    pieces = aiter(response.streaming_content)
    while not model.streaming.is_set():
        await anext(pieces)
    if while_ == "it waits for words":
        reading = asyncio.create_task(_drain(pieces))
        await asyncio.wait([reading], timeout=0.1)
        reading.cancel()
        await asyncio.wait([reading])
    else:
        await asyncio.to_thread(response.close)
    async with asyncio.timeout(PATIENCE):
        await model.closed.wait()
        await no_place_taken()
    assert await db(rows) == before
    record = await db(UsageRecord.objects.get, turn=None)
    assert record.cost_microdollars == 7, "what was used was used"


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        continue


async def test_a_client_that_never_reads_asks_no_model(
    async_client: AsyncClient,
    session: Session,
    says: Callable[..., Scripted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asides, "READER_SECONDS", 0.05)
    monkeypatch.setattr(asides, "BEAT_SECONDS", 0.05)
    model = says([Text("one"), Stop("stop")])
    response = await ask(async_client, session, "?")
    await no_place_taken()
    assert model.requests == []
    [chunk] = [json.loads(line[6:]) for line in (await body_of(response)).split("\n\n")[:-2]]
    assert chunk["type"] == "abort"


async def test_a_server_that_stops_tells_the_reader(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted]
) -> None:
    model = says([Text("one"), 60.0])
    reading = asyncio.create_task(body_of(await ask(async_client, session, "?")))
    await model.streaming.wait()
    asides.end_asides()
    chunks = chunks_of(await reading)
    assert (text_of(chunks), chunks[-1]) == ("one", {"type": "abort", "reason": "stopped"})
    assert model.closed.is_set()


async def test_two_at_once_and_not_three(
    async_client: AsyncClient, other_async_client: AsyncClient, session: Session, other_user: User
) -> None:
    streams = [await ask(async_client, session, "/words 200 5") for _ in range(2)]
    refused = await ask(async_client, session, "/words 1")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused["Retry-After"]) > 0
    theirs = await db(make, other_user)
    assert text_of(chunks_of(await body_of(await ask(other_async_client, theirs, "/words 1")))) == "w1"
    for stream in streams:
        chunks_of(await body_of(stream))
    assert text_of(await answer(async_client, session, "/words 1")) == "w1"


async def test_what_is_refused_takes_no_place(async_client: AsyncClient, session: Session) -> None:
    for _ in range(asides.AT_ONCE + 1):
        assert (await ask(async_client, session, " ")).status_code == 400


async def test_side_questions_count_as_sent(
    async_client: AsyncClient, session: Session, user: User, settings: Settings
) -> None:
    settings.SEND_RATE = 1
    assert text_of(await answer(async_client, session, "/words 1")) == "w1"
    refused = await ask(async_client, session, "/words 1")
    assert (refused.status_code, refused.json()["fields"]["window"]) == (429, "minute")
    assert await db(SendRate.objects.filter(user=user).count) == 1


# --- what it cost --------------------------------------------------------------------------------


async def test_the_cost_is_the_persons_and_not_the_sessions(
    async_client: AsyncClient, session: Session, user: User
) -> None:
    await answer(async_client, session, "/words 3\n/cost 42")
    record = await db(UsageRecord.objects.get, turn=None)
    assert (record.user_id, record.session_id, record.model) == (user.pk, session.pk, "demo/demo")
    assert (record.output_tokens, record.cost_microdollars, record.cost_source) == (3, 42, "provider")
    assert record.input_tokens > 0
    await db(delete_session, user=user, session_id=session.id)
    kept = await db(UsageRecord.objects.get, pk=record.pk)
    assert (kept.session_id, kept.cost_microdollars) == (None, 42)


async def test_every_call_that_used_something_is_recorded(
    async_client: AsyncClient, session: Session, says: Callable[..., Scripted]
) -> None:
    says(
        [Usage(5, 0, cost_microdollars=1), ProviderError("overloaded", "Busy.")],
        [Text("x"), Usage(5, 1, cost_microdollars=2), Stop("stop")],
    )
    await answer(async_client, session, "?")
    costs = await db(
        lambda: list(UsageRecord.objects.filter(turn=None).values_list("cost_microdollars", flat=True))
    )
    assert sorted(costs) == [1, 2]


async def test_the_cost_of_a_question_about_a_session_that_is_gone_is_kept(user: User, session: Session) -> None:
    gone = session.id
    await db(delete_session, user=user, session_id=gone)
    await db(record, user, gone)
    kept = await db(UsageRecord.objects.get, turn=None)
    assert (kept.session_id, kept.user_id, kept.cost_microdollars) == (None, user.pk, 3)


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_call_that_is_recorded_again_counts_once(user: User, session: Session, deleted: bool) -> None:
    """As happens when the database goes away before it has said that it stored it."""
    session_id, aside = session.id, uuid.uuid4()
    if deleted:
        await db(delete_session, user=user, session_id=session_id)
    for call in (1, 1, 2, 1):
        await db(record, user, session_id, aside=aside, call=call)
    assert await db(UsageRecord.objects.filter(aside=aside).count) == 2


async def test_a_call_counts_whatever_another_side_question_has_used(user: User, session: Session) -> None:
    await db(record, user, session.id)
    await db(delete_session, user=user, session_id=session.id)
    await db(record, user, session.id)
    assert await db(UsageRecord.objects.filter(user=user, step=1).count) == 2


def record(user: User, session_id: uuid.UUID, **over: Any) -> None:
    """Record a call of a side question."""
    values = {"aside": uuid.uuid4(), "call": 1, "usage": Usage(1, 2), "cost": Cost(3, "provider"), **over}
    record_aside(user_id=user.pk, session_id=session_id, model="m", **values)


async def test_a_turn_that_ends_meanwhile_ends_as_ever(async_client: AsyncClient, session: Session) -> None:
    """Neither waits for the other."""
    turn = await db(make_turn, session, "/words 1")
    response = await ask(async_client, session, "/words 50 10")
    pieces = aiter(response.streaming_content)
    await anext(pieces)
    holder: Holder = await db(hold, turn)
    await db(holder.answer)
    assert (await db(lambda: holder.turn.status)) == "completed"
    rest = b"".join([piece async for piece in pieces]).decode()
    assert '"finish"' in rest
