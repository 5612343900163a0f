"""What a model is told of earlier turns, however they ended: whole, valid, and nothing that nobody said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from common.db import db
from copilot.agent.history import _of_assistant
from copilot.models import Message
from copilot.providers.base import ModelMessage, ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from copilot.turns.cancel import cancel_turn
from tests.factories import answer_of, make_session
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)

Part = dict[str, Any]
STEP: Part = {"type": "step-start"}


def text(said: str) -> Part:
    return {"type": "text", "text": said, "state": "done"}


def thought(said: str) -> Part:
    return {"type": "reasoning", "text": said, "state": "done"}


def call(name: str, state: str, **over: Any) -> Part:
    return {"type": "dynamic-tool", "toolCallId": name, "toolName": "shell", "state": state, "input": {}, **over}


DONE = call("a", "output-available", output="fine")
STOPPED = call("b", "output-error", errorText="Stopped before it finished.")
DENIED = call("d", "output-denied", approval={"id": "d", "approved": False, "reason": "Not on a Sunday."})
CUT = call("e", "output-error", input='{"comm', errorText="Stopped before it finished.")
#: Never stored; if one ever were, it must not break every later turn of its session.
ORPHAN = call("f", "input-available")


def view(*parts: Part) -> list[ModelMessage]:
    """What a model is told of an answer with these parts."""
    return _of_assistant(Message(role="assistant", parts=list(parts)))


def roles(*parts: Part) -> list[str]:
    return [message.role for message in view(*parts)]


def results(*parts: Part) -> dict[str, str]:
    """What a model is told about the calls of an answer with these parts."""
    told = [part for message in view(*parts) for part in message.parts]
    return {part.id: part.output for part in told if isinstance(part, ToolResultPart)}


def test_a_call_that_was_stopped_has_a_result() -> None:
    assert roles(STEP, STOPPED) == ["assistant", "tool"]
    assert results(STEP, STOPPED) == {"b": "Stopped before it finished."}


def test_a_call_whose_outcome_is_missing_has_a_result_all_the_same() -> None:
    assert roles(STEP, text("Let me see."), ORPHAN) == ["assistant", "tool"]
    assert list(results(STEP, ORPHAN)) == ["f"]


def test_of_two_calls_the_answered_one_keeps_its_result() -> None:
    told = results(STEP, DONE, STOPPED)
    assert told == {"a": "fine", "b": "Stopped before it finished."}


def test_a_resolved_call_is_kept() -> None:
    assert results(STEP, DONE, STEP, text("Done.")) == {"a": "fine"}
    assert roles(STEP, DONE, STEP, text("Done.")) == ["assistant", "tool", "assistant"]


def test_a_refused_call_tells_the_reason() -> None:
    assert results(STEP, DENIED) == {"d": "This call was refused and did not run. The reason: Not on a Sunday."}


def test_a_plain_answer_is_kept() -> None:
    assert roles(STEP, text("Hello.")) == ["assistant"]


@pytest.mark.parametrize(
    "parts", [[], [STEP], [STEP, thought("Hm.")], [STEP, text("")], [STEP, text(" \n")], [CUT]]
)
def test_an_answer_that_said_nothing_is_not_told(parts: list[Part]) -> None:
    """Providers refuse an empty message."""
    assert view(*parts) == []


def test_thoughts_of_earlier_turns_are_not_told() -> None:
    told = view(STEP, thought("They will not like this."), text("Hello."), STEP, thought("Hm."), DONE)
    assert not [part for message in told for part in message.parts if isinstance(part, ReasoningPart)]


PARTS = st.sampled_from([STEP, text("Hi."), text(" "), thought("Hm."), DONE, STOPPED, DENIED, CUT, ORPHAN])


@hypothesis_settings(deadline=None)
@given(st.lists(PARTS, max_size=12))
def test_whatever_an_answer_holds_every_call_told_has_one_result_right_after_it(parts: list[Part]) -> None:
    told = view(*[{**part, "toolCallId": str(n)} for n, part in enumerate(parts)])
    for place, message in enumerate(told):
        assert message.parts
        assert not any(isinstance(part, TextPart) and not part.text.strip() for part in message.parts)
        calls = [part.id for part in message.parts if isinstance(part, ToolCallPart)]
        if message.role == "tool":
            assert place
            before = [part.id for part in told[place - 1].parts if isinstance(part, ToolCallPart)]
            assert [part.id for part in message.parts if isinstance(part, ToolResultPart)] == before
        elif calls:
            assert told[place + 1].role == "tool"


# --- over whole turns -------------------------------------------------------------------------


async def stopped(crew: Crew, words: str, kind: str, times: int = 1) -> Any:
    """Send words, wait for a chunk and stop; return the turn."""
    turn = await crew.send(words)
    await crew.until(turn, kind, times)
    assert (await cancel_turn(user=turn.session.user, turn_id=turn.id)).confirmed
    return await crew.ended(turn)


async def told_next(crew: Crew, turn: Any) -> list[ModelMessage]:
    """Send one more message; return what the model was told before it."""
    crew.requests.clear()
    assert (await crew.say("and now?", turn.session)).status == "completed"
    (request,) = crew.requests
    *before, last = request.messages
    assert (last.role, last.parts[0].text) == ("user", "and now?")  # type: ignore[union-attr]
    return before


async def test_a_stopped_answer_is_told_as_far_as_it_came_without_the_stop(crew: Crew) -> None:
    await crew.hire()
    turn = await stopped(crew, "/think secret thoughts\n/words 1000 20", "text-delta", 3)
    shown = await db(answer_of, turn)
    question, answer = await told_next(crew, turn)
    assert shown is not None
    assert (question.role, answer.role, answer.text()) == ("user", "assistant", shown.text)
    assert "secret" not in answer.text()
    assert "stop" not in answer.text().lower(), "neither is that it was stopped"


async def test_a_message_that_was_stopped_before_a_word_is_told_once(crew: Crew) -> None:
    await crew.hire()
    turn = await stopped(crew, "/sleep 60", "start-step")
    told = await told_next(crew, turn)
    assert [message.role for message in told] == ["user"]


async def test_a_turn_that_was_stopped_within_its_tools_is_told_with_all_results(crew: Crew) -> None:
    await crew.hire()
    words = '/words 2\n/tool demo_wait {"seconds": 60}\n/tool current_time\n/words 1'
    turn = await stopped(crew, words, "tool-output-available", 2)
    _, answer, tools = await told_next(crew, turn)
    asked = [part.id for part in answer.parts if isinstance(part, ToolCallPart)]
    got = {part.id: part for part in tools.parts if isinstance(part, ToolResultPart)}
    assert (answer.text(), list(got)) == ("w1 w2", asked)
    assert {part.name: part.is_error for part in got.values()} == {"demo_wait": True, "current_time": False}


async def test_what_a_failed_turn_said_is_told_but_not_its_error(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.say("/faillate auth")
    assert turn.status == "failed"
    shown = await db(answer_of, turn)
    assert shown is not None
    assert shown.text
    told = await told_next(crew, turn)
    assert [message.role for message in told] == ["user", "assistant"]
    assert told[1].text() == shown.text
    assert turn.error["detail"] not in str(told)


async def test_the_same_message_sent_again_after_an_error_is_there_twice(crew: Crew) -> None:
    await crew.hire()
    session = await db(make_session)
    first = await crew.say("/fail auth", session)
    second = await crew.say("/fail auth", session)
    assert (first.status, second.status) == ("failed", "failed")
    stored = await db(lambda: [message.text for message in session.messages.filter(role="user").order_by("seq")])
    assert stored == ["/fail auth", "/fail auth"]
    told = await told_next(crew, second)
    assert [message.role for message in told] == ["user", "user"]


async def test_saying_nothing_is_an_error_in_a_later_turn_too(crew: Crew) -> None:
    """What earlier turns said does not count."""
    await crew.hire()
    first = await crew.say("/words 3")
    second = await crew.say("/empty", first.session)
    assert (second.status, second.outcome) == ("failed", "no_response")
