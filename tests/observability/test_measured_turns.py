"""What happens to turns moves the counters, by as much as the rows say."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from django.db import DataError, transaction
from django.db.models import Sum

from approvals.actions import decide, expire
from approvals.decisions import Wish
from approvals.models import Action
from common.db import db, transact
from copilot.events import publish
from copilot.events.follow import follow
from copilot.models import UsageRecord
from copilot.providers.base import Usage
from copilot.providers.pricing import Cost
from copilot.providers.registry import known_model
from copilot.sweep import sweep
from copilot.turns import progress
from copilot.turns.cancel import cancel_turn
from copilot.turns.progress import record_usage
from copilot.turns.recover import take_over
from linking.keys import issue_key
from tests.chat.sockets import connected
from tests.factories import expire_lease, make_running, make_user
from tests.harness import PATIENCE, Crew
from tests.observability.measuring import Measured

pytestmark = pytest.mark.django_db(transaction=True)

BUSY = '/think hm\n/words 30\n/tool calculator {"expression": "6 * 7"}\n/words 20\n/cost 1500'
KINDS = ("input", "output", "reasoning", "cache_read", "cache_write")


def recorded(**which: Any) -> dict[str, int]:
    """Return what usage records add up to."""
    columns = [*(f"{kind}_tokens" for kind in KINDS), "cost_microdollars"]
    sums = UsageRecord.objects.filter(**which).aggregate(**{column: Sum(column) for column in columns})
    return {column: value or 0 for column, value in sums.items()}


def counted(measured: Measured) -> dict[str, float]:
    """Return what was counted, under the same names."""
    tokens = {f"{kind}_tokens": measured("tokens_total", model="demo/demo", kind=kind) for kind in KINDS}
    return {**tokens, "cost_microdollars": measured("cost_microdollars_total")}


async def test_a_turn_is_counted_once_with_all_that_it_used(crew: Crew, measured: Measured) -> None:
    await crew.hire()
    turn = await crew.say(BUSY)
    ended = {"origin": "web", "status": "completed", "outcome": "stop"}
    assert (turn.status, turn.outcome) == ("completed", "stop")
    assert measured("turns_ended_total") == measured("turns_ended_total", **ended) == 1
    assert measured("claim_lag_seconds_count") == 1
    assert measured("first_chunk_seconds_count") == 1
    assert measured("first_chunk_seconds_sum") == pytest.approx((turn.first_chunk_ms or 0) / 1000)
    assert measured("turn_running_seconds_sum") == pytest.approx(turn.running_ms / 1000)
    assert measured("model_call_seconds_count", model="demo/demo") == len(crew.requests) == 2
    assert measured("log_write_lag_seconds_count") > 0
    used = await db(recorded, turn=turn)
    assert used["output_tokens"] >= 50
    assert used["cost_microdollars"] > 0
    assert counted(measured) == used
    assert measured("accounting_errors_total") == measured("provider_errors_total") == 0


async def test_what_is_counted_is_what_is_recorded_whatever_became_of_the_calls(
    crew: Crew, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copilot.agent.asking.BACKOFF_SECONDS", 0.01)
    first = await crew.hire()
    ended = [await crew.say(BUSY), await crew.say("/faillate network 1\n/words 5"), await crew.say("/fail quota")]
    stopped, lost = await crew.send("/words 900 20"), await crew.send("/words 5\n/step\n/words 60 10")
    await crew.until(stopped, "text-delta")
    await cancel_turn(user=stopped.session.user, turn_id=stopped.pk)
    await crew.until(lost, "finish-step")
    await crew.hire()
    await crew.lose(first)
    await crew.recover(lost)
    ended += [await crew.ended(stopped), await crew.ended(lost)]
    assert [turn.status for turn in ended] == ["completed", "completed", "failed", "cancelled", "completed"]
    assert counted(measured) == await db(recorded)
    assert measured("turns_ended_total") == len(ended)


@pytest.mark.usefixtures("hints")
async def test_open_websockets_are_counted_until_they_close(measured: Measured) -> None:
    _, key = await db(lambda: issue_key(user=make_user()))
    async with connected("user/", key) as wire:
        await wire.frame("approvals")
        assert measured("sockets", kind="user") == 1
    assert measured("sockets") == 0


@pytest.mark.usefixtures("hints")
async def test_whoever_follows_tells_how_late_chunks_come(measured: Measured) -> None:
    publish.set_loop(asyncio.get_running_loop())
    holder = await db(make_running)
    await db(holder.begin)
    async with asyncio.timeout(PATIENCE), aclosing(follow(holder.claim.turn_id)) as items:
        await anext(items)
        assert measured("followers") == 1
        assert measured("chunk_lag_seconds_count") == 0, "what was read from the log is as old as it is"
        while not measured("chunk_lag_seconds_count"):  # the first ones may come before the group was joined
            await db(holder.say, "a")
            await anext(items)
    assert 0 < measured("chunk_lag_seconds_sum") < PATIENCE
    assert measured("followers") == 0


async def test_each_failed_call_counts_its_class(crew: Crew, measured: Measured) -> None:
    await crew.hire()
    turn = await crew.say("/fail auth")
    assert turn.outcome == "auth"
    assert measured("provider_errors_total", provider="demo", code="auth") == 1
    assert measured("provider_errors_total") == 1
    assert measured("turns_ended_total", status="failed", outcome="auth") == 1


async def test_a_call_that_is_tried_again_counts_each_failure(
    crew: Crew, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copilot.agent.asking.BACKOFF_SECONDS", 0.01)
    await crew.hire()
    turn = await crew.say("/fail overloaded 2\n/words 3")
    assert turn.status == "completed"
    assert measured("provider_errors_total", code="overloaded") == 2
    assert measured("model_call_seconds_count") == 3


async def test_a_decision_counts_how_long_it_took(crew: Crew, measured: Measured) -> None:
    await crew.hire()
    turn = await crew.send('/tool demo_note {"text": "a"}')
    await crew.until(turn, "data-approval")
    action = await db(Action.objects.get, turn=turn.pk)
    user = (await crew.now(turn)).session.user
    call = action.requests[0]["tool_call_id"]
    wish = Wish(decisions=[{"tool_call_id": call, "type": "approve"}])
    action = await db(decide, user=user, action_id=action.pk, wish=wish, surface="web")
    await crew.ended(turn)
    took = (action.resolved_at - action.created_at).total_seconds()
    assert measured("decision_seconds_count", kind="tool_approval") == 1
    assert measured("decision_seconds_sum") == pytest.approx(took)
    assert measured("approvals_closed_total", kind="tool_approval", status="decided") == 1
    await db(decide, user=user, action_id=action.pk, wish=wish, surface="web")  # the same once more
    assert measured("approvals_closed_total") == 1


async def test_what_nobody_decided_counts_no_decision(crew: Crew, measured: Measured) -> None:
    await crew.hire()
    turn = await crew.send('/tool demo_note {"text": "a"}')
    await crew.until(turn, "data-approval")
    action = await db(Action.objects.get, turn=turn.pk)
    await db(expire, action.pk, actor="the operator")
    await crew.ended(turn)
    assert measured("approvals_closed_total", status="expired") == 1
    assert measured("decision_seconds_count") == 0
    assert measured("turns_ended_total", status="cancelled", outcome="approval_expired") == 1


def test_a_turn_taken_over_is_counted_when_that_is_committed(measured: Measured) -> None:
    holder = make_running()
    expire_lease(holder.claim.turn_id)
    assert take_over(holder.claim.turn_id, lease=60)
    assert not take_over(holder.claim.turn_id, lease=60)
    assert measured("recoveries_total", kind="taken_over") == 1


def test_a_turn_handed_back_is_counted(measured: Measured) -> None:
    make_running().hand_back()
    assert measured("recoveries_total") == measured("recoveries_total", kind="handed_back") == 1


def test_an_end_that_is_rolled_back_is_not_counted(measured: Measured) -> None:
    holder = make_running()

    @transact
    def undone() -> None:
        holder.answer()
        transaction.set_rollback(True)

    undone()
    assert measured("turns_ended_total") == 0


def test_a_use_that_is_recorded_again_is_counted_once(measured: Measured) -> None:
    claim = make_running().claim
    for call in (1, 1, 2):
        use = {"usage": Usage(10, 5), "cost": Cost(7, "provider"), "model": "demo/demo"}
        record_usage(claim=claim, step=1, call=call, **use)
    assert measured("tokens_total", kind="input") == 20
    assert measured("cost_microdollars_total") == 14


def test_each_call_of_a_step_is_counted_under_the_model_that_was_asked(measured: Measured) -> None:
    claim = make_running().claim
    for call, model in enumerate(["demo/demo", "openai/stand-in"], 1):
        record_usage(claim=claim, step=1, call=call, model=model, usage=Usage(10, 5), cost=Cost(7, "provider"))
    assert measured("tokens_total", model="demo/demo", kind="input") == 10
    assert measured("tokens_total", model="openai/other", kind="input") == 10


def test_a_call_without_a_price_is_counted_as_such(measured: Measured) -> None:
    claim = make_running().claim
    record_usage(claim=claim, step=1, call=1, model="openai/x", usage=Usage(1, 1), cost=Cost(None, "unknown"))
    assert measured("unpriced_calls_total", model="openai/other") == 1
    assert measured("cost_microdollars_total") == 0


def test_a_use_that_cannot_be_recorded_is_an_accounting_error(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise DataError("too large")

    claim = make_running().claim
    monkeypatch.setattr(progress, "_add_to_session", fail)
    with pytest.raises(DataError):
        record_usage(claim=claim, step=1, call=1, model="demo/demo", usage=Usage(1, 1), cost=Cost(0, "provider"))
    assert measured("accounting_errors_total") == 1
    assert measured("tokens_total") == 0


def test_a_pass_of_the_sweep_is_counted_with_its_rows(measured: Measured) -> None:
    expire_lease(make_running().claim.turn_id)
    sweep()
    assert measured("sweep_passes_total") == measured("sweep_seconds_count") == 1
    assert measured("sweep_rows_total", rule="orphaned") == 1
    assert measured("recoveries_total") == 1


def test_names_that_people_choose_are_no_labels(settings: Any) -> None:
    settings.COPILOT_MODELS = ["openai/gpt-x"]
    settings.COPILOT_PROVIDERS = {"mine": {"api": "openai", "base_url": "http://127.0.0.1:1/v1"}}
    named = ["openai/gpt-x", "demo/demo", "openai/whatever-i-like", "mine/any", "nobodys/model", ""]
    assert [known_model(name) for name in named] == [
        "openai/gpt-x",
        "demo/demo",
        "openai/other",
        "mine/other",
        "other",
        "other",
    ]
