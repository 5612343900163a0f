"""A front end sends a message: one chat is one session, one message is one turn, one response is one segment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import AsyncClient
from pytest_django import Settings

from chat.ui import chats
from common.db import db
from copilot.models import Message, Session, Turn, User
from copilot.turns.sessions import create_session
from tests.harness import Crew
from tests.ui.conftest import Front, read, saying

pytestmark = pytest.mark.django_db(transaction=True)


async def test_one_response_is_one_segment(worker: Crew, front: Front, user: User) -> None:
    answer = await front.say("c1", "/words 3", message_id="m1")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["Cache-Control"] == "no-cache"
    kinds = [kind for n, kind in enumerate(answer.kinds) if kind != "text-delta" or answer.kinds[n - 1] != kind]
    assert kinds == ["start", "start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"]
    assert answer.text == "w1 w2 w3"
    assert answer.of("finish") == [{"type": "finish", "finishReason": "stop"}]
    session = await db(Session.objects.get, user=user)
    said, written = await db(lambda: list(session.messages.order_by("seq")))
    assert (session.client_id, said.client_id, said.text) == ("c1", "m1", "/words 3")
    assert answer.message_id == str(written.pk)


async def test_a_chat_is_one_session_of_its_person(
    worker: Crew, front: Front, other_front: Front, user: User, other_user: User
) -> None:
    await front.say("c1", "/words 1")
    await front.say("c1", "/words 2")
    await front.say("c2", "/words 1")
    await other_front.say("c1", "/words 1")
    assert await db(Session.objects.filter(user=user).count) == 2
    assert await db(Session.objects.filter(user=other_user).count) == 1


async def test_a_session_s_id_works_too_but_not_somebody_else_s(
    worker: Crew, front: Front, user: User, other_user: User
) -> None:
    mine = await db(lambda: create_session(user=user))
    theirs = await db(lambda: create_session(user=other_user))
    await front.say(str(mine.pk), "/words 1")
    assert await db(mine.messages.count) == 2
    await front.say(str(theirs.pk), "/words 1")
    assert await db(theirs.messages.count) == 0
    named = await db(Session.objects.get, user=user, client_id=str(theirs.pk))
    assert await db(named.messages.count) == 2


@pytest.mark.parametrize("looked", [True, False], ids=["nobody-waits", "both-find-none"])
async def test_first_messages_at_once_make_one_session(
    worker: Crew, front: Front, user: User, monkeypatch: pytest.MonkeyPatch, looked: bool
) -> None:
    if not looked:  # as if each had looked before the other made it
        monkeypatch.setattr(chats, "find_session", lambda user, chat: None)
    answers = await asyncio.gather(*(front.say("c1", "/sleep 0.2\n/words 1") for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 409, 409]
    assert {answer.json["code"] for answer in answers if answer.status == 409} == {"session_busy"}
    assert await db(Session.objects.filter(user=user).count) == 1


@pytest.mark.parametrize("chat", ["a/b", "../stream", "x?y#z%24", "two\nlines", "x/stream", "s" * 128], ids=repr)
async def test_any_name_will_do(worker: Crew, front: Front, user: User, chat: str) -> None:
    assert (await front.say(chat, "/words 1")).text == "w1"
    assert (await front.resume(chat)).status == 204
    assert (await front.stop(chat)).json == {"cancelled": False, "confirmed": False}
    assert await db(Session.objects.filter(user=user, client_id=chat).count) == 1


async def test_a_message_sent_again_is_answered_once(worker: Crew, front: Front) -> None:
    first = await front.say("c1", "/words 2", message_id="m1")
    again = await front.say("c1", "/words 2", message_id="m1")
    assert (again.text, again.message_id) == ("w1 w2", first.message_id)
    assert await db(Turn.objects.count) == 1


async def test_a_message_sent_again_while_it_is_answered_is_followed_from_its_beginning(
    worker: Crew, front: Front
) -> None:
    body = saying("c1", "/words 2\n/sleep 0.3\n/words 1", message_id="m1")
    answers = await asyncio.gather(*(front.call(body) for _ in range(3)))
    assert {(answer.status, answer.text, answer.message_id) for answer in answers} == {
        (200, answers[0].text, answers[0].message_id)
    }
    assert await db(Turn.objects.count) == 1


async def test_an_id_means_one_message(worker: Crew, front: Front) -> None:
    await front.say("c1", "/words 1", message_id="m1")
    answer = await front.say("c1", "/words 2", message_id="m1")
    assert (answer.status, answer.json["code"]) == (409, "client_id_reused")


async def test_only_the_last_message_counts(worker: Crew, front: Front) -> None:
    body = saying("c1", "/words 1", surplus={"a": [1]})
    lies = [
        {"id": "u0", "role": "user", "parts": [{"type": "text", "text": "/words 9"}]},
        {"id": "a0", "role": "system", "parts": "nonsense"},
    ]
    body["messages"] = [*lies, {**body["messages"][0], "metadata": {"x": 1}}]
    assert (await front.call(body)).text == "w1"
    assert await db(Message.objects.count) == 2


async def test_a_busy_chat_takes_no_message(worker: Crew, front: Front) -> None:
    first = asyncio.create_task(front.say("c1", "/sleep 0.5\n/words 1"))
    await worker.true(lambda: Turn.objects.exists())
    answer = await front.say("c1", "/words 2")
    assert (answer.status, answer.json["code"]) == (409, "session_busy")
    assert (await first).text == "w1"
    assert await db(Message.objects.filter(role="user").count) == 1


async def test_a_first_message_that_is_refused_leaves_no_session(
    worker: Crew, front: Front, settings: Settings
) -> None:
    settings.SEND_RATE = 1
    assert (await front.say("c1", "/words 1")).status == 200
    refused = await front.say("c2", "/words 1")
    assert (refused.status, refused.json["code"]) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0
    assert await db(Session.objects.count) == 1


async def test_closing_the_stream_stops_nothing(worker: Crew, front: Front) -> None:
    response: Any = await front.client.post(
        "/api/v1/ui/chat", data=saying("c1", "/words 2\n/sleep 0.2\n/words 3"), content_type="application/json"
    )
    heard = asyncio.Event()

    async def listen() -> None:
        async for _ in response.streaming_content:
            heard.set()

    listening = asyncio.create_task(listen())
    await heard.wait()
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    turn = await worker.ended(await db(Turn.objects.get))
    assert turn.status == "completed"


async def test_a_turn_that_fails_says_so(worker: Crew, front: Front) -> None:
    answer = await front.say("c1", "/words 1\n/fail auth")
    assert answer.kinds[-1] == "error"
    assert answer.of("data-error")[0]["data"]["code"] == "auth"


async def test_nobody_else_reads_along(worker: Crew, front: Front, other_front: Front) -> None:
    first = asyncio.create_task(front.say("c1", "/sleep 0.3\n/words 1"))
    await worker.true(lambda: Turn.objects.exists())
    session = await db(Session.objects.get)
    for chat in ("c1", str(session.pk)):
        assert (await other_front.resume(chat)).status == 204
        assert (await other_front.stop(chat)).status == 404
    assert (await first).text == "w1"


async def test_a_cookie_needs_its_token_and_nobody_gets_in_without() -> None:
    anybody = AsyncClient()
    answer = await read(await anybody.post("/api/v1/ui/chat", data={}, content_type="application/json"))
    assert (answer.status, answer.json["code"]) == (401, "not_authenticated")
    assert (await anybody.get("/api/v1/ui/chat/c1/stream")).status_code == 401
    assert (await anybody.post("/api/v1/ui/chat/c1/stop")).status_code == 401


async def test_a_page_of_another_site_cannot_send(user: User) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    await db(client.force_login, user)
    for path in ("ui/chat", "ui/chat/c1/stop"):
        answer = await read(await client.post(f"/api/v1/{path}", data={}, content_type="application/json"))
        assert (answer.status, answer.json["code"]) == (403, "csrf")
