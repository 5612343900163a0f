"""While limits are set, no answer to a person tells an amount: a percent of the limit could be told from it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.test import AsyncClient
from pytest_django import Settings

from common.db import db
from copilot.models import Session, Turn, User
from copilot.turns.branches import regenerate
from linking.keys import issue_key
from tests.chat.sockets import connected
from tests.factories import make_running, make_session
from tests.harness import Crew
from tests.usage.spending import spend

pytestmark = pytest.mark.django_db(transaction=True)
#: What the turn costs; no other number in any answer has these digits.
COST = 7_310_947
ASK = f"/cost {COST}\n/words 2"


@pytest.fixture(autouse=True)
def _limits(settings: Settings) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = 100 * COST


@pytest.fixture
async def client(user: User) -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(user)
    return client


@pytest.fixture
async def session(user: User, crew: Crew) -> Session:
    """A session in which a dear answer was given, and another one is asked for."""
    await crew.hire()
    made: Session = await db(lambda: make_session(user))
    await crew.say(ASK, made)
    return made


async def texts_of(client: AsyncClient, session: Session) -> AsyncIterator[tuple[str, str]]:
    """Yield what each place answers where a turn's use may be told of."""
    turn = await db(lambda: Turn.objects.filter(session=session).latest("created_at"))
    paths = [
        "sessions",
        f"sessions/{session.pk}",
        f"sessions/{session.pk}/messages",
        f"turns/{turn.pk}",
        f"turns/{turn.pk}/events",
        "usage",
        "me",
    ]
    for path in paths:
        answer = await client.get(f"/api/v1/{path}")
        assert answer.status_code == 200, path
        yield path, answer.content.decode()
    renamed = await client.patch(
        f"/api/v1/sessions/{session.pk}", json.dumps({"title": "T"}), content_type="application/json"
    )
    assert renamed.status_code == 200
    yield "PATCH session", renamed.content.decode()
    stream = await client.get(f"/api/v1/turns/{turn.pk}/stream")
    yield "stream", b"".join([piece async for piece in stream.streaming_content]).decode()
    for stored in (False, True):  # the second time it is the answer to a repetition, as things are by then
        again = await client.post(
            f"/api/v1/sessions/{session.pk}/messages",
            json.dumps({"text": "/words 1", "client_id": "again"}),
            content_type="application/json",
        )
        assert again.status_code == (200 if stored else 202)
        yield f"message, {stored=}", again.content.decode()
    page = await client.get(f"/c/{session.pk}/")
    assert page.status_code == 200
    yield "page", page.content.decode()


def tells(text: str) -> bool:
    """Whether it does; that the person wrote the number themself does not count."""
    return str(COST) in text.replace(f"/cost {COST}", "") or "cost_microdollars" in text


@pytest.mark.parametrize("shown", [None, False, True])
async def test_nothing_that_a_person_reads_tells_an_amount(
    client: AsyncClient, session: Session, settings: Settings, shown: bool | None
) -> None:
    settings.USAGE_SHOW_COST = shown
    told = {place async for place, text in texts_of(client, session) if tells(text)}
    if shown:
        assert {"sessions", f"sessions/{session.pk}", "PATCH session"} <= told
    else:
        assert told == set()


async def test_without_limits_people_see_what_it_cost(
    client: AsyncClient, session: Session, settings: Settings
) -> None:
    settings.USAGE_DAILY_LIMIT_MICRODOLLARS = 0
    turn = await db(Turn.objects.get, session=session)
    assert (await client.get(f"/api/v1/turns/{turn.pk}")).json()["usage"]["cost_microdollars"] == COST
    settings.USAGE_SHOW_COST = False
    assert "cost_microdollars" not in (await client.get(f"/api/v1/turns/{turn.pk}")).json()["usage"]


async def test_staff_see_it_always(client: AsyncClient, session: Session, user: User) -> None:
    await db(lambda: User.objects.filter(pk=user.pk).update(is_staff=True))
    told = {place async for place, text in texts_of(client, session) if tells(text)}
    assert {"sessions", f"sessions/{session.pk}", "PATCH session"} <= told
    turn = await db(lambda: Turn.objects.filter(session=session).earliest("created_at"))
    assert (await client.get(f"/api/v1/turns/{turn.pk}")).json()["usage"]["cost_microdollars"] == COST


async def test_a_websocket_tells_no_amount(session: Session, user: User) -> None:
    _, key = await db(lambda: issue_key(user=user))
    async with connected(f"sessions/{session.pk}/", key) as wire:
        snapshot = await wire.frame("session")
        assert not tells(json.dumps(snapshot))
        assert snapshot["usage"]["output_tokens"] == 2
        await wire.send({"type": "send", "text": "/words 1", "client_id": "one"})
        assert not tells(json.dumps(await wire.frame("ack")))


async def test_a_live_turn_tells_no_amount_either(client: AsyncClient, user: User) -> None:
    def live() -> Turn:
        holder = make_running(make_session(user))
        return holder.turn

    turn = await db(live)
    await db(spend, user, COST)
    answer: Any = await client.get(f"/api/v1/sessions/{turn.session_id}")
    assert not tells(answer.content.decode())


async def test_openai_clients_are_told_tokens_alone(client: AsyncClient, user: User, crew: Crew) -> None:
    await crew.hire()
    body = {"model": "demo/demo", "messages": [{"role": "user", "content": ASK}]}
    answer: Any = await client.post("/api/v1/openai/chat/completions", body, content_type="application/json")
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 2
    assert "cost" not in json.dumps(answer.json()["usage"])


async def test_another_answer_tells_none(client: AsyncClient, session: Session, user: User) -> None:
    accepted = await db(lambda: regenerate(user=user, session_id=session.pk))
    answer: Any = await client.get(f"/api/v1/turns/{accepted.turn.pk}")
    assert not tells(answer.content.decode())
