"""A response ends where the agent asks a person, and the answer to what it asked begins the next one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import AsyncClient
from pytest_django import Settings

from approvals.models import Action
from common.db import db
from copilot.models import Turn, User
from linking.keys import issue_key
from tests.approvals.asking import People, note, written
from tests.harness import Crew
from tests.ui.conftest import Answer, Front, answering, read, responded, saying

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _asking(people: People, settings: Settings) -> None:
    settings.APPROVALS_ENABLED = True


async def asked(front: Front, *texts: str, chat: str = "c1") -> tuple[Answer, list[Any]]:
    """Have the agent ask for notes; return the response and what it asked."""
    answer = await front.say(chat, note(*texts))
    assert answer.status == 200, answer.body
    return answer, answer.of("tool-approval-request")


async def test_a_pause_ends_the_response(worker: Crew, front: Front) -> None:
    answer, requests = await asked(front, "one", "two")
    action = await db(Action.objects.get)
    calls = [chunk["toolCallId"] for chunk in answer.of("tool-input-available")]
    assert requests == [
        {"type": "tool-approval-request", "approvalId": f"{action.pk}.{call}", "toolCallId": call}
        for call in calls
    ]
    assert answer.kinds[-4:] == ["tool-approval-request"] * 2 + ["finish-step", "finish"]
    assert answer.of("finish") == [{"type": "finish", "finishReason": "tool-calls"}]
    assert answer.of("data-approval")[0]["id"] == str(action.pk)


async def test_a_batch_is_decided_at_once_and_the_answer_goes_on(worker: Crew, front: Front) -> None:
    answer, (one, two) = await asked(front, "one", "two")
    body = answering("c1", answer.message_id, responded(one, True), responded(two, False, reason="not that one"))
    rest = await front.call(body)
    assert rest.message_id == answer.message_id
    assert [chunk["toolCallId"] for chunk in rest.of("tool-output-available")] == [one["toolCallId"]]
    assert rest.of("tool-output-denied") == [{"type": "tool-output-denied", "toolCallId": two["toolCallId"]}]
    assert not rest.of("tool-input-available")
    assert not rest.of("tool-approval-request")
    assert rest.kinds.count("start") == 1
    assert rest.kinds[-2:] == ["finish-step", "finish"]
    assert rest.of("finish") == [{"type": "finish", "finishReason": "stop"}]
    assert "not that one" in rest.text
    session = (await db(Turn.objects.get)).session_id
    assert await db(written, session) == ["one"]


async def test_nothing_is_decided_until_all_is(worker: Crew, front: Front) -> None:
    answer, (one, two) = await asked(front, "one", "two")
    for parts in ([responded(one, True)], [], [responded({**one, "approvalId": one["approvalId"] + "0"}, True)]):
        refused = await front.call(answering("c1", answer.message_id, *parts))
        assert (refused.status, refused.json["code"]) == (400, "incomplete")
    assert (await db(Action.objects.get)).status == "pending"
    rest = await front.call(answering("c1", answer.message_id, responded(one, True), responded(two, True)))
    assert rest.status == 200


@pytest.mark.parametrize("approved", ["true", 1, None, {}], ids=repr)
async def test_only_true_approves(worker: Crew, front: Front, approved: Any) -> None:
    answer, (one,) = await asked(front, "one")
    refused = await front.call(answering("c1", answer.message_id, responded(one, approved)))
    assert (refused.status, refused.json["code"]) == (400, "invalid")
    assert (await db(Action.objects.get)).status == "pending"


async def test_an_answer_sent_again_is_told_again_and_another_one_is_refused(worker: Crew, front: Front) -> None:
    answer, (one,) = await asked(front, "one")
    body = answering("c1", answer.message_id, responded(one, True))
    first, again = await front.call(body), await front.call(body)
    assert again.chunks == first.chunks
    other = await front.call(answering("c1", answer.message_id, responded(one, False)))
    assert (other.status, other.json["code"]) == (409, "already_decided")
    session = (await db(Turn.objects.get)).session_id
    assert await db(written, session) == ["one"]


async def test_answers_at_once_run_it_once(worker: Crew, front: Front) -> None:
    answer, (one,) = await asked(front, "one")
    body = answering("c1", answer.message_id, responded(one, True))
    answers = await asyncio.gather(*(front.call(body) for _ in range(3)))
    assert {(each.status, each.text) for each in answers} == {(200, answers[0].text)}
    assert await db(written, (await db(Turn.objects.get)).session_id) == ["one"]


async def test_an_answer_sent_again_after_the_next_pause_is_told_again(worker: Crew, front: Front) -> None:
    answer = await front.say("c1", f"{note('one')}\n{note('two')}")
    body = answering("c1", answer.message_id, responded(answer.of("tool-approval-request")[0], True))
    first = await front.call(body)
    assert first.of("tool-approval-request")
    again = await front.call(body)
    assert again.of("tool-approval-request") == first.of("tool-approval-request"), again.body
    refused = await front.call(answering("c1", answer.message_id))
    assert (refused.status, refused.json["code"]) == (400, "incomplete")


async def test_a_stop_between_an_answer_and_the_next_step_leaves_nothing_to_send(crew: Crew, front: Front) -> None:
    await crew.hire()
    answer, call = await question(front)
    await crew.dismiss()
    rest = asyncio.create_task(front.call(answering("c1", answer.message_id, output(call, "blue"))))
    await crew.true(Turn.objects.filter(status="queued").exists)
    await front.stop("c1")
    chunks = (await rest).chunks
    # A client sends by itself what ends with the outcomes of its own calls, over and over. A step without anything
    # in it that it writes down is none to it.
    assert [chunk["type"] for chunk in chunks][-4:] == ["start-step", "finish-step", "message-metadata", "abort"]


async def test_a_second_pause_ends_the_continuation(worker: Crew, front: Front) -> None:
    answer = await front.say("c1", f"{note('one')}\n{note('two')}")
    (one,) = answer.of("tool-approval-request")
    middle = await front.call(answering("c1", answer.message_id, responded(one, True)))
    (two,) = middle.of("tool-approval-request")
    assert middle.of("finish")[0]["finishReason"] == "tool-calls"
    # The first call's part still says "responded" in a client that lost the stream.
    body = answering("c1", answer.message_id, responded(one, True), responded(two, True))
    rest = await front.call(body)
    assert rest.message_id == answer.message_id
    assert rest.of("finish")[0]["finishReason"] == "stop"
    assert await db(written, (await db(Turn.objects.get)).session_id) == ["one", "two"]


async def test_a_chat_that_waits_is_told_again_to_who_comes_back(worker: Crew, front: Front) -> None:
    answer, _ = await asked(front, "one")
    again = await front.resume("c1")
    assert again.chunks == answer.chunks


async def test_what_was_decided_elsewhere_is_no_pause(worker: Crew, front: Front, people: People) -> None:
    answer = await front.say("c1", f"{note('one')}\n/sleep 1\n/words 1")
    await people.decide(await db(Action.objects.get), "approve")
    again = await front.resume("c1")
    assert again.message_id == answer.message_id
    assert not again.of("tool-approval-request")
    assert again.of("finish")[0]["finishReason"] == "stop"
    starts, ends = again.kinds.count("start-step"), again.kinds.count("finish-step")
    assert starts == ends


async def test_a_waiting_chat_takes_no_message_and_can_be_stopped(worker: Crew, front: Front) -> None:
    _, (one,) = await asked(front, "one")
    answer = await front.say("c1", "/words 1")
    assert (answer.status, answer.json["code"]) == (409, "session_busy")
    stopped = await front.stop("c1")
    assert (stopped.json["cancelled"], stopped.json["confirmed"]) == (True, True)
    assert (await front.resume("c1")).status == 204
    late = await front.call(answering("c1", "a1", responded(one, True)))
    assert (late.status, late.json["code"]) == (409, "stale")


async def test_another_chat_s_approval_is_not_decided(worker: Crew, front: Front, other_front: Front) -> None:
    answer, (one,) = await asked(front, "one")
    await front.say("c2", "/words 1")
    body = answering("c1", answer.message_id, responded(one, True))
    for asking in (front.call({**body, "id": "c2"}), other_front.call(body)):
        refused = await asking
        assert (refused.status, refused.json["code"]) == (400, "invalid")
    assert (await db(Action.objects.get)).status == "pending"


async def test_a_key_needs_the_scope_to_approve(worker: Crew, front: Front, user: User) -> None:
    answer, (one,) = await asked(front, "one")
    _, secret = await db(lambda: issue_key(user=user, scopes=["chat"]))
    response = await AsyncClient().post(
        "/api/v1/ui/chat",
        data=answering("c1", answer.message_id, responded(one, True)),
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )
    refused = await read(response)
    assert (refused.status, refused.json["code"]) == (403, "scope")
    assert (await db(Action.objects.get)).status == "pending"


async def test_nothing_to_answer_is_said(worker: Crew, front: Front) -> None:
    await front.say("c1", "/words 1")
    for chat in ("c1", "unknown"):
        refused = await front.call(answering(chat, "a1"))
        assert (refused.status, refused.json["code"]) == (400, "invalid")


# --- questions ---------------------------------------------------------------------------------


def output(call: str, value: Any, **over: Any) -> Any:
    """Return a call's part as ``addToolOutput`` leaves it."""
    part = {"type": "dynamic-tool", "toolName": "ask_user", "toolCallId": call, "input": {}}
    return {**part, "state": "output-available", "output": value, **over}


async def question(front: Front) -> tuple[Answer, str]:
    answer = await front.say("c1", "/ask Which colour? | red | blue\n/results")
    (call,) = answer.of("tool-input-available")
    assert call["toolName"] == "ask_user"
    assert call["input"] == {"question": "Which colour?", "options": ["red", "blue"]}
    assert "providerExecuted" not in call
    assert not answer.of("tool-approval-request")
    assert answer.of("finish")[0]["finishReason"] == "tool-calls"
    return answer, call["toolCallId"]


@pytest.mark.parametrize(("value", "read_as"), [("blue", "blue"), ({"hue": 2}, '"hue": 2')], ids=["text", "json"])
async def test_a_question_is_answered_by_its_output(worker: Crew, front: Front, value: Any, read_as: str) -> None:
    answer, call = await question(front)
    rest = await front.call(answering("c1", answer.message_id, output(call, value)))
    assert rest.message_id == answer.message_id
    assert read_as in rest.text.replace("\\", "")
    assert rest.of("finish")[0]["finishReason"] == "stop"


async def test_a_question_may_be_declined(worker: Crew, front: Front) -> None:
    answer, call = await question(front)
    declined = output(call, None, state="output-error", errorText="none of your business")
    rest = await front.call(answering("c1", answer.message_id, declined))
    assert rest.of("tool-output-denied")
    assert "none of your business" in rest.text


async def test_an_unanswered_question_is_incomplete_and_an_empty_answer_is_none(
    worker: Crew, front: Front
) -> None:
    answer, call = await question(front)
    refused = await front.call(answering("c1", answer.message_id))
    assert (refused.status, refused.json["code"]) == (400, "incomplete")
    refused = await front.call(answering("c1", answer.message_id, output(call, "  ")))
    assert (refused.status, refused.json["code"]) == (400, "invalid")


async def test_a_question_beside_approvals_is_told_when_it_is_asked(worker: Crew, front: Front) -> None:
    answer = await front.call(
        saying("c1", '/tool demo_note {"text": "one"}\n/tool ask_user {"question": "Well?"}\n/results')
    )
    (one,) = answer.of("tool-approval-request")
    # A client sends nothing while it knows of a call without an outcome.
    assert {chunk["toolCallId"] for chunk in answer.of("tool-input-available")} == {one["toolCallId"]}
    middle = await front.call(answering("c1", answer.message_id, responded(one, True)))
    (call,) = middle.of("tool-input-available")
    assert call["input"] == {"question": "Well?"}
    rest = await front.call(answering("c1", answer.message_id, output(call["toolCallId"], "very")))
    assert "very" in rest.text
