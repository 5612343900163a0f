"""After a stop, in each state: nothing follows it, the next message is answered at once, and the model reads a
conversation that is whole: what was said and done, each call with its result, and nothing of the stop itself.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from copilot.agent import history
from copilot.diagnostics import invariants
from copilot.events import schema
from copilot.models import ToolCall, Turn
from copilot.models.message import open_answer_of
from copilot.providers.base import ModelMessage, ModelRequest, TextPart, ToolCallPart, ToolResultPart
from copilot.turns.cancel import cancel_turn
from copilot.turns.finish import cancelled
from tests.factories import answer_of, events_of, hold, kinds_of, make_session, make_turn
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)

#: What is sent, the event by which the state is reached, and how many of these.
STATES = {
    "silent before the first byte": ("/sleep 60", "start-step", 1),
    "streaming": ("/words 2000 20", "text-delta", 2),
    "reasoning": ("/think about the weather\n/sleep 60", "reasoning-delta", 1),
    "in a silent tool": ('/tool demo_wait {"seconds": 60}', "tool-input-available", 1),
    "in several tools": (
        '/tool demo_wait {"seconds": 60}\n/tool demo_wait {"seconds": 50}',
        "tool-input-available",
        2,
    ),
    "in a later step": ("/words 3\n/step\n/words 2\n/sleep 60", "start-step", 2),
    "between two tries": ("/fail overloaded", "data-status", 1),
}
REPLY = "/words 2"


async def stop(turn: Turn) -> None:
    result = await cancel_turn(user=turn.session.user, turn_id=turn.id)
    assert (result.cancelled, result.confirmed) == (True, True)


def own_words(request: ModelRequest) -> list[str]:
    """What people wrote, without what the server adds to it."""
    users = [message for message in request.messages if message.role == "user"]
    return [message.parts[0].text for message in users if isinstance(message.parts[0], TextPart)]


def assert_calls_are_answered(messages: tuple[ModelMessage, ...] | list[ModelMessage]) -> None:
    """Each message with calls is followed by one with a result for each of them, and no result stands alone."""
    for at, message in enumerate(messages):
        calls = [part.id for part in message.parts if isinstance(part, ToolCallPart)]
        after = messages[at + 1].parts if calls else ()
        assert [part.id for part in after if isinstance(part, ToolResultPart)] == calls
        if message.role == "tool":
            assert any(isinstance(part, ToolCallPart) for part in messages[at - 1].parts)


@pytest.mark.parametrize("state", STATES)
async def test_nothing_follows_the_end_and_the_next_message_is_answered(crew: Crew, state: str) -> None:
    await crew.hire()
    text, kind, times = STATES[state]
    turn = await crew.send(text)
    await crew.until(turn, kind, times)
    await stop(turn)
    log = await db(events_of, turn)
    assert log[-1][1] == schema.abort("stopped")
    crew.requests.clear()
    # The worker has let go of it only afterwards: the next turn runs beside whatever was left of this one.
    after = await crew.say(REPLY, turn.session)
    assert (after.status, await db(lambda: answer_text(after))) == ("completed", "w1 w2")
    assert await db(events_of, turn) == log
    (request,) = crew.requests
    assert own_words(request) == [text, REPLY]
    assert_calls_are_answered(request.messages)
    assert await db(invariants.check) == []


def answer_text(turn: Turn) -> str:
    message = answer_of(turn)
    assert message is not None
    return message.text


async def test_a_turn_that_waits_for_a_slot_ends_at_once_and_never_runs(crew: Crew, settings: Settings) -> None:
    settings.TURNS_PER_USER_MAX = 1
    await crew.hire()
    running = await crew.send("/sleep 60")
    await crew.until(running, "start-step")
    owner = running.session.user
    waiting = await crew.send("/words 1", await db(lambda: make_session(owner)))
    assert waiting.status == "queued"
    await stop(waiting)
    await stop(running)
    await crew.ended(running)
    later = await crew.say(REPLY, waiting.session)
    assert later.status == "completed"
    assert await db(kinds_of, waiting) == ["abort"]
    assert (await crew.now(waiting)).started_at is None


async def test_the_model_reads_the_partial_text_and_nothing_of_the_stop(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send("/think hmm\n/words 2000 20")
    await crew.until(turn, "text-delta", 2)
    await stop(turn)
    await crew.ended(turn)
    partial = await db(lambda: answer_text(turn))
    crew.requests.clear()
    await crew.say(REPLY, turn.session)
    (request,) = crew.requests
    assert [message.role for message in request.messages] == ["user", "assistant", "user"]
    assert request.messages[1].parts == (TextPart(partial),), "its words and no others: no thoughts, no marker"
    shown = await db(answer_of, turn)
    assert shown is not None
    assert [part["type"] for part in shown.parts] == ["step-start", "reasoning", "text"], "people see the thoughts"


async def test_the_model_reads_what_a_stopped_tool_had_put_out(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send('/words 2\n/tool demo_wait {"seconds": 60}\n/tool calculator {"expression": "6 * 7"}')
    await crew.until(turn, "tool-output-available", 3)  # the sum, and two times how long it waited
    await stop(turn)
    await crew.ended(turn)
    crew.requests.clear()
    await crew.say(REPLY, turn.session)
    (request,) = crew.requests
    assert_calls_are_answered(request.messages)
    results = [part for message in request.messages for part in message.parts if isinstance(part, ToolResultPart)]
    outputs = {part.name: (part.is_error, part.output) for part in results}
    assert outputs["calculator"][0] is False
    assert "42" in outputs["calculator"][1]
    assert outputs["demo_wait"][0] is True
    assert outputs["demo_wait"][1].startswith("Stopped before it finished.")
    assert "waited" in outputs["demo_wait"][1]


async def test_the_same_message_sent_again_after_a_stop_in_a_tool_starts_over(crew: Crew) -> None:
    await crew.hire()
    text = '/tool demo_wait {"seconds": 60}\n/tool demo_once {"text": "slow once"}'
    turn = await crew.send(text)
    await crew.until(turn, "tool-input-available", 2)
    await stop(turn)
    await crew.ended(turn)
    crew.requests.clear()
    again = await crew.send(text, turn.session)
    await crew.until(again, "tool-input-available", 2)
    await stop(again)
    await crew.ended(again)
    await crew.say(REPLY, turn.session)
    for request in crew.requests:
        assert_calls_are_answered(request.messages)
    assert own_words(crew.requests[-1]) == [text, text, REPLY]
    assert {call.state for call in await db(lambda: list(ToolCall.objects.all()))} == {"cancelled"}


def test_calls_that_had_not_begun_are_stopped_too_and_have_results_in_the_models_view() -> None:
    session = make_session()
    holder = hold(make_turn(session, "three calls"))
    holder.begin()
    done, running, _pending = holder.step("calculator", "demo_wait", "demo_once")
    holder.begin_call(done)
    holder.settle(done)
    holder.begin_call(running)
    holder.finish(cancelled("stopped"))
    states = ToolCall.objects.order_by("position").values_list("state", flat=True)
    assert list(states) == ["done", "cancelled", "cancelled"]
    messages, asked_from = view_of(make_turn(session, "and now?"))
    assert_calls_are_answered(messages)
    assert [message.role for message in messages] == ["user", "assistant", "tool", "user"]
    assert asked_from == 3
    assert "three calls" not in json.dumps([part.output for part in results_of(messages)])


def view_of(turn: Turn) -> tuple[list[ModelMessage], int]:
    """What the model is sent for a turn, and where the question to it begins."""
    [answer] = open_answer_of(turn.pk)
    return history.earlier_messages(turn, before=answer.seq)


def results_of(messages: list[ModelMessage]) -> list[ToolResultPart]:
    return [part for message in messages for part in message.parts if isinstance(part, ToolResultPart)]


def test_a_call_whose_arguments_were_still_coming_is_not_in_the_models_view() -> None:
    session = make_session()
    holder = hold(make_turn(session, "a call"))
    holder.begin()
    holder.say("Let me see.")
    holder.stream(*half_a_call())
    holder.finish(cancelled("stopped"))
    messages, _ = view_of(make_turn(session, "and now?"))
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    assert messages[1].parts == (TextPart("Let me see."),)
    assert invariants.check() == []


def half_a_call() -> list[dict[str, Any]]:
    """The beginning of a call, up to the middle of its arguments."""
    return [schema.tool_input_start("c1", "demo_wait"), schema.tool_input_delta("c1", '{"sec')]


def test_what_was_not_said_leaves_no_answer_in_the_models_view() -> None:
    session = make_session()
    holder = hold(make_turn(session, "first"))
    holder.begin()
    holder.finish(cancelled("stopped"))
    messages, asked_from = view_of(make_turn(session, "second"))
    assert [message.role for message in messages] == ["user", "user"]
    assert asked_from == 1, "the first message was the stopped turn's to answer"
