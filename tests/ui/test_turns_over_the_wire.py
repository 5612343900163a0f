"""What happens to a turn, in the words of a response: taken back, resumed, followed up, stopped, long ago."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chat.ui.speech import BEGINS_ANEW
from common.db import db
from copilot.models import Message, Session, Turn, TurnEvent, User
from copilot.turns.branches import show_branch
from copilot.turns.submit import submit_message
from tests.harness import Crew
from tests.ui.conftest import Answer, Front

pytestmark = pytest.mark.django_db(transaction=True)

#: Says some words of an answer, slowly enough to be read before the provider fails, once.
CUT_OFF = "/words 4 100\n/faillate overloaded 1\n/words 2"


def wording(answer: Answer) -> list[str]:
    """Return the types of the chunks; neighbouring deltas count as one."""
    kinds = answer.kinds
    return [kind for n, kind in enumerate(kinds) if kind != "text-delta" or kinds[n - 1] != "text-delta"]


TEXT = ["text-start", "text-delta", "text-end"]


async def test_what_is_taken_back_is_followed_by_a_new_step(worker: Crew, front: Front) -> None:
    answer = await front.say("c1", CUT_OFF)
    parts = len(answer.of("text-start"))
    assert wording(answer)[:2] == ["start", "start-step"]
    assert answer.kinds.count("start") == 1
    assert answer.kinds.count("start-step") == answer.kinds.count("finish-step") == 2
    assert {chunk["id"] for chunk in answer.of("text-start")} == {chunk["id"] for chunk in answer.of("text-end")}
    assert len(answer.of("text-end")) == parts
    assert "reset-step" not in answer.kinds
    before, after = answer.text.split(BEGINS_ANEW)
    turn = await db(Turn.objects.get)
    stored = await db(lambda: Message.objects.get(turn=turn, role="assistant").text)
    assert before.startswith("w1")
    assert after == stored


async def test_a_client_that_knows_how_forgets_what_is_taken_back(worker: Crew, front: Front) -> None:
    answer = await front.say("c1", CUT_OFF, query="?sdk=7")
    assert answer.kinds.count("reset-step") == 1
    assert answer.kinds.count("start") == answer.kinds.count("start-step") == 1
    assert answer.kinds.count("finish-step") == 1
    assert BEGINS_ANEW not in answer.text
    told = answer.chunks[[chunk["type"] for chunk in answer.chunks].index("reset-step") :]
    text = "".join(chunk["delta"] for chunk in told if chunk["type"] == "text-delta")
    assert text == await db(lambda: Message.objects.get(role="assistant").text)


@pytest.mark.parametrize("query", ["", "?sdk=7"])
async def test_a_failure_before_the_first_word_shows_nothing(worker: Crew, front: Front, query: str) -> None:
    answer = await front.say("c1", "/fail overloaded 1\n/words 2", query=query)
    assert wording(answer) == ["start", "start-step", *TEXT, "finish-step", "finish"]
    assert answer.text == "w1 w2"


@pytest.mark.parametrize("query", ["", "?sdk=7"])
async def test_a_turn_that_a_lost_worker_leaves_in_the_middle_of_a_step_goes_on(
    crew: Crew, front: Front, query: str
) -> None:
    first = await crew.hire()
    said = "/words 1\n/tool current_time\n/words 2\n/sleep 0.6\n/words 3"
    asking = asyncio.create_task(front.say("c1", said, query=query))
    await crew.true(lambda: Turn.objects.filter(steps=1).exists())
    turn = await db(Turn.objects.get)
    await crew.until(turn, "text-delta", 2)
    await crew.hire()
    await crew.lose(first)
    await crew.recover(turn)
    answer = await asking
    assert answer.of("finish")[0]["finishReason"] == "stop"
    assert answer.kinds.count("start") == 1
    assert answer.kinds.count("start-step") == answer.kinds.count("finish-step") == 2 + (not query)
    assert answer.kinds.count("reset-step") == bool(query)
    assert len(answer.of("tool-output-available")) == 1


async def test_a_response_is_resumed_from_its_beginning_without_what_was_taken_back(
    worker: Crew, front: Front
) -> None:
    asking = asyncio.create_task(front.say("c1", f"{CUT_OFF}\n/sleep 0.8\n/words 1"))
    await worker.true(lambda: TurnEvent.objects.filter(chunk__type="data-rollback").exists())
    turn = await db(Turn.objects.get)
    await worker.until(turn, "text-delta", 2)
    resumed, whole = await front.resume("c1"), await asking
    assert resumed.message_id == whole.message_id
    assert BEGINS_ANEW not in resumed.text
    assert resumed.text == whole.text.split(BEGINS_ANEW)[-1]
    assert resumed.kinds.count("start-step") == resumed.kinds.count("finish-step") == 1
    assert (await front.resume("c1")).status == 204


async def test_a_stop_ends_the_response(worker: Crew, front: Front) -> None:
    asking = asyncio.create_task(front.say("c1", '/words 1\n/tool demo_wait {"seconds": 60}'))
    await worker.true(lambda: TurnEvent.objects.filter(chunk__type="tool-input-available").exists())
    stopped = await front.stop("c1")
    turn = await db(Turn.objects.get)
    assert stopped.json == {"cancelled": True, "confirmed": True, "turn": str(turn.pk)}
    answer = await asking
    assert answer.of("abort") == [{"type": "abort", "reason": "stopped"}]
    assert answer.kinds[-1] == "abort"
    assert len(answer.of("tool-output-error")) == 1


async def send_elsewhere(user: User, text: str) -> None:
    """Send a follow-up from another place."""
    session = await db(Session.objects.get, user=user)
    await db(lambda: submit_message(user=user, session_id=session.pk, text=text))


@pytest.mark.parametrize("query", ["", "?sdk=7"])
async def test_a_message_that_comes_from_elsewhere_is_part_of_the_response(
    worker: Crew, front: Front, user: User, query: str
) -> None:
    said = '/words 1\n/tool demo_wait {"seconds": 0.5}\n/words 2\n/tool demo_wait {"seconds": 0.8}\n/words 3'
    asking = asyncio.create_task(front.say("c1", said, query=query))
    await worker.true(lambda: TurnEvent.objects.filter(chunk__type="tool-input-available").exists())
    await send_elsewhere(user, "and another thing")
    await worker.true(lambda: TurnEvent.objects.filter(chunk__type="data-pending").exists())
    resumed = await front.resume("c1", query)
    whole = await asking
    assert whole.kinds.count("start") == 1
    if query:
        (steering,) = whole.of("steering-message")
        assert steering["parts"] == [{"type": "text", "text": "and another thing"}]
    else:
        (pending,) = whole.of("data-pending")
        assert pending["data"]["message"]["parts"] == [{"type": "text", "text": "and another thing"}]
    # What was said before it is a message of its own by now, and not told again.
    answers = await db(lambda: list(Message.objects.filter(role="assistant").order_by("seq")))
    assert whole.message_id == str(answers[0].pk)
    assert resumed.message_id == str(answers[1].pk)
    assert resumed.text == answers[1].text
    assert resumed.kinds.count("start-step") == resumed.kinds.count("finish-step")


@pytest.mark.parametrize("left", [0, 6], ids=["all", "most"])
async def test_an_answer_whose_events_are_pruned_is_told_from_what_is_stored(
    worker: Crew, front: Front, left: int
) -> None:
    said = '/think hm\n/words 2\n/tool calculator {"expression": "1+1"}\n/tool demo_boom\n/words 1'
    first = await front.say("c1", said, message_id="m1")
    last = (await db(Turn.objects.get)).last_seq or 0
    await db(TurnEvent.objects.filter(seq__lt=last - left).delete)
    again = await front.say("c1", said, message_id="m1")
    assert (again.text, again.message_id) == (first.text, first.message_id)
    assert again.kinds.count("start-step") == again.kinds.count("finish-step") == 2
    for kind in ("reasoning-delta", "tool-output-available", "tool-output-error", "finish"):
        assert again.of(kind), kind
    assert again.of("tool-output-available")[0]["output"] == first.of("tool-output-available")[0]["output"]


# --- saying something else, and answering again -------------------------------------------------


def shown(session: Session) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in session.messages.shown().order_by("seq")]


async def test_an_edited_message_is_another_branch_and_keeps_its_id(
    worker: Crew, front: Front, user: User
) -> None:
    await front.say("c1", "/words 1", message_id="m1")
    await front.say("c1", "/words 2", message_id="m2")
    session = await db(Session.objects.get, user=user)
    for text, words in (("/words 3", "w1 w2 w3"), ("/words 4", "w1 w2 w3 w4"), ("/words 4", "w1 w2 w3 w4")):
        answer = await front.say("c1", text, message_id="m1", messageId="m1")
        assert answer.text == words
        assert await db(shown, session) == [("user", text), ("assistant", words)]
    assert await db(Turn.objects.count) == 4  # sent again, the same edit is one edit


async def test_the_last_answer_is_given_again_once(worker: Crew, front: Front, user: User) -> None:
    first = await front.say("c1", "/words 2", message_id="m1")
    over: Any = {"trigger": "regenerate-message", "messageId": first.message_id}
    second = await front.say("c1", "/words 2", message_id="m1", **over)
    assert second.text == "w1 w2"
    assert second.message_id != first.message_id
    again = await front.say("c1", "/words 2", message_id="m1", **over)
    assert again.message_id == second.message_id
    third = await front.say("c1", "/words 2", message_id="m1", trigger="regenerate-message")
    assert third.message_id not in (first.message_id, second.message_id)
    session = await db(Session.objects.get, user=user)
    assert await db(shown, session) == [("user", "/words 2"), ("assistant", "w1 w2")]


async def test_an_earlier_answer_is_given_again_in_a_branch(worker: Crew, front: Front, user: User) -> None:
    first = await front.say("c1", "/words 1", message_id="m1")
    await front.say("c1", "/words 2", message_id="m2")
    over: Any = {"trigger": "regenerate-message", "messageId": first.message_id}
    answer = await front.say("c1", "/words 1", message_id="m1", **over)
    again = await front.say("c1", "/words 1", message_id="m1", **over)
    assert answer.text == "w1"
    assert first.message_id != answer.message_id == again.message_id
    session = await db(Session.objects.get, user=user)
    assert await db(shown, session) == [("user", "/words 1"), ("assistant", "w1")]


async def test_an_answer_that_is_shown_again_can_be_given_again_again(
    worker: Crew, front: Front, user: User
) -> None:
    first = await front.say("c1", "/words 1", message_id="m1")
    over: Any = {"trigger": "regenerate-message", "messageId": first.message_id}
    second = await front.say("c1", "/words 1", message_id="m1", **over)
    session = await db(Session.objects.get, user=user)
    await db(lambda: show_branch(user=user, session_id=session.pk, message_id=first.message_id))
    third = await front.say("c1", "/words 1", message_id="m1", **over)
    assert len({first.message_id, second.message_id, third.message_id}) == 3


async def test_trying_again_what_was_never_accepted_sends_it(worker: Crew, front: Front, user: User) -> None:
    # What a client does after an error: its last message may be one that never arrived here.
    over: Any = {"trigger": "regenerate-message"}
    assert (await front.say("c1", "/words 1", message_id="m1", **over)).text == "w1"
    for _ in range(2):
        answer = await front.say("c1", "/words 2", message_id="m2", messageId="m2", **over)
        assert answer.text == "w1 w2"
    session = await db(Session.objects.get, user=user)
    expected = [("user", "/words 1"), ("assistant", "w1"), ("user", "/words 2"), ("assistant", "w1 w2")]
    assert await db(shown, session) == expected


async def test_an_edited_message_keeps_its_files(worker: Crew, front: Front) -> None:
    await front.say("c1", "/words 1", message_id="m1")
    files = [{"type": "file", "mediaType": "text/plain", "url": "01981f5e-9b03-7a90-b1c4-77ad0e3f6c44"}]
    again = await front.say("c1", "/words 1", message_id="m1", files=files)
    assert (again.status, again.json["code"]) == (409, "client_id_reused")
    edited = await front.say("c1", "/words 2", message_id="m1", files=files, messageId="m1")
    assert (edited.status, edited.json["code"]) == (400, "invalid")


async def test_nothing_is_answered_again_while_something_runs(worker: Crew, front: Front) -> None:
    first = asyncio.create_task(front.say("c1", "/sleep 0.5\n/words 1", message_id="m1"))
    await worker.true(lambda: Turn.objects.exists())
    again = await front.say("c1", "/sleep 0.5\n/words 1", message_id="m1", trigger="regenerate-message")
    assert (again.status, again.json["code"]) == (409, "session_busy")
    await first
