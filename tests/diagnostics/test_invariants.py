"""The checker finds nothing in what the engine writes, and something in everything else."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from approvals.actions import decide
from approvals.decisions import Wish
from approvals.models import Action
from common.db import db
from copilot.diagnostics import session_rules, turn_rules
from copilot.diagnostics.facts import snapshot
from copilot.diagnostics.invariants import RULES, check
from copilot.models import Message, Session, Step, ToolCall, Turn, TurnEvent, TurnLog, UsageRecord
from copilot.sweep import _old_events
from copilot.turns.cancel import request_stop
from tests.approvals.asking import decide_now
from tests.diagnostics.conftest import BUSY_TURN, Run, manage, manage_failing, work

pytestmark = pytest.mark.django_db(transaction=True)


async def test_what_the_engine_writes_breaks_no_rule(run: Run, submit: Callable[..., Any], user: Any) -> None:
    first = await run(BUSY_TURN)
    assert (first.status, first.steps) == ("completed", 2)
    assert (await run("/words 5\n/fail quota")).status == "failed"
    assert (await run("/faillate overloaded 1\n/words 2")).status == "completed"
    assert (await run("/tool demo_boom {}\n/step\n/empty")).status == "completed"
    assert await db(check) == []
    assert await db(check, [first.pk]) == []


async def test_a_turn_that_was_asked_about_breaks_no_rule(run: Run, tmp_path: Any, settings: Any) -> None:
    settings.DATA_DIR = tmp_path
    turn = await run('/tool demo_note {"text": "one"}\n/tool demo_note {"text": "two"}\n/ask Which?\n/words 2')
    assert turn.status == "requires_action"
    assert await db(check) == []
    await db(decide_now, await db(Action.objects.get, turn=turn.pk), "approve", "reject")
    assert await db(check) == []
    await work()
    question = await db(Action.objects.pending().select_related("user").get, turn=turn.pk)
    assert await db(check) == []
    await db(decide, user=question.user, action_id=question.pk, wish=Wish(answer="this"), surface="web")
    await work()
    assert (await db(Turn.objects.get, pk=turn.pk)).status == "completed"
    assert await db(check) == []


async def test_a_stopped_turn_that_said_nothing_leaves_a_gap_that_is_allowed(
    run: Run, submit: Callable[..., Any], session: Session, user: Any
) -> None:
    await run("/words 2")
    await db(submit, "/words 3")
    await db(submit, "and then?")
    assert await db(check) == []
    await db(request_stop, user=user, session_id=session.pk, turn_id=None, reason="stopped")
    assert await db(check) == []
    await run("/words 1")
    seqs = await db(lambda: list(session.messages.order_by("seq").values_list("seq", flat=True)))
    assert seqs == [1, 2, 3, 5, 6, 7]
    assert await db(check) == []


async def test_a_follow_up_after_the_end_breaks_no_rule(
    run: Run, submit: Callable[..., Any], session: Session
) -> None:
    first = await db(submit, "/words 2")
    await db(submit, "/words 1")
    await db(submit, "/words 1")
    await work()
    turn = await db(Turn.objects.get, pk=first.turn.pk)
    assert turn.next_turn_id is not None
    assert await db(check) == []


async def test_pruned_turns_break_no_rule(run: Run, settings: Any) -> None:
    turn = await run(BUSY_TURN)
    settings.EVENT_RETENTION_SECONDS = 0
    assert await db(_old_events) > 0
    assert await db(TurnEvent.objects.filter(turn=turn).count) == 1
    assert await db(check) == []


def _event(turn: Turn, seq: int) -> Any:
    return TurnEvent.objects.filter(turn=turn, seq=seq)


def _drop_event(turn: Turn) -> None:
    _event(turn, 3).delete()


def _prune_too_little(turn: Turn) -> None:
    Turn.objects.filter(pk=turn.pk).update(pruned=True)


def _drop_last_event(turn: Turn) -> None:
    _event(turn, turn.last_seq or 0).delete()


def _append_after_the_end(turn: Turn) -> None:
    TurnEvent.objects.create(turn=turn, seq=(turn.last_seq or 0) + 1, chunk={"type": "finish-step"})


def _end_twice(turn: Turn) -> None:
    TurnEvent.objects.create(
        turn=turn, seq=(turn.last_seq or 0) + 1, chunk={"type": "finish", "finishReason": "stop"}
    )


def _end_with_an_error(turn: Turn) -> None:
    _event(turn, turn.last_seq or 0).update(chunk={"type": "error", "errorText": "x"})


def _lose_a_part_end(turn: Turn) -> None:
    seq = next(e.seq for e in turn.events.order_by("-seq") if e.chunk["type"] == "text-end")
    _event(turn, seq).update(chunk={"type": "data-nothing", "data": {}})


def _change_a_delta(turn: Turn) -> None:
    event = next(e for e in turn.events.order_by("seq") if e.chunk["type"] == "text-delta")
    _event(turn, event.seq).update(chunk={**event.chunk, "delta": "other"})


def _store_a_transient(turn: Turn) -> None:
    _event(turn, 2).update(chunk={"type": "data-metering", "data": {}, "transient": True})


def _roll_forward(turn: Turn) -> None:
    _event(turn, 2).update(chunk={"type": "data-rollback", "data": {"to_seq": 5}})


def _garble(turn: Turn) -> None:
    _event(turn, 2).update(chunk={"nothing": 1})


def _lose_the_answer(turn: Turn) -> None:
    turn.messages.filter(role="assistant").delete()


def _cut_the_answer(turn: Turn) -> None:
    turn.messages.filter(role="assistant").update(parts=[{"type": "text", "text": "w1"}])


def _answer_partial(turn: Turn) -> None:
    turn.messages.filter(role="assistant").update(state=Message.State.PARTIAL)


def _answer_open(turn: Turn) -> None:
    turn.messages.filter(role="assistant").update(state=Message.State.OPEN)


def _call_unsettled(turn: Turn) -> None:
    turn.tool_calls.filter(position=0).update(state=ToolCall.State.RUNNING, finished_at=None)


def _call_told_otherwise(turn: Turn) -> None:
    turn.tool_calls.filter(position=0).update(state=ToolCall.State.DENIED)


def _lose_a_call(turn: Turn) -> None:
    turn.tool_calls.filter(position=0).delete()


def _lose_a_step(turn: Turn) -> None:
    Step.objects.filter(turn=turn, number=1).delete()


def _count_a_step(turn: Turn) -> None:
    Turn.objects.filter(pk=turn.pk).update(steps=F("steps") + 1)


def _usage_of_no_step(turn: Turn) -> None:
    UsageRecord.objects.filter(turn=turn, step=1).update(step=9)


def _usage_of_somebody(turn: Turn) -> None:
    from copilot.models import User

    UsageRecord.objects.filter(turn=turn, step=1).update(user=User.objects.create_user("eve"))


def _usage_changed(turn: Turn) -> None:
    UsageRecord.objects.filter(turn=turn, step=1).update(output_tokens=F("output_tokens") + 1)


def _grow_the_fence(turn: Turn) -> None:
    Turn.objects.filter(pk=turn.pk).update(fence=F("fence") + 1)


def _lose_the_journal(turn: Turn) -> None:
    TurnLog.objects.filter(turn=turn, kind="completed").delete()


def _deliver_twice(turn: Turn) -> None:
    messages = [str(message.pk) for message in turn.messages.filter(role="user")]
    TurnLog.objects.create(turn=turn, kind="submitted", data={"messages": messages})
    TurnLog.objects.filter(turn=turn, kind="completed").update(id=F("id") + 100_000)


def _undeliver(turn: Turn) -> None:
    turn.messages.filter(role="user").update(turn=None)


def _deliver_elsewhere(turn: Turn) -> None:
    turn.messages.filter(role="user").update(turn=_other_turn(turn))


def _other_turn(turn: Turn) -> Turn:
    session = Session.objects.create(user=turn.user, updated_at=turn.created_at)
    return Turn.objects.create(session=session, user=turn.user, model="demo/demo")


def _seal_beyond(turn: Turn) -> None:
    Turn.objects.filter(pk=turn.pk).update(sealed_seq=10_000)


def _followed_elsewhere(turn: Turn) -> None:
    Turn.objects.filter(pk=turn.pk).update(next_turn=_other_turn(turn))


def _leave_a_place(turn: Turn) -> None:
    turn.messages.filter(role="user").delete()


def _place_beyond(turn: Turn) -> None:
    Session.objects.filter(pk=turn.session_id).update(next_seq=2)


def _numbers_beyond(turn: Turn) -> None:
    Session.objects.filter(pk=turn.session_id).update(accepted=1)


def _numbers_swapped(turn: Turn) -> None:
    turn.messages.filter(role="user").update(number=2000)
    place = turn.session.next_seq
    Message.objects.create(
        session=turn.session, turn=turn, role="user", state="done", seq=place, number=1000, after_step=1
    )
    Session.objects.filter(pk=turn.session_id).update(accepted=3000, next_seq=place + 1)


def _follow_nothing(turn: Turn) -> None:
    turn.messages.filter(role="assistant").update(parent=None)


def _follow_itself(turn: Turn) -> None:
    turn.messages.filter(role="assistant").update(parent=F("id"))


def _follow_what_is_gone(turn: Turn) -> None:
    turn.messages.filter(role="assistant").update(parent=uuid.uuid4())


def _hide_the_question(turn: Turn) -> None:
    turn.messages.filter(role="user").update(shown=False)


def _lose_the_head(turn: Turn) -> None:
    Session.objects.filter(pk=turn.session_id).update(head=None)


def _strand_a_message(turn: Turn) -> None:
    Message.objects.create(session=turn.session, role="user", state="queued", number=90)
    Session.objects.filter(pk=turn.session_id).update(accepted=90)


def _no_revision(turn: Turn) -> None:
    Session.objects.filter(pk=turn.session_id).update(revision=0)


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (_drop_event, turn_rules.log_is_dense),
        (_prune_too_little, turn_rules.log_is_dense),
        (_drop_last_event, turn_rules.log_ends_once),
        (_append_after_the_end, turn_rules.log_ends_once),
        (_end_twice, turn_rules.log_ends_once),
        (_end_with_an_error, turn_rules.log_ends_once),
        (_lose_a_part_end, turn_rules.parts_begin_and_end),
        (_change_a_delta, turn_rules.answers_are_what_was_streamed),
        (_cut_the_answer, turn_rules.answers_are_what_was_streamed),
        (_lose_the_answer, turn_rules.answers_are_what_was_streamed),
        (_lose_the_answer, turn_rules.ending_leaves_an_answer),
        (_garble, turn_rules.log_ends_once),
        (_answer_partial, turn_rules.ending_leaves_an_answer),
        (_answer_open, turn_rules.answer_is_open_while_live),
        (_call_unsettled, turn_rules.calls_have_outcomes),
        (_call_told_otherwise, turn_rules.calls_have_outcomes),
        (_lose_a_call, turn_rules.calls_have_outcomes),
        (_lose_a_step, turn_rules.steps_are_dense),
        (_count_a_step, turn_rules.steps_are_dense),
        (_usage_of_no_step, turn_rules.usage_belongs_to_steps),
        (_usage_of_somebody, turn_rules.usage_belongs_to_steps),
        (_usage_changed, session_rules.totals_are_sums),
        (_grow_the_fence, turn_rules.fence_counts_transitions),
        (_lose_the_journal, turn_rules.journal_tells_the_end),
        (_deliver_twice, turn_rules.messages_are_delivered_once),
        (_undeliver, turn_rules.messages_are_delivered_once),
        (_undeliver, session_rules.delivered_messages_have_a_turn),
        (_deliver_elsewhere, session_rules.delivered_messages_have_a_turn),
        (_seal_beyond, turn_rules.sealed_is_in_the_log),
        (_followed_elsewhere, turn_rules.only_completion_is_followed),
        (_roll_forward, turn_rules.rollbacks_go_back),
        (_store_a_transient, turn_rules.nothing_stored_is_transient),
        (_leave_a_place, session_rules.places_are_dense),
        (_place_beyond, session_rules.places_are_dense),
        (_numbers_beyond, session_rules.numbers_tell_the_order),
        (_numbers_swapped, session_rules.numbers_tell_the_order),
        (_follow_nothing, session_rules.branches_hang_together),
        (_follow_itself, session_rules.branches_hang_together),
        (_follow_what_is_gone, session_rules.branches_hang_together),
        (_follow_what_is_gone, session_rules.one_branch_is_shown),
        (_hide_the_question, session_rules.one_branch_is_shown),
        (_lose_the_head, session_rules.one_branch_is_shown),
        (_strand_a_message, session_rules.nothing_waits_while_idle),
        (_no_revision, session_rules.revision_is_positive),
    ],
)
async def test_damage_is_found(run: Run, damage: Callable[[Turn], None], rule: Callable[..., Any]) -> None:
    turn = await run(BUSY_TURN)
    await db(damage, turn)
    found = await db(check, [turn.pk])
    broken = {violation.rule: violation for violation in found}
    assert rule.__name__ in broken
    assert broken[rule.__name__].id in (turn.pk, turn.session_id)


def _event_of_a_live_turn(turn: Turn) -> None:
    TurnEvent.objects.create(turn=turn, seq=1, chunk={"type": "finish", "finishReason": "stop"})


def _no_open_answer(turn: Turn) -> None:
    turn.messages.filter(role="assistant").delete()


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (_event_of_a_live_turn, turn_rules.log_ends_once),
        (_no_open_answer, turn_rules.answer_is_open_while_live),
        (lambda turn: TurnLog.objects.create(turn=turn, kind="failed"), turn_rules.journal_tells_the_end),
    ],
)
def test_damage_of_a_live_turn_is_found(
    submit: Callable[..., Any], damage: Callable[[Turn], None], rule: Callable[..., Any]
) -> None:
    turn = submit("/words 2").turn
    assert check() == []
    damage(turn)
    assert rule.__name__ in {violation.rule for violation in check()}


def test_rules_that_the_database_enforces_too_are_checked() -> None:
    facts = session_rules.SessionFacts(Session(revision=1), live=2)
    assert list(session_rules.one_turn_is_live(facts)) == ["2 turns are live"]
    session = Session(revision=1)
    two = [
        session_rules.Place(uuid.uuid4(), n, n, "user", "done", False, None, None, None, session.pk, True, "web")
        for n in (1, 2)
    ]
    assert "follows" in next(session_rules.one_branch_is_shown(session_rules.SessionFacts(session, two)))
    turn = turn_rules.TurnFacts(Turn(status="running"))
    assert "without worker, heartbeat_at" in next(turn_rules.running_is_leased(turn))


def test_a_snapshot_takes_no_lock_and_sees_one_moment(submit: Callable[..., Any], session: Session) -> None:
    import threading

    seen = []
    with snapshot():
        seen.append(Message.objects.count())
        writer = threading.Thread(target=lambda: (submit("hello"), connection.close()))
        writer.start()
        writer.join(20)
        assert not writer.is_alive()
        seen.append(Message.objects.count())
    seen.append(Message.objects.count())
    assert seen == [0, 0, 2]


async def test_the_command_says_that_all_is_well(run: Run) -> None:
    await run("/words 2")
    assert await db(manage, "check_invariants") == f"All {RULES} rules hold.\n"
    assert await db(manage, "check_invariants", "--since", "1") == f"All {RULES} rules hold.\n"


async def test_the_command_names_each_violation_and_exits_1(run: Run) -> None:
    turn = await run("/words 2")
    await db(_drop_event, turn)
    await db(_grow_the_fence, turn)
    code, printed = await db(manage_failing, "check_invariants")
    assert code == 1
    lines = printed.splitlines()
    assert f"log_is_dense: turn {turn.pk}: event 3 is missing; the log goes on with 4" in lines
    assert any(line.startswith(f"fence_counts_transitions: turn {turn.pk}: ") for line in lines)


async def test_since_leaves_older_turns_out(run: Run) -> None:
    turn = await run("/words 2")
    await db(_drop_event, turn)
    old = turn.created_at - (turn.created_at - turn.created_at.replace(year=2020))
    await db(Turn.objects.filter(pk=turn.pk).update, created_at=old, finished_at=old)
    assert "rules hold" in await db(manage, "check_invariants", "--since", "24")


@pytest.mark.parametrize("hours", ["soon", "0", "-1", "nan"])
def test_a_bad_period_is_refused(hours: str) -> None:
    from django.core.management import CommandError

    with pytest.raises(CommandError, match="not a positive number of hours"):
        manage("check_invariants", f"--since={hours}")


async def test_the_number_of_queries_does_not_grow_with_the_turns(
    run: Run, django_assert_max_num_queries: Any
) -> None:
    for _ in range(4):
        await run("/words 1")

    def checked() -> None:
        # Turns and their ten tables, sessions and their three, approvals, people and their four sums; the end of
        # each; the snapshots, which PostgreSQL is told of by one statement more.
        with django_assert_max_num_queries(42 if connection.vendor == "sqlite" else 44):
            check()

    await db(checked)
