"""What keeps an approved call from running twice, each guard with what happens when it is taken away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from common.db import db_now
from copilot.agent import calls as agent_calls
from copilot.agent import loop
from copilot.events.log import StaleTurn
from copilot.models import ToolCall
from copilot.tools.demo import DemoNote
from copilot.turns.journal import touch
from copilot.turns.progress import CallOutcome, FinishedStep, PlannedCall, begin_call, commit_step
from tests.approvals.asking import People, note, written
from tests.approvals.waiting import calls_of, judge_of, step_of
from tests.factories import make_running, make_session
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


def _begin_in_any_state(batch: Any, *, turn_id: uuid.UUID, fence: int, call_id: uuid.UUID) -> None:
    """Begin a call as ``begin_call`` does, without its guard."""
    touch(turn_id, fence)
    ToolCall.objects.filter(pk=call_id).update(state=ToolCall.State.RUNNING, started_at=db_now())


@pytest.mark.parametrize(("guarded", "times"), [(True, 1), (False, 2)])
async def test_a_call_begins_once_however_often_it_is_tried(
    crew: Crew, people: People, monkeypatch: pytest.MonkeyPatch, guarded: bool, times: int
) -> None:
    """Two runs of a step at once, both with the call as it was when a person had approved it.

    The second comes when the first has written, and the first does not go on before the second is through.
    """
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    run_calls: Callable[..., Any] = loop.run_calls
    write: Callable[..., Any] = DemoNote.run
    wrote, tried = asyncio.Event(), asyncio.Event()

    async def write_and_wait(*arguments: Any, **named: Any) -> Any:
        first, output = not wrote.is_set(), await write(*arguments, **named)
        wrote.set()
        if first:
            await tried.wait()
        return output

    async def run_again(*arguments: Any) -> Any:
        await wrote.wait()
        try:
            return await run_calls(*arguments)
        finally:
            tried.set()

    async def run_twice(*arguments: Any) -> Any:
        monkeypatch.setattr(loop, "run_calls", run_calls)
        both = await asyncio.gather(run_calls(*arguments), run_again(*arguments), return_exceptions=True)
        raise next(result for result in both if isinstance(result, StaleTurn))

    monkeypatch.setattr(DemoNote, "run", write_and_wait)
    monkeypatch.setattr(loop, "run_calls", run_twice)
    if not guarded:
        monkeypatch.setattr(agent_calls, "begin_call", _begin_in_any_state)
    await people.decide(action, "approve")
    # The second try is taken for somebody else's, and with it the turn is left to whoever takes it over.
    await crew.true(lambda: loop.run_calls is run_calls and not crew.workers[0].live)
    await crew.recover_if_running(turn)
    assert (await crew.ended(turn)).status == "completed"
    assert written(turn.session_id) == ["hello"] * times


@pytest.mark.parametrize("state", ToolCall.State.values)
def test_a_call_begins_when_it_needs_nobody_or_was_approved_and_never_otherwise(state: str) -> None:
    holder = make_running(make_session(), note("hello"))
    holder.begin()
    call = PlannedCall(uuid.uuid4(), "p1", "demo_note", {"text": "hello"})
    holder.write(commit_step, step=FinishedStep(1, "tool-calls", [], [call]))
    is_open = state in ("pending", "waiting", "approved", "running")
    ToolCall.objects.filter(pk=call.id).update(state=state, finished_at=None if is_open else db_now())
    if state in ("pending", "approved"):
        holder.write(begin_call, call_id=call.id)
        assert ToolCall.objects.get(pk=call.id).state == "running"
    else:
        with pytest.raises(StaleTurn):
            holder.write(begin_call, call_id=call.id)
        assert ToolCall.objects.get(pk=call.id).state == state


@pytest.mark.parametrize(("repeatable", "state", "times"), [(False, "unknown", 1), (True, "done", 2)])
async def test_an_approved_call_whose_worker_was_lost_in_it_is_not_run_again(
    crew: Crew, people: People, monkeypatch: pytest.MonkeyPatch, repeatable: bool, state: str, times: int
) -> None:
    """A tool that says that it may be repeated is: that is what the guard keeps from all others."""
    monkeypatch.setattr(DemoNote, "idempotent", repeatable)
    _never_come_back_from_the_first_run(monkeypatch)
    here = await crew.hire()
    turn, action = await people.ask(note("hello"))
    await people.decide(action, "approve")
    await crew.true(lambda: written(turn.session_id) == ["hello"])
    await crew.lose(here)
    await crew.hire()
    await crew.recover(turn)
    turn = await crew.ended(turn)
    [call] = await people.calls(turn)
    assert (turn.status, call.state) == ("completed", state)
    assert written(turn.session_id) == ["hello"] * times


@pytest.mark.parametrize("change", ["denied", "gone"])
def test_a_call_that_had_begun_is_never_said_not_to_have_run(change: str, settings: Any) -> None:
    """A tool that may be repeated, and then may not: nobody knows what its first run did."""
    holder = make_running()
    step_of(holder, ("calculator", {"expression": "6 * 7"}))
    [call] = calls_of(holder.turn)
    holder.write(begin_call, call_id=call.id)
    judge = judge_of(holder)
    if change == "denied":
        settings.APPROVALS_DENY = ["calculator"]
    else:
        judge = replace(judge, tools={})
    outcome = judge.judge(ToolCall.objects.get(pk=call.pk))
    assert isinstance(outcome, CallOutcome)
    assert outcome.state == "unknown"


def _never_come_back_from_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run: Callable[..., Any] = DemoNote.run
    runs: list[None] = []

    async def lingering(self: DemoNote, context: Any, **arguments: Any) -> Any:
        result = await run(self, context, **arguments)
        runs.append(None)
        if len(runs) == 1:
            await asyncio.Event().wait()
        return result

    monkeypatch.setattr(DemoNote, "run", lingering)
