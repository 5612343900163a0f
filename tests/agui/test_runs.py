"""A run sends what the person said, or answers what the agent asked, and nothing else changes anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import AsyncClient
from pytest_django import Settings

from approvals.models import Action
from chat.agui import stream
from common.db import db, seconds_ago
from common.errors import NotFound
from copilot.diagnostics import invariants
from copilot.models import Message, Session, Turn, User
from linking.keys import issue_key
from tests.agui.conftest import Front, interrupts_of, of, saying, text_of
from tests.approvals.asking import People, decide_now, note, written
from tests.harness import Crew

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]


@pytest.fixture(autouse=True)
def _asking(people: People, settings: Settings) -> None:
    settings.APPROVALS_ENABLED = True


def answering(interrupts: list[Any], *answers: Any) -> list[Any]:
    """Return what resumes a run: a payload for each interrupt, or nothing for one that is cancelled."""
    return [
        {"interruptId": interrupt["id"], "status": "cancelled"}
        if answer is None
        else {"interruptId": interrupt["id"], "status": "resolved", "payload": answer}
        for interrupt, answer in zip(interrupts, answers, strict=True)
    ]


async def refused(front: Front, **body: Any) -> tuple[int, str]:
    """Return the status and the code of a run that must be refused."""
    sent = {"threadId": "t", "runId": "r", "messages": [saying("/words 1")], **body}
    response = await front.call({name: value for name, value in sent.items() if value is not None})
    return response.status_code, response.json()["code"]


# --- messages ------------------------------------------------------------------------------------


async def test_a_thread_is_a_session_of_its_person(front: Front, other_front: Front) -> None:
    first = await front.run("a/thread ü", saying("/words 2"))
    assert first[0] == {
        "type": "RUN_STARTED",
        "threadId": "a/thread ü",
        "runId": "r",
        "protocolVersion": "1.0",
    }
    assert (first[-1]["threadId"], first[-1]["runId"]) == ("a/thread ü", "r")
    assert text_of(first) == "w1 w2"
    await front.run("a/thread ü", saying("/words 3"))
    session = await db(Session.objects.get)
    assert session.client_id == "a/thread ü"
    await front.run(str(session.pk), saying("/words 4"))
    assert await db(Session.objects.count) == 1
    await other_front.run("a/thread ü", saying("/words 1"))
    assert await db(Session.objects.count) == 2
    assert await db(invariants.check) == []


async def test_only_the_last_message_of_the_person_is_read(front: Front, crew: Crew) -> None:
    system = {"id": "s", "role": "system", "content": "You are a pirate."}
    await front.run("t", system, saying("never sent"), saying("/words 1"), tools=[{"name": "x"}], state={"a": 1})
    [request] = crew.requests
    assert "pirate" not in request.system
    assert [message.text().split("\n")[0] for message in request.messages] == ["/words 1"]
    assert "x" not in {tool.name for tool in request.tools}


async def test_what_the_front_end_tells_of_itself_is_read_as_the_page(front: Front, crew: Crew) -> None:
    context = [{"description": "Cart", "value": "3 apples"}]
    await front.run("t", saying([{"type": "text", "text": "/words 1"}]), context=context)  # type: ignore[arg-type]
    assert "Cart: 3 apples" in crew.requests[0].messages[0].text()


async def test_a_message_is_sent_once_and_its_answer_told_as_often_as_asked(front: Front) -> None:
    asked = saying("/think so\n/words 2", "m1")
    first = await front.run("t", asked)
    assert await front.run("t", asked) == first
    said = [{"id": "a", "role": "assistant", "content": "w1"}, {"id": "x", "role": "reasoning", "content": "s"}]
    again = await front.run("t", asked, *said)
    assert again[1] == {"type": "MESSAGES_SNAPSHOT", "messages": [asked, {**said[1], "content": ""}]}
    assert again[2:] == first[1:]
    assert await db(Turn.objects.count) == 1
    assert await refused(front, messages=[saying("/words 3", "m1")]) == (409, "client_id_reused")


async def test_fields_that_are_null_are_left_out(front: Front) -> None:
    # As clients in other languages write what they do not have; the official one refuses to read it.
    asked = saying("/words 1")
    said = {"id": "a", "role": "assistant", "content": "x", "toolCalls": None}
    thought = {"id": "x", "role": "reasoning", "content": "s", "encryptedValue": None}
    events = await front.run("t", {**asked, "name": None}, said, thought, resume=None, context=None)
    assert text_of(events) == "w1"
    [snapshot] = of(events, "MESSAGES_SNAPSHOT")
    assert all(None not in message.values() for message in snapshot["messages"])


async def test_what_is_no_run_is_refused(front: Front) -> None:
    picture = [{"type": "image", "source": {"type": "data", "value": "aGk=", "mimeType": "image/png"}}]
    entry = {"interruptId": "i", "status": "resolved"}
    bodies: tuple[dict[str, Any], ...] = (
        {"threadId": None},
        {"threadId": "x" * 129},
        {"runId": ""},
        {"messages": None},
        {"messages": [1]},
        {"messages": []},
        {"messages": [{"role": "user", "content": "no id"}]},
        {"messages": [{"id": "a", "role": "assistant", "content": "I", "toolCalls": [1]}]},
        {"messages": [saying(picture)]},  # type: ignore[arg-type]
        {"messages": [saying(7)]},  # type: ignore[arg-type]
        {"messages": [saying(" ")]},
        {"context": [{"description": 1}]},
        {"resume": {}},
        {"resume": [{**entry, "interruptId": 1}]},
        {"resume": [{**entry, "status": "maybe"}]},
    )
    for body in bodies:
        assert await refused(front, **body) == (400, "invalid"), body
    assert (await front.call([])).status_code == 400
    assert not await db(Session.objects.exists)


async def test_nobody_runs_anything_without_a_key() -> None:
    assert await refused(Front(AsyncClient())) == (401, "not_authenticated")


# --- interrupts ----------------------------------------------------------------------------------


async def test_an_interrupt_says_what_is_asked(front: Front) -> None:
    [interrupt] = interrupts_of(await front.run("t", saying(note("one"))))
    action = await db(Action.objects.get)
    [request] = action.requests
    assert interrupt["id"] == f"{action.pk}.{request['tool_call_id']}"
    assert interrupt["toolCallId"] == request["tool_call_id"]
    assert interrupt["metadata"] == {
        "approval": str(action.pk),
        "toolName": "demo_note",
        "arguments": {"text": "one"},
    }
    assert set(interrupt["responseSchema"]["properties"]) == {"approved", "reason", "editedArgs"}
    assert interrupt["expiresAt"].endswith("Z")


async def test_each_call_gets_its_own_answer(front: Front) -> None:
    asked = saying(note("one", "two", "three"))
    interrupts = interrupts_of(await front.run("t", asked))
    edited = {"approved": True, "editedArgs": {"text": "better"}}
    resume = answering(interrupts, {"approved": False, "reason": "Not that."}, edited, None)
    events = await front.run("t", asked, resume=resume)
    assert written((await db(Session.objects.get)).pk) == ["better"]
    refusals = [each["content"] for each in of(events, "TOOL_CALL_RESULT") if "metadata" in each]
    assert len(refusals) == 2
    assert any("Not that." in refusal for refusal in refusals)
    action = await db(Action.objects.get)
    assert sorted(decision["type"] for decision in action.decisions or []) == ["edit", "reject", "reject"]


async def test_a_question_can_be_left_unanswered(front: Front) -> None:
    asked = saying("/ask Red or blue? | red | blue\n/words 2")
    interrupts = interrupts_of(await front.run("t", asked))
    events = await front.run("t", asked, resume=answering(interrupts, None))
    assert events[-1]["outcome"] == {"type": "success"}
    assert text_of(events) == "w1 w2"


async def test_a_bare_text_answers_a_question(front: Front) -> None:
    asked = saying("/ask Which? | red\n/words 2")
    interrupts = interrupts_of(await front.run("t", asked))
    await front.run("t", asked, resume=answering(interrupts, "green"))
    assert (await db(Action.objects.get)).answer == "green"


async def test_what_is_no_answer_decides_nothing(front: Front) -> None:
    asked = saying(note("one", "two"))
    interrupts = interrupts_of(await front.run("t", asked))
    yes = {"approved": True}
    assert await refused(front, messages=[asked], resume=answering(interrupts[:1], yes)) == (400, "incomplete")
    for payload in ("yes", {}, {"approved": 1}, {"approved": "true"}, {"approved": True, "reason": 1}):
        resume = answering(interrupts, yes, payload)
        assert await refused(front, messages=[asked], resume=resume) == (400, "invalid"), payload
    wrong = {"approved": True, "editedArgs": {"text": 7}}
    assert (await refused(front, messages=[asked], resume=answering(interrupts, yes, wrong)))[0] == 400
    assert (await db(Action.objects.get)).status == Action.Status.PENDING


async def test_an_answer_to_nothing_changes_nothing(front: Front, other_front: Front) -> None:
    theirs = interrupts_of(await other_front.run("t", saying(note("theirs"))))
    asked = saying("/words 2")
    first = await front.run("t", asked)
    unknown = [{"id": name} for name in ("", "x", f"{Session().pk}.{Session().pk}")]
    for interrupts in (theirs, *([each] for each in unknown)):
        assert await front.run("t", asked, resume=answering(interrupts, {"approved": True})) == first
    assert (await db(Action.objects.get)).status == Action.Status.PENDING


async def test_who_left_after_an_answer_and_answers_again_has_nothing_twice(front: Front) -> None:
    asked = saying(f"{note('one')}\n/think so\n/words 2")
    interrupts = interrupts_of(await front.run("t", asked))
    resume = answering(interrupts, {"approved": True})
    first = await front.run("t", asked, resume=resume)
    call = {"id": interrupts[0]["toolCallId"], "function": {"name": "demo_note", "arguments": "{}"}}
    names = [each["messageId"] for each in first if each["type"].endswith("MESSAGE_START")]
    client = [
        {"id": call["id"], "role": "assistant", "toolCalls": [call]},
        {"id": f"{call['id']}.result", "role": "tool", "toolCallId": call["id"], "content": "half"},
        {"id": names[0], "role": "reasoning", "content": "half"},
        {"id": names[1], "role": "assistant", "content": "half"},
    ]
    again = await front.run("t", asked, *client, resume=resume)
    empty = {**client[2], "content": ""}
    assert again[1] == {"type": "MESSAGES_SNAPSHOT", "messages": [asked, client[0], empty]}
    assert again[2:] == first[1:]


@pytest.mark.parametrize("how", ["decided", "sent_twice", "expired"])
async def test_who_answers_too_late_is_told_what_became_of_it(front: Front, crew: Crew, how: str) -> None:
    asked = saying(note("one"))
    interrupts = interrupts_of(await front.run("t", asked))
    resume = answering(interrupts, {"approved": True})
    action = await db(lambda: Action.objects.select_related("user").get())
    if how == "decided":
        await db(decide_now, action, "reject")
    elif how == "sent_twice":
        await front.run("t", asked, resume=resume)
    else:
        await front.client.post(f"/api/v1/turns/{action.turn}/cancel", {}, content_type="application/json")
    events = await front.run("t", asked, resume=resume)
    outcome = {"expired": "cancelled"}.get(how, "success")
    assert events[-1]["outcome"] == {"type": outcome}
    assert len(written((await db(Session.objects.get)).pk)) == (how == "sent_twice")
    [result] = of(events, "TOOL_CALL_RESULT")
    assert result["toolCallId"] == interrupts[0]["toolCallId"]


async def test_answers_need_no_messages(front: Front) -> None:
    asked = saying("/ask Which?\n/words 2")
    resume = answering(interrupts_of(await front.run("t", asked)), "red")
    assert text_of(await front.run("t", resume=resume)) == "w1 w2"
    assert text_of(await front.run("t", resume=resume)) == "w1 w2"
    unknown = [{"interruptId": "x", "status": "cancelled"}]
    assert await refused(front, messages=[], resume=unknown) == (400, "invalid")


async def test_nothing_is_decided_beside_a_message_that_is_refused(front: Front) -> None:
    asked = saying(note("one"))
    resume = answering(interrupts_of(await front.run("t", asked)), {"approved": True})
    long = [asked, saying("x" * 64_001)]
    assert await refused(front, messages=long, resume=resume) == (413, "text_too_long")
    assert (await db(Action.objects.get)).status == Action.Status.PENDING


async def test_an_answer_after_the_time_is_told_what_became_of_it(front: Front, crew: Crew) -> None:
    asked = saying(note("one"))
    resume = answering(interrupts_of(await front.run("t", asked)), {"approved": True})
    await db(Action.objects.update, expires_at=seconds_ago(1))
    events = await front.run("t", asked, resume=resume)
    assert events[-1]["outcome"] == {"type": "cancelled"}
    assert written((await db(Session.objects.get)).pk) == []


async def test_a_message_that_goes_along_and_is_held_is_sent_by_the_next_run(front: Front, crew: Crew) -> None:
    asked, more = saying("/words 1\n/sleep 60"), saying("/words 3")
    running = asyncio.create_task(front.run("t", asked))
    await crew.true(Turn.objects.filter(status="running").exists)
    session = await db(Session.objects.get)
    sent = {"text": more["content"], "client_id": more["id"], "delivery": "next"}
    await front.client.post(f"/api/v1/sessions/{session.pk}/messages", sent, content_type="application/json")
    await front.client.post(f"/api/v1/sessions/{session.pk}/cancel", {}, content_type="application/json")
    await running
    assert await db(Message.objects.filter(held=True).exists)
    assert text_of(await front.run("t", asked, more)) == "w1 w2 w3"
    assert await db(Turn.objects.count) == 2


async def test_a_message_goes_along_with_an_answer(front: Front) -> None:
    asked, more = saying(f"{note('one')}\n/words 1"), saying("/words 3")
    interrupts = interrupts_of(await front.run("t", asked))
    events = await front.run("t", asked, more, resume=answering(interrupts, None))
    assert text_of(events).endswith("w1 w2 w3")
    shown = await db(lambda: list(Message.objects.filter(role="user").values_list("client_id", flat=True)))
    assert set(shown) == {asked["id"], more["id"]}


async def test_a_thread_that_waits_takes_no_other_message(front: Front) -> None:
    await front.run("t", saying(note("one")))
    assert await refused(front) == (409, "session_busy")


async def test_a_key_that_may_not_approve_answers_nothing(front: Front, user: User) -> None:
    asked = saying(note("one"))
    interrupts = interrupts_of(await front.run("t", asked))
    _, secret = await db(lambda: issue_key(user=user, scopes=["chat"]))
    response = await AsyncClient().post(
        "/api/v1/ui/ag-ui",
        {"threadId": "t", "runId": "r", "messages": [asked], "resume": answering(interrupts, {"approved": True})},
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert (response.status_code, response.json()["code"]) == (403, "scope")
    assert (await db(Action.objects.get)).status == Action.Status.PENDING


# --- ends ----------------------------------------------------------------------------------------


async def test_a_deleted_conversation_ends_its_run(
    front: Front, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = asyncio.create_task(front.run("t", saying("/words 1\n/sleep 60")))
    await crew.true(Turn.objects.filter(status="running").exists)
    session = await db(Session.objects.get)
    await front.client.delete(f"/api/v1/sessions/{session.pk}")
    async with asyncio.timeout(15):
        events = await running
    assert events[-1]["type"] in ("RUN_ERROR", "RUN_FINISHED")
    assert events[-1].get("outcome") != {"type": "success"}


@pytest.mark.parametrize(
    ("error", "code"), [(NotFound(), "not_found"), (RuntimeError("on fire"), "unknown")], ids=["gone", "broken"]
)
async def test_a_run_that_breaks_has_an_end(
    front: Front, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def broken(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(stream, "events_after", broken)
    events = await front.run("t", saying("/words 1"))
    assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", code)
    assert "fire" not in events[-1]["message"]
