"""A turn that ends while a model is still writing the arguments of a call: the call has its end, and never ran."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone
from pytest_django import Settings

from copilot.agent.history import earlier_messages
from copilot.diagnostics import invariants
from copilot.events import schema
from copilot.models import Message, ToolCall, Turn
from copilot.turns.finish import cancelled, failed
from tests.factories import Holder, accept, answer_of, events_of, fresh, give_up_worker, make_running

pytestmark = pytest.mark.django_db


@pytest.fixture
def holder() -> Holder:
    """A worker whose model is in the middle of a call."""
    holder = make_running()
    holder.begin()
    holder.say("Let me see.")
    holder.stream(schema.tool_input_start("c", "shell"), schema.tool_input_delta("c", '{"command": "rm'))
    return holder


def lose_after_stop(holder: Holder) -> None:
    Turn.objects.update(stop_requested_at=timezone.now(), stop_reason="stopped")
    give_up_worker(holder.claim.turn_id)


ENDINGS: dict[str, Callable[[Holder], object]] = {
    "stopped": lambda holder: holder.finish(cancelled("stopped")),
    "failed": lambda holder: holder.finish(failed("network", "Cut.")),
    "taken over": lose_after_stop,
    "lost": lambda holder: give_up_worker(holder.claim.turn_id),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_call_that_was_cut_off_has_its_end(holder: Holder, ending: str, settings: Settings) -> None:
    settings.TURN_MAX_ATTEMPTS = 1
    ENDINGS[ending](holder)
    turn = holder.turn
    assert turn.is_terminal
    (end,) = [chunk for _, chunk in events_of(turn) if chunk["type"] == "tool-input-error"]
    assert (end["toolName"], end["input"], end["dynamic"]) == ("shell", '{"command": "rm', True)
    assert end["errorText"]
    answer = answer_of(turn)
    assert answer is not None
    part = answer.parts[-1]
    assert (part["state"], part["input"], part["errorText"]) == (
        "output-error",
        '{"command": "rm',
        end["errorText"],
    )
    assert not ToolCall.objects.exists(), "it never came to be"
    assert invariants.check() == []


def test_a_call_that_was_cut_off_is_not_told_to_the_model(holder: Holder) -> None:
    """It would read as a call without arguments, which is what it would then make."""
    holder.finish(cancelled("stopped"))
    turn = accept(holder.session, "go on").turn
    assert turn is not None
    open_answer = Message.objects.get(state="open")
    messages, _ = earlier_messages(fresh(turn), before=open_answer.seq)
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    assert messages[1].text() == "Let me see."


def test_a_call_that_was_cut_off_is_taken_back_with_its_step(holder: Holder) -> None:
    """Recovered, the step is asked for again: what was cut off stands no more, so it needs no end."""
    give_up_worker(holder.claim.turn_id)
    turn = holder.turn
    assert turn.status == Turn.Status.QUEUED
    assert "tool-input-error" not in [chunk["type"] for _, chunk in events_of(turn)]
