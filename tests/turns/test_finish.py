"""Ending a turn: one terminal event, what was said is stored, what waited is passed on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from copilot.events import schema
from copilot.events.log import StaleTurn
from copilot.models import Message, ToolCall, Turn
from copilot.turns.finish import Ending, cancelled, completed, failed, finish_held
from tests.factories import Holder, accept, answer_of, events_of, fresh, journal_of, kinds_of, make_running

pytestmark = pytest.mark.django_db

ENDINGS: dict[str, Ending] = {
    "completed": completed("stop"),
    "failed": failed("overloaded", "Too many requests.", hint="Wait.", retryable=True),
    "cancelled": cancelled("stopped"),
}


@pytest.fixture
def holder() -> Holder:
    holder = make_running()
    holder.begin()
    return holder


def answer(holder: Holder) -> Message:
    found = answer_of(holder.turn)
    assert found is not None
    return found


def test_a_completed_turn(holder: Holder) -> None:
    holder.say("Hello", " there.")
    assert holder.finish() is None
    turn = holder.turn
    assert (turn.status, turn.outcome, turn.error, turn.last_seq) == ("completed", "stop", None, holder.seq)
    assert (turn.worker, turn.heartbeat_at, turn.next_turn) == (None, None, None)
    assert turn.finished_at is not None
    assert turn.fence == holder.claim.fence + 1
    assert events_of(turn)[-1] == (turn.last_seq, {"type": "finish", "finishReason": "stop"})
    assert journal_of(turn)[-1] == "completed"
    message = answer(holder)
    assert (message.state, message.text) == ("done", "Hello there.")
    assert message.parts == [{"type": "step-start"}, {"type": "text", "text": "Hello there.", "state": "done"}]


def test_a_failed_turn_says_why_and_keeps_what_it_said(holder: Holder) -> None:
    part = holder.open_text("Half a sen")
    holder.finish(ENDINGS["failed"])
    turn = holder.turn
    assert (turn.status, turn.outcome) == ("failed", "overloaded")
    assert turn.public_error() == {
        "code": "overloaded",
        "detail": "Too many requests.",
        "hint": "Wait.",
        "retryable": True,
    }
    assert [chunk for _, chunk in events_of(turn)[-3:]] == [
        schema.part_end("text", part),
        {"type": "data-error", "data": {"code": "overloaded", "hint": "Wait."}},
        {"type": "error", "errorText": "Too many requests."},
    ]
    assert (answer(holder).state, answer(holder).text) == ("partial", "Half a sen")


def test_a_failed_turn_that_said_nothing_leaves_an_empty_answer(holder: Holder) -> None:
    holder.finish(ENDINGS["failed"])
    assert (answer(holder).state, answer(holder).parts) == ("failed", [])


def test_a_cancelled_turn_keeps_its_partial_answer(holder: Holder) -> None:
    part = holder.open_text("Half a sen")
    holder.finish(ENDINGS["cancelled"])
    turn = holder.turn
    assert (turn.status, turn.outcome) == ("cancelled", "stopped")
    assert [chunk for _, chunk in events_of(turn)[-2:]] == [schema.part_end("text", part), schema.abort("stopped")]
    assert (answer(holder).state, answer(holder).text) == ("partial", "Half a sen")


def test_a_cancelled_turn_that_said_nothing_leaves_no_answer(holder: Holder) -> None:
    holder.finish(ENDINGS["cancelled"])
    assert answer_of(holder.turn) is None
    accepted = accept(holder.session, "again")
    assert accepted.turn is not None
    assert list(accepted.turn.messages.order_by("seq").values_list("role", flat=True)) == ["user", "assistant"]


def test_reasoning_alone_is_kept_when_stopped(holder: Holder) -> None:
    holder.stream(schema.part_start("reasoning", "r1"), schema.part_delta("reasoning", "r1", "Hmm"))
    holder.finish(ENDINGS["cancelled"])
    assert answer(holder).parts[1:] == [{"type": "reasoning", "text": "Hmm", "state": "done"}]


def test_calls_without_outcome_get_one(holder: Holder) -> None:
    running, pending, done = holder.step("demo_wait", "demo_note", "calculator")
    holder.begin_call(running)
    holder.stream(schema.tool_output_available(running.id, "waited 1 s", preliminary=True))
    holder.begin_call(done)
    holder.settle(done)
    holder.finish(ENDINGS["cancelled"])
    outcomes = [chunk for _, chunk in events_of(holder.turn) if chunk["type"] == "tool-output-error"]
    assert {chunk["toolCallId"] for chunk in outcomes} == {str(running.id), str(pending.id)}
    states = dict(ToolCall.objects.values_list("id", "state"))
    assert states == {running.id: "cancelled", pending.id: "cancelled", done.id: "done"}
    shown = {part["toolCallId"]: part for part in answer(holder).parts if part["type"] == "dynamic-tool"}
    assert {part["state"] for part in shown.values()} == {"output-error", "output-available"}
    assert shown[str(running.id)]["output"] == "waited 1 s", "what it printed stays"


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_without_completing_what_waited_is_held(holder: Holder, ending: str) -> None:
    queued = [accept(holder.session, text).message for text in ("b", "c")]
    assert holder.finish(ENDINGS[ending]) is None
    for message in queued:
        message.refresh_from_db()
        assert (message.state, message.held, message.seq) == ("queued", True, None)
    assert not Turn.objects.live().exists()


def test_completing_hands_what_waited_to_one_next_turn(holder: Holder) -> None:
    queued = [accept(holder.session, text, model="demo/demo").message for text in ("b", "c")]
    next_id = holder.finish()
    turn, next_turn = holder.turn, Turn.objects.get(pk=next_id)
    assert turn.next_turn == next_turn
    assert (next_turn.status, next_turn.session_id, next_turn.origin) == ("queued", turn.session_id, turn.origin)
    transcript = holder.session.messages.order_by("seq").values_list("seq", "role", "turn_id")
    assert list(transcript) == [
        (1, "user", turn.id),
        (2, "assistant", turn.id),
        (3, "user", next_turn.id),
        (4, "user", next_turn.id),
        (5, "assistant", next_turn.id),
    ]
    assert [fresh(message).seq for message in queued] == [3, 4]


def test_a_stop_that_came_first_wins_over_completing(holder: Holder) -> None:
    holder.say("All done.")
    queued = accept(holder.session, "next").message
    Turn.objects.update(stop_requested_at=timezone.now(), stop_reason="operator")
    assert holder.finish() is None
    turn = holder.turn
    assert (turn.status, turn.outcome) == ("cancelled", "operator")
    assert kinds_of(turn)[-1] == "abort"
    assert fresh(queued).held


def test_a_stop_keeps_the_reason_that_was_asked_for(holder: Holder) -> None:
    """The worker may have heard of the stop by a hint that does not say why."""
    Turn.objects.update(stop_requested_at=timezone.now(), stop_reason="operator")
    holder.finish(cancelled("stopped"))
    assert (holder.turn.outcome, kinds_of(holder.turn)[-1]) == ("operator", "abort")
    assert events_of(holder.turn)[-1][1]["reason"] == "operator"


@pytest.mark.parametrize("first", ENDINGS)
@pytest.mark.parametrize("second", ENDINGS)
def test_a_turn_ends_once(holder: Holder, first: str, second: str) -> None:
    zombie = Holder(holder.claim)
    zombie.seq = holder.seq
    holder.finish(ENDINGS[first])
    before = events_of(holder.turn)
    with pytest.raises(StaleTurn):
        zombie.finish(ENDINGS[second])
    assert events_of(holder.turn) == before
    assert holder.turn.status == first


def test_the_events_of_the_last_transaction_count_too(holder: Holder) -> None:
    """The deltas that were waiting when the turn ended are stored and shown like all others."""
    part = holder.open_text("Hello")

    late = schema.part_delta("text", part, " there")
    holder.write(finish_held, late, session_id=holder.claim.session_id, ending=completed("stop"))
    assert answer(holder).text == "Hello there"


def test_a_deleted_session_makes_its_worker_stop(holder: Holder) -> None:
    holder.session.delete()
    with pytest.raises(StaleTurn):
        holder.finish()


def test_ending_counts_the_running_time(holder: Holder) -> None:
    Turn.objects.update(claimed_at=timezone.now() - timedelta(seconds=90), running_ms=1000)
    holder.finish()
    assert 90_000 < holder.turn.running_ms < 100_000


def test_the_revision_tells_open_pages(holder: Holder) -> None:
    before = holder.session.revision
    holder.finish()
    assert holder.session.revision > before
