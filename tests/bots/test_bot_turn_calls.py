"""Reading, following and stopping turns as a bot: those of its own threads, as people do, and never the cost."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext

from approvals.models import AuditEntry
from common.db import db
from copilot import serving
from copilot.events import follow as following
from copilot.models import Session, Turn, UsageRecord, User
from linking.bot_objects import bot_turn_object
from linking.bots import switch_bot
from linking.keys import issue_key
from linking.models import BotKey
from linking.threads import turn_of
from tests.approvals.waiting import notes, pause_at
from tests.bots.places import Linked, link_private, link_server
from tests.factories import fresh, hold, make_session, make_turn
from tests.harness import Crew
from tests.linking.conftest import USER_ID

rows = pytest.mark.django_db
real = pytest.mark.django_db(transaction=True)

#: Every call about one turn.
CALLS = [("GET", ""), ("GET", "/events"), ("GET", "/stream"), ("POST", "/cancel")]
calls = pytest.mark.parametrize(("method", "path"), CALLS)


async def ask(place: Linked, method: str, path: str, **query: Any) -> Any:
    """Call a plain async view as the bot."""
    headers = {"authorization": f"Bearer {place.api.secret}"}
    if method == "POST":
        return await AsyncClient().post(
            f"/api/v1/bot/{path}", query, content_type="application/json", headers=headers
        )
    return await AsyncClient().get(f"/api/v1/bot/{path}", query, headers=headers)


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["code"]


async def body_of(answer: Any) -> str:
    return b"".join([piece async for piece in answer.streaming_content]).decode()


# --- whose it is --------------------------------------------------------------------------------


@real
@calls
async def test_a_bot_sees_nothing_of_other_bots(server: Linked, user: User, method: str, path: str) -> None:
    """Not of another one of the same owner and the same server either, nor of what people do without a bot."""
    other = await db(lambda: link_server(user, bot="other"))
    theirs = await db(lambda: other.turn())
    owners = await db(lambda: make_turn(make_session(user)))
    before = await db(lambda: list(Turn.objects.order_by("pk").values()))
    for unknown in (theirs.pk, owners.pk, uuid.uuid4(), "nothing", "%00", "..%2F", "x" * 500):
        assert refused(await ask(server, method, f"turns/{unknown}{path}")) == (404, "not_found")
    assert await db(lambda: list(Turn.objects.order_by("pk").values())) == before


@real
@calls
async def test_nobody_but_a_bot_gets_anything(server: Linked, user: User, method: str, path: str) -> None:
    turn = await db(lambda: server.turn())
    key = (await db(lambda: issue_key(user=user)))[1]
    client = AsyncClient()
    await client.aforce_login(user)
    for headers in ({}, {"authorization": f"Bearer {key}"}, {"authorization": "Bearer hfb_unknown"}):
        answer = await client.generic(method, f"/api/v1/bot/turns/{turn.pk}{path}", headers=headers)
        assert refused(answer) == (401, "not_authenticated")
    assert (await db(fresh, turn)).stop_requested_at is None


@rows
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "turns"), ("GET", "approvals"), ("POST", "approvals/x/decide")]
)
def test_nobody_but_a_bot_calls_the_others(server: Linked, user: User, method: str, path: str) -> None:
    client = Client()
    client.force_login(user)
    key = issue_key(user=user)[1]
    for headers in ({}, {"authorization": f"Bearer {key}"}):
        answer = client.generic(
            method,
            f"/api/v1/bot/{path}",
            json.dumps(server.body()),
            content_type="application/json",
            headers=headers,
        )
        assert refused(answer) == (401, "not_authenticated")
    assert not Turn.objects.exists()


@real
@calls
@pytest.mark.parametrize("lost", ["unlinked", "owner deactivated", "bot switched off", "key revoked"])
async def test_what_a_bot_lost_it_sees_no_more(server: Linked, method: str, path: str, lost: str) -> None:
    turn = await db(lambda: server.turn())
    await db(_lose, server, lost)
    status, code = refused(await ask(server, method, f"turns/{turn.pk}{path}"))
    gone = lost in ("unlinked", "owner deactivated")
    assert (status, code) == ((404, "not_found") if gone else (401, "not_authenticated"))


def _lose(place: Linked, what: str) -> None:
    match what:
        case "unlinked":
            place.unlink()
        case "owner deactivated":
            User.objects.update(is_active=False)
        case "bot switched off":
            switch_bot(bot_id=place.bot.pk, on=False)
        case "key revoked":
            BotKey.objects.update(revoked_at="2026-01-01T00:00Z")


@real
@pytest.mark.parametrize("lost", ["unlinked", "owner deactivated", "bot switched off", "key revoked"])
async def test_a_stream_ends_when_the_bot_may_not_read_any_more(
    server: Linked, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    turn = await db(lambda: server.turn())

    async def told(turn_id: object, after: int) -> AsyncIterator[Any]:
        yield following.Event(1, {"type": "start-step"})
        await db(_lose, server, lost)
        yield following.Beat()
        yield following.Event(2, {"type": "text-start", "id": "secret"})

    monkeypatch.setattr(serving, "follow", told)
    monkeypatch.setattr(serving, "CHECK_SECONDS", 0.0)
    body = await body_of(await ask(server, "GET", f"turns/{turn.pk}/stream"))
    assert body == 'id: 1\ndata: {"type":"start-step"}\n\ndata: [DONE]\n\n'


# --- a whole conversation -----------------------------------------------------------------------


@real
async def test_a_bot_follows_an_answer_in_each_way_and_learns_no_cost(crew: Crew, server: Linked) -> None:
    await crew.hire()
    said = await db(lambda: server.post("/cost 1234\n/words 3", author="Grace", client_id="m1"))
    turn = said.json()["turn"]["id"]
    async with asyncio.timeout(20):
        stream = await body_of(await ask(server, "GET", f"turns/{turn}/stream"))
        ended = json.loads((await ask(server, "GET", f"turns/{turn}", wait=25)).content)
        page = json.loads((await ask(server, "GET", f"turns/{turn}/events", wait=25)).content)
    assert (ended["status"], ended["text"]) == ("completed", "w1 w2 w3")
    assert page["terminal"]
    streamed = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: {")]
    chunks = [json.loads(line) for line in streamed]
    durable = [chunk for chunk in chunks if chunk["type"] != "data-metering"]
    assert durable == [event["chunk"] for event in page["events"]]
    assert stream.endswith("data: [DONE]\n\n")
    rest = await ask(server, "GET", f"turns/{turn}/events", after=page["next"] - 1)
    assert [event["seq"] for event in json.loads(rest.content)["events"]] == [page["next"]]
    assert await db(UsageRecord.objects.filter(turn=turn, cost_microdollars=1234).exists)
    again = await db(lambda: server.post("/cost 1234\n/words 3", client_id="m1"))
    assert (again.status_code, again.json()["turn"]["status"]) == (200, "completed")
    for told in (said.json(), ended, page, stream, again.json()):
        assert "1234" not in json.dumps(told).replace("/cost 1234", "")
        assert "cost_microdollars" not in json.dumps(told)


@real
@pytest.mark.parametrize(
    ("kind", "scopes"), [("server", ["once", "session"]), ("user", ["once", "session", "always"])]
)
async def test_events_offer_what_can_be_decided_there(user: User, kind: str, scopes: list[str]) -> None:
    place = await db(link_server if kind == "server" else link_private, user)
    turn = await db(lambda: place.turn(platform_user_id=USER_ID))
    await db(lambda: pause_at(hold(turn), *notes("hello")))
    page = json.loads((await ask(place, "GET", f"turns/{turn.pk}/events")).content)
    await ask(place, "POST", f"turns/{turn.pk}/cancel")
    stream = await body_of(await ask(place, "GET", f"turns/{turn.pk}/stream"))
    chunks = [event["chunk"] for event in page["events"]]
    chunks += [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    asked = [chunk["data"]["approval"]["scopes"] for chunk in chunks if chunk["type"] == "data-approval"]
    assert asked == [scopes, scopes]


@real
async def test_a_question_behind_a_running_turn_is_answered_by_the_next(crew: Crew, server: Linked) -> None:
    await crew.hire()
    first = await db(lambda: server.turn("/sleep 0.2\n/words 1"))
    waits = await db(lambda: server.post("/words 2", client_id="m2"))
    assert waits.json()["queued"]
    ended = json.loads((await ask(server, "GET", f"turns/{first.pk}", wait=25)).content)
    following_turn = ended["next_turn"]
    answered = json.loads((await ask(server, "GET", f"turns/{following_turn}", wait=25)).content)
    assert answered["text"] == "w1 w2"
    state = await db(lambda: server.post("/words 2", client_id="m2"))
    assert (state.status_code, state.json()["turn"]["id"]) == (200, following_turn)


@real
@pytest.mark.parametrize("query", [{"wait": "x"}, {"wait": "-1"}], ids=str)
async def test_a_wait_that_is_none_is_refused(server: Linked, query: dict[str, str]) -> None:
    turn = await db(lambda: server.turn())
    for path in ("", "/events"):
        assert refused(await ask(server, "GET", f"turns/{turn.pk}{path}", **query)) == (400, "invalid")


# --- stopping -----------------------------------------------------------------------------------


@real
async def test_a_bot_stops_a_turn_whatever_its_rate(server: Linked, settings: Any) -> None:
    settings.BOT_RATE = 1
    turn = await db(lambda: server.turn())
    for _ in range(3):
        answer = json.loads((await ask(server, "POST", f"turns/{turn.pk}/cancel")).content)
        assert answer == {"cancelled": True, "confirmed": True, "turn": str(turn.pk)}
    assert refused(await ask(server, "POST", f"turns/{turn.pk}/cancel", turn="x")) == (400, "unknown_field")


@real
async def test_what_a_bot_stops_is_on_record_as_its_doing(server: Linked) -> None:
    action = await db(lambda: pause_at(hold(server.turn()), *notes("hello")))
    await ask(server, "POST", f"turns/{action.turn}/cancel")
    entry = await db(AuditEntry.objects.get)
    assert (entry.event, entry.actor) == ("cancelled", "concierge")


# --- costs --------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize("threads", [1, 30])
async def test_reading_costs_the_same_however_many_threads_there_are(server: Linked, threads: int) -> None:
    turns = [await db(lambda n=n: server.turn(thread_id=f"t{n}")) for n in range(threads)]
    assert await db(_queries, lambda: bot_turn_object(turn_of(server.bot, turns[0].pk), in_server=True)) == 2


def _queries(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        act()
    return len(captured)


@real
async def test_a_turn_of_a_child_session_is_none_of_the_threads(server: Linked) -> None:
    """What a child asks for shows in the events of the thread's turn; the rest is between agents."""
    home = await db(lambda: server.turn().session)
    columns = {"parent": home, "parent_call": uuid.uuid4(), "depth": 1, "updated_at": home.updated_at}
    child = await db(lambda: make_turn(Session.objects.create(user_id=home.user_id, **columns)))
    assert refused(await ask(server, "GET", f"turns/{child.pk}")) == (404, "not_found")
