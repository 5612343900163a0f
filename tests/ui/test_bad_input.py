"""Whatever a front end sends, it is told what is wrong with it, and nothing is made of it."""

from __future__ import annotations

from typing import Any

import pytest

from chat.ui import request
from chat.ui.request import Said, parse
from common.db import db
from common.errors import Invalid
from copilot.models import Session
from tests.harness import Crew
from tests.ui.conftest import Front, saying

pytestmark = pytest.mark.django_db(transaction=True)

PART = {"type": "text", "text": "hi"}


def user(**over: Any) -> Any:
    return {"id": "m1", "role": "user", "parts": [PART], **over}


def assistant(**part: Any) -> Any:
    return {"id": "a1", "role": "assistant", "parts": [{"type": "dynamic-tool", "toolCallId": "c", **part}]}


def responded(approval: Any) -> Any:
    return assistant(state="approval-responded", approval=approval)


BODIES: dict[str, Any] = {
    "nothing": None,
    "a list": [],
    "no id": {"messages": [user()]},
    "an empty id": {"id": "", "messages": [user()]},
    "a long id": {"id": "x" * 129, "messages": [user()]},
    "an id with NUL": {"id": "a\x00", "messages": [user()]},
    "a number for an id": {"id": 1, "messages": [user()]},
    "no messages": {"id": "c1"},
    "messages of another kind": {"id": "c1", "messages": {"0": user()}},
    "an empty conversation": {"id": "c1", "messages": []},
    "a text for a message": {"id": "c1", "messages": ["hi"]},
    "no parts": {"id": "c1", "messages": [{"id": "m1", "role": "user", "content": "hi"}]},
    "a text for a part": {"id": "c1", "messages": [user(parts=["hi"])]},
    "a part without text": {"id": "c1", "messages": [user(parts=[{"type": "text"}])]},
    "an empty text": {"id": "c1", "messages": [user(parts=[{"type": "text", "text": " "}])]},
    "no message id": {"id": "c1", "messages": [{"role": "user", "parts": [PART]}]},
    "a long message id": {"id": "c1", "messages": [user(id="m" * 129)]},
    "a system message": {"id": "c1", "messages": [user(role="system")]},
    "another trigger": {"id": "c1", "messages": [user()], "trigger": "resume-stream"},
    "a trigger of another kind": {"id": "c1", "messages": [user()], "trigger": []},
    "a number for what is edited": {"id": "c1", "messages": [user()], "messageId": 7},
    "a file inside": {"id": "c1", "messages": [user(parts=[PART, {"type": "file", "url": "data:text/plain,x"}])]},
    "a file elsewhere": {"id": "c1", "messages": [user(parts=[PART, {"type": "file", "url": "https://a.b/c"}])]},
    "a file without address": {"id": "c1", "messages": [user(parts=[PART, {"type": "file"}])]},
    "an unknown file": {
        "id": "c1",
        "messages": [user(parts=[PART, {"type": "file", "url": "01981f5e-9b03-7a90-b1c4-77ad0e3f6c44"}])],
    },
    "an answer without approval": {"id": "c1", "messages": [responded(None)]},
    "an answer without id": {"id": "c1", "messages": [responded({"approved": True})]},
    "a word for yes": {"id": "c1", "messages": [responded({"id": "x", "approved": "yes"})]},
    "a number for a reason": {"id": "c1", "messages": [responded({"id": "x", "approved": True, "reason": 1})]},
    "an answer to nothing": {"id": "c1", "messages": [assistant(state="output-available", output=1)]},
    "an answer to be given again": {
        "id": "c1",
        "messages": [assistant(state="input-available")],
        "trigger": "regenerate-message",
    },
}


@pytest.mark.parametrize("name", BODIES)
async def test_what_is_wrong_is_said(crew: Crew, front: Front, name: str) -> None:
    answer = await front.call(BODIES[name])
    assert answer.status == 400, answer.body
    assert answer.json["code"] == "invalid"
    assert answer.json["detail"]
    assert not await db(Session.objects.exclude(messages__isnull=True).exists)


async def test_nothing_can_be_answered_again_where_nothing_was_asked(crew: Crew, front: Front) -> None:
    answer = await front.call({"id": "c1", "messages": [], "trigger": "regenerate-message"})
    assert (answer.status, answer.json["code"]) == (409, "stale")


async def test_a_version_is_a_number(crew: Crew, front: Front) -> None:
    assert (await front.say("c1", "hi", query="?sdk=six")).status == 400
    assert (await front.resume("c1", "?sdk=x")).status == 400


async def test_a_long_conversation_is_read_up_to_a_bound(
    worker: Crew, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = saying("c1", "/words 1")
    body["messages"] = [user(parts=[{"type": "text", "text": "x" * 3_000_000}]), *body["messages"]]
    assert (await front.call(body)).text == "w1"
    body["messages"] = [user(parts=[{"type": "text", "text": "x" * request.BODY_MAX}]), *body["messages"]]
    answer = await front.call(body)
    assert (answer.status, answer.json["code"]) == (413, "text_too_long")


async def test_a_form_is_no_message(crew: Crew, front: Front) -> None:
    response = await front.client.post("/api/v1/ui/chat", data={"id": "c1"})
    assert response.status_code == 400


@pytest.mark.parametrize("url", ["/api/v1/files/{}", "https://host.example:8000/api/v1/files/{}", "{}"])
def test_a_file_is_named_by_its_address_or_its_id(url: str) -> None:
    file_id = "01981f5e-9b03-7a90-b1c4-77ad0e3f6c44"
    parts = [{"type": "file", "mediaType": "image/png", "url": url.format(file_id)}, PART, PART]
    assert parse({"id": "c1", "messages": [user(parts=parts)]}).last == Said("m1", "hi\nhi", (file_id,))


@pytest.mark.parametrize("url", ["https://evil.example/x?/api/v1/files/{}", "/api/v1/files/{}/..", "x{}"])
def test_another_address_is_no_file(url: str) -> None:
    parts = [PART, {"type": "file", "url": url.format("01981f5e-9b03-7a90-b1c4-77ad0e3f6c44")}]
    with pytest.raises(Invalid):
        parse({"id": "c1", "messages": [user(parts=parts)]})
