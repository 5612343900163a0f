"""A worker is lost between a decision and the end of the turn: what was approved ran at most once, as is told."""

from __future__ import annotations

from typing import Any

import pytest

from approvals import actions, audit
from approvals.decisions import Wish
from approvals.models import Action, AuditEntry, Rule
from common import faults
from common.db import db
from copilot import sweep as sweeping
from copilot.agent import calls as calling
from copilot.events.log import StaleTurn
from copilot.models import Turn
from copilot.turns import answered, dispatch
from copilot.worker import Worker
from tests.approvals.asking import People, note, written
from tests.approvals.waiting import everything, for_each, notes, submit, waiting
from tests.harness import Crew
from tests.turns.racing import terminal_events

pytestmark = pytest.mark.django_db(transaction=True)


class Broken(Exception):
    """What happens half-way."""


def breaks(*args: Any, **kwargs: Any) -> None:
    raise Broken


# --- before the decision is committed -------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (actions, "_leave_pending"),
        (audit, "note_decided"),
        (actions, "remember"),
        (answered, "_news"),
        (answered, "_settle"),
        (answered, "_write"),
        (answered, "journal"),
        (answered, "do_touch_session"),
    ],
)
def test_a_decision_that_fails_half_way_was_not_made_and_can_be_made(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    action = waiting(*notes("one", "two"))
    wish = Wish(decisions=for_each(action, "approve"), scope="session")
    before = everything()
    with monkeypatch.context() as patch:
        patch.setattr(module, name, breaks)
        with pytest.raises(Broken):
            submit(action, wish)
    assert everything() == before
    assert submit(action, wish).status == "decided"
    assert (Rule.objects.count(), AuditEntry.objects.filter(event="decided").count()) == (1, 2)


@pytest.mark.parametrize("point", ["decision_stored", "turn_goes_on"])
def test_a_decision_counts_from_its_commit_on(point: str) -> None:
    action = waiting()
    wish = Wish(decisions=for_each(action, "approve"))
    before = everything()
    faults.arm(point, breaks)
    with pytest.raises(Broken):
        submit(action, wish)
    assert everything() == before
    faults.disarm_all()
    assert submit(action, wish).status == "decided"


@pytest.mark.parametrize("name", ["note_ended", "action_expired"])
def test_an_expiry_that_fails_half_way_is_tried_again(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    action = waiting()
    Action.objects.update(expires_at=action.created_at)
    before = everything()
    with monkeypatch.context() as patch:
        if name == "action_expired":
            patch.setattr(answered, "do_finish", breaks)
        else:
            patch.setattr(audit, name, breaks)
        assert sweeping.sweep() == {}
    assert everything() == before
    assert sweeping.sweep() == {"overdue_approvals": 1}


# --- after it -------------------------------------------------------------------------------


async def test_the_sweep_tells_workers_again_where_nobody_heard_of_a_decision(
    crew: Crew, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "dispatch", lambda turn_id: True)
        await people.decide(action, "approve")
    assert (await crew.now(turn)).status == "queued"
    await db(lambda: Turn.objects.filter(pk=turn.pk).update(redispatch_at=action.created_at))
    turn = await crew.ended(turn)
    assert (turn.status, written(turn.session_id)) == ("completed", ["hello"])


def lose_at(monkeypatch: pytest.MonkeyPatch, here: Worker, point: str) -> list[Worker]:
    """Have a worker vanish when it first comes to a point: nothing that it has not committed is written.

    Returns a list that it is in from then on.
    """
    gone: list[Worker] = []

    def vanish(*args: Any) -> None:
        if gone:
            return
        gone.append(here)
        for live in here.live.values():
            live.log.stale = True
            live.interrupt("stale")
        if point == "call_begun":
            raise StaleTurn  # or the tool would begin all the same: cancelled is what waits

    if point != "before it begins":
        faults.arm(point, vanish)
        return gone
    run_tool = calling._run_tool

    async def lost_before(*args: Any) -> Any:
        vanish()
        return await run_tool(*args)

    monkeypatch.setattr(calling, "_run_tool", lost_before)
    return gone


@pytest.mark.parametrize(
    ("point", "ran", "state"),
    [
        ("before it begins", 1, "done"),
        ("call_begun", 0, "unknown"),
        ("call_ran", 1, "unknown"),
        ("call_settled", 1, "done"),
        ("turn_ends", 1, "done"),
    ],
)
async def test_an_approved_call_runs_once_at_most_wherever_its_worker_is_lost(
    crew: Crew, people: People, monkeypatch: pytest.MonkeyPatch, point: str, ran: int, state: str
) -> None:
    lost = await crew.hire()
    turn, action = await people.ask(note("hello"))
    gone = lose_at(monkeypatch, lost, point)
    await people.decide(action, "approve")
    await crew.true(lambda: bool(gone) and not lost.live)
    await crew.lose(lost)
    await crew.hire()
    await crew.recover(turn)
    turn = await crew.ended(turn)
    [call] = await people.calls(turn)
    assert (turn.status, call.state) == ("completed", state)
    assert written(turn.session_id) == ["hello"] * ran
    assert await db(terminal_events, turn) == ["finish"]
    if state == "unknown":
        told = crew.requests[-1].messages[-1]
        assert "not known whether" in str(told), "and the model does not believe that it knows"


async def test_what_was_approved_stays_approved_when_its_worker_is_lost_before_it_reads_it(
    crew: Crew, people: People
) -> None:
    """The decision is in the rows: another worker goes on from there, and nobody is asked again."""
    turn, action = await _asked_with_nobody_left(crew, people)
    await people.decide(action, "approve")
    await crew.hire()
    await db(crew.tell, turn.pk)
    turn = await crew.ended(turn)
    assert (turn.status, written(turn.session_id)) == ("completed", ["hello"])
    assert await db(Action.objects.filter(turn=turn.pk).count) == 1


async def _asked_with_nobody_left(crew: Crew, people: People) -> tuple[Turn, Action]:
    first = await crew.hire()
    turn, action = await people.ask(note("hello"))
    await crew.lose(first)
    return turn, action


async def test_a_turn_that_waits_has_no_worker_to_lose(crew: Crew, people: People) -> None:
    turn, _ = await _asked_with_nobody_left(crew, people)
    await db(sweeping.sweep)
    now = await crew.now(turn)
    assert (now.status, now.attempt, now.worker) == ("requires_action", 1, None)


async def test_calls_that_ran_before_the_pause_do_not_run_again_for_a_lost_worker(
    crew: Crew, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = await crew.hire()
    text = '/tool demo_once {"text": "a"}\n/tool demo_note {"text": "b"}\n/results'
    turn, action = await people.ask(text)
    gone = lose_at(monkeypatch, lost, "before it begins")
    await people.decide(action, "approve")
    await crew.true(lambda: bool(gone) and not lost.live)
    await crew.lose(lost)
    await crew.hire()
    await crew.recover(turn)
    turn = await crew.ended(turn)
    assert (written(turn.session_id, "once.txt"), written(turn.session_id)) == (["a"], ["b"])


async def test_a_worker_lost_while_it_pauses_has_asked_nobody(crew: Crew, people: People) -> None:
    """The pause is one transaction; the next worker asks, about the same calls of the same step."""
    lost = await crew.hire()

    gone = []

    def vanish() -> None:
        faults.disarm_all()
        gone.append(lost)
        for live in lost.live.values():
            live.log.stale = True
        raise StaleTurn

    faults.arm("turn_pauses", vanish)
    turn = await crew.send(note("hello"))
    await crew.true(lambda: bool(gone) and not lost.live)
    assert not await db(Action.objects.exists)
    await crew.lose(lost)
    await crew.hire()
    await crew.recover(turn)
    turn, action = await people.asked(turn)
    assert (len(action.requests), len(crew.requests)) == (1, 1), "the model is not asked for the step again"
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert written(turn.session_id) == ["hello"]
