"""What a worker commits while it holds a turn: kept once, and only behind its fence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from copilot.events import schema
from copilot.events.log import StaleTurn
from copilot.models import Step, ToolCall, TurnEvent, UsageRecord
from copilot.providers.base import Usage
from copilot.providers.pricing import Cost
from copilot.turns.finish import cancelled, failed
from copilot.turns.progress import record_usage
from tests.factories import Holder, events_of, give_up_worker, hold, journal_of, make_running

pytestmark = pytest.mark.django_db


@pytest.fixture
def holder() -> Holder:
    holder = make_running()
    holder.begin()
    return holder


def state_of(holder: Holder) -> tuple[object, ...]:
    """Everything that a write could change."""
    turn = holder.turn
    return (
        list(TurnEvent.objects.order_by("seq").values_list("seq", "chunk")),
        list(Step.objects.values_list("number")),
        list(ToolCall.objects.order_by("id").values_list("id", "state", "output", "error")),
        list(holder.session.messages.order_by("number").values_list("id", "state", "parts")),
        (turn.status, turn.fence, turn.steps, turn.sealed_seq, turn.attempt, turn.last_seq),
    )


def test_a_step_seals_the_events_before_it(holder: Holder) -> None:
    holder.say("Let me see.")
    (call,) = holder.step("calculator")
    turn = holder.turn
    assert (turn.steps, turn.sealed_seq, turn.attempt) == (1, holder.seq, 1)
    assert events_of(turn)[-1][1] == schema.tool_input_available(call.id, "calculator", {})
    row = ToolCall.objects.get()
    assert (row.id, row.provider_id, row.state, row.step, row.position) == (call.id, "p1-0", "pending", 1, 0)
    assert journal_of(turn)[-1] == "step"


def test_a_committed_step_forgives_earlier_losses(holder: Holder) -> None:
    give_up_worker(holder.claim.turn_id)
    again = hold(holder.turn)
    assert again.turn.attempt == 2
    again.begin()
    again.step("calculator")
    assert again.turn.attempt == 1


def test_a_finished_turn_keeps_the_attempt_that_finished_it(holder: Holder) -> None:
    """Its last step is committed with its end: nobody needs the number any more but who wonders what happened."""
    give_up_worker(holder.claim.turn_id)
    again = hold(holder.turn)
    again.answer()
    assert (again.turn.status, again.turn.attempt) == ("completed", 2)


def test_a_call_runs_between_two_commits(holder: Holder) -> None:
    (call,) = holder.step("calculator")
    holder.begin_call(call)
    row = ToolCall.objects.get()
    assert (row.state, row.finished_at) == ("running", None)
    assert row.started_at is not None
    holder.settle(call, output={"result": 42})
    row.refresh_from_db()
    assert (row.state, row.output) == ("done", {"result": 42})
    assert row.finished_at is not None
    assert events_of(holder.turn)[-1][1] == schema.tool_output_available(call.id, {"result": 42})
    assert holder.turn.sealed_seq == holder.seq


@pytest.mark.parametrize(
    ("state", "kind"),
    [("error", "tool-output-error"), ("unknown", "tool-output-error"), ("denied", "tool-output-denied")],
)
def test_a_call_without_output_says_why(holder: Holder, state: str, kind: str) -> None:
    (call,) = holder.step("demo_note")
    holder.settle(call, state, error="Because.")
    last = events_of(holder.turn)[-1][1]
    assert (last["type"], last.get("errorText") or last.get("reason")) == (kind, "Because.")
    row = ToolCall.objects.get()
    assert (row.state, row.error, row.output) == (state, "Because.", None)


def test_a_call_begins_once_and_is_settled_once(holder: Holder) -> None:
    (call,) = holder.step("calculator")
    holder.begin_call(call)
    before = state_of(holder)
    with pytest.raises(StaleTurn):
        holder.begin_call(call)
    assert state_of(holder) == before
    holder.settle(call)
    before = state_of(holder)
    with pytest.raises(StaleTurn):
        holder.settle(call, output="another")
    assert state_of(holder) == before


def test_parallel_calls_keep_their_order(holder: Holder) -> None:
    calls = holder.step("calculator", "current_time", "demo_wait")
    for call in reversed(calls):
        holder.begin_call(call)
        holder.settle(call)
    assert list(ToolCall.objects.order_by("position").values_list("id", flat=True)) == [call.id for call in calls]


LOSSES: dict[str, Callable[[Holder], object]] = {
    "taken over": lambda holder: give_up_worker(holder.claim.turn_id),
    "taken over and claimed": lambda holder: (give_up_worker(holder.claim.turn_id), hold(holder.turn)),
    "handed back": lambda holder: holder.hand_back(),
    "completed": lambda holder: holder.finish(),
    "failed": lambda holder: holder.finish(failed("auth", "No.")),
    "cancelled": lambda holder: holder.finish(cancelled("stopped")),
}
WRITES: dict[str, Callable[[Holder], object]] = {
    "deltas": lambda holder: holder.open_text("from the grave"),
    "step": lambda holder: holder.step("calculator"),
    "begin": lambda holder: holder.begin_call(holder.pending),  # type: ignore[attr-defined]
    "settle": lambda holder: holder.settle(holder.pending),  # type: ignore[attr-defined]
    "finish": lambda holder: holder.finish(),
    "fail": lambda holder: holder.finish(failed("network", "Cut.")),
    "hand back": lambda holder: holder.hand_back(),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("write", WRITES)
def test_who_lost_the_turn_changes_nothing(holder: Holder, loss: str, write: str) -> None:
    (holder.pending,) = holder.step("calculator")  # type: ignore[attr-defined]
    zombie = Holder(holder.claim, seq=0)
    zombie.seq, zombie.steps = holder.seq, holder.steps
    zombie.pending = holder.pending  # type: ignore[attr-defined]
    LOSSES[loss](holder)
    before = state_of(holder)
    with pytest.raises(StaleTurn):
        WRITES[write](zombie)
    assert state_of(holder) == before


@pytest.mark.parametrize("write", [name for name in WRITES if name != "deltas"])
def test_the_fence_alone_stops_a_writer_whose_counter_is_right(holder: Holder, write: str) -> None:
    """The dense seq is one net, the fence the other: each holds by itself."""
    (holder.pending,) = holder.step("calculator")  # type: ignore[attr-defined]
    give_up_worker(holder.claim.turn_id)
    current = hold(holder.turn)
    zombie = Holder(holder.claim)
    zombie.seq, zombie.pending = current.seq, holder.pending  # type: ignore[attr-defined]
    before = state_of(holder)
    with pytest.raises(StaleTurn):
        WRITES[write](zombie)
    assert state_of(holder) == before


def test_usage_is_a_fact_whoever_won(holder: Holder) -> None:
    cost = Cost(microdollars=5, source="provider")
    give_up_worker(holder.claim.turn_id)
    again = hold(holder.turn)
    for who, call in ((holder, 1), (again, 1), (again, 3)):
        record_usage(claim=who.claim, step=1, call=call, model="demo/demo", usage=Usage(10, 3), cost=cost)
    records = UsageRecord.objects.order_by("fence").values_list("fence", "input_tokens", "cost_microdollars")
    assert list(records) == [(1, 10, 5), (3, 20, 10)]
    assert (holder.session.input_tokens, holder.session.cost_microdollars) == (30, 15)


def test_usage_that_is_recorded_again_counts_once(holder: Holder) -> None:
    """The database may lose the connection after the commit: who waits for it cannot know, and tries again."""
    cost = Cost(microdollars=5, source="provider")
    for call in (1, 1, 2, 2, 1):
        record_usage(claim=holder.claim, step=1, call=call, model="demo/demo", usage=Usage(10, 3), cost=cost)
    record = UsageRecord.objects.get()
    assert (record.input_tokens, record.output_tokens, record.cost_microdollars) == (20, 6, 10)
    session = holder.session
    assert (session.input_tokens, session.output_tokens, session.cost_microdollars) == (20, 6, 10)
