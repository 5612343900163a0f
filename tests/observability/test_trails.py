"""A request's id goes with everything that is done for it, into the worker and back to who asked."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.test import AsyncClient

from common.db import db
from common.request_ids import RequestIds
from common.trail import follow_trail, stored_trail, trail
from copilot.models import Turn
from linking.keys import issue_key
from tests.factories import make_session
from tests.harness import PATIENCE, Crew
from tests.observability.measuring import Lines


class Asked:
    """One request to an application behind the middleware: what it saw, and what was answered."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self.sent: list[dict[str, Any]] = []

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen = dict(trail())
        kind = "http.response.start" if scope["type"] == "http" else "websocket.accept"
        await send({"type": kind, "headers": [(b"x-other", b"1")]})
        await send({"type": "http.response.body" if scope["type"] == "http" else "websocket.send"})

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def told(self) -> str:
        """The id in the answer."""
        return dict(self.sent[0]["headers"])[b"x-request-id"].decode()


async def ask(given: str | None, kind: str = "http") -> Asked:
    headers = [(b"host", b"x")] if given is None else [(b"x-request-id", given.encode("latin-1"))]
    asked = Asked()
    await RequestIds(asked.application)({"type": kind, "path": "/", "headers": headers}, None, asked.send)
    return asked


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_request_without_an_id_gets_one(kind: str) -> None:
    first, second = await ask(None, kind), await ask(None, kind)
    assert re.fullmatch("[0-9a-f]{32}", first.told)
    assert first.seen == {"request_id": first.told}
    assert first.told != second.told
    assert dict(first.sent[0]["headers"])[b"x-other"] == b"1"
    assert "headers" not in first.sent[1]
    assert trail() == {}


@pytest.mark.parametrize("given", ["a", "9f1c-4.b_2", "0198f4a2-1111-7222-8333-444455556666", "x" * 64])
async def test_a_sane_id_is_taken_over(given: str) -> None:
    asked = await ask(given)
    assert asked.told == asked.seen["request_id"] == given


@pytest.mark.parametrize(
    "given",
    [
        "",
        " ",
        "a b",
        "x" * 65,
        "a\r\nset-cookie: b",
        "é",
        "-rf",
        "a/b",
        "hf_" + "Ab3" * 12,
        "sk-proj-Zx8Qm2Lr5Tn7Vb1Wc4YdKp9Hs3Jf6Gd",
    ],
)
async def test_what_is_no_id_or_a_secret_is_replaced(given: str) -> None:
    asked = await ask(given)
    assert re.fullmatch("[0-9a-f]{32}", asked.told)


@pytest.mark.usefixtures("hints")
async def test_the_application_gives_each_answer_an_id() -> None:
    from config.asgi import application

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/healthz",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    called = ApplicationCommunicator(application, scope)
    await called.send_input({"type": "http.request", "body": b""})
    answer = await called.receive_output(PATIENCE)
    assert (answer["status"], b"x-request-id" in dict(answer["headers"])) == (200, True)
    await called.wait(PATIENCE)


async def test_database_threads_go_on_with_the_trail_of_who_calls() -> None:
    async def asks(name: str) -> list[str]:
        with follow_trail(request_id=name):
            return [(await db(trail))["request_id"] for _ in range(20)]

    found = await asyncio.gather(*(asks(str(number)) for number in range(8)))
    assert found == [[str(number)] * 20 for number in range(8)]
    assert await db(trail) == {}


def test_only_what_a_worker_goes_on_with_is_stored() -> None:
    with follow_trail(request_id="a", turn_id="t"):
        assert stored_trail() == {"request_id": "a"}


@pytest.mark.django_db(transaction=True)
async def test_a_line_in_the_worker_is_found_by_the_browsers_request(crew: Crew, lines: Lines) -> None:
    await crew.hire()
    session = await db(make_session)
    _, key = await db(lambda: issue_key(user=session.user))
    with follow_trail(request_id="browser-7"):
        answer = await AsyncClient().post(
            f"/api/v1/sessions/{session.pk}/messages",
            data=json.dumps({"text": "/words 3"}),
            content_type="application/json",
            headers={"Authorization": f"Bearer {key}"},
        )
    turn = await db(Turn.objects.get, pk=answer.json()["turn"]["id"])
    await crew.ended(turn)
    ids = {"request_id": "browser-7", "turn_id": str(turn.pk), "session_id": str(session.pk)}
    for action in ("turn_claimed", "turn_left"):
        [line] = lines.doing(action)
        assert ids.items() <= line.items()
    assert (await db(lambda: turn.journal.get(kind="submitted"))).data["request_id"] == "browser-7"


@pytest.mark.django_db(transaction=True)
async def test_a_turn_is_not_known_by_the_request_that_happened_to_start_a_worker(
    crew: Crew, lines: Lines
) -> None:
    here = await crew.hire()
    with follow_trail(request_id="mine"):
        mine = await crew.send("/words 1", await db(make_session))
    await crew.ended(mine)
    unasked = await crew.send("/words 1")
    with follow_trail(request_id="somebody-elses"):
        here.run_soon(1)
    await crew.ended(unasked)
    found = {line["turn_id"]: line.get("request_id") for line in lines.doing("turn_claimed")}
    assert found == {str(mine.pk): "mine", str(unasked.pk): None}


@pytest.mark.django_db(transaction=True)
async def test_a_turn_that_is_taken_over_keeps_the_trail(crew: Crew, lines: Lines) -> None:
    first = await crew.hire()
    with follow_trail(request_id="browser-8"):
        turn = await crew.send("/words 2\n/sleep 30")
    await crew.until(turn, "text-delta")
    await crew.hire()
    await crew.lose(first)
    await crew.recover(turn)
    await crew.true(lambda: len(lines.doing("turn_claimed")) == 2)
    assert [line["request_id"] for line in lines.doing("turn_claimed")] == ["browser-8"] * 2
