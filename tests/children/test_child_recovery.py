"""A worker is lost while a child works: nobody begins anything twice."""

from __future__ import annotations

import pytest

from common import faults
from common.db import db
from copilot import sweep
from copilot.diagnostics import invariants
from copilot.models import Message, Session, Turn
from tests.approvals.asking import People, people
from tests.children.asking import call, children_of, only_child, outputs_of, run, turn_of
from tests.children.test_child_approvals import asking_child, shown
from tests.factories import make_session
from tests.harness import Crew

__all__ = ["people"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nobody_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "RULES", ())


async def lose_all(crew: Crew, *turns: Turn) -> None:
    """Lose every worker, and have another one take these turns over."""
    for here in list(crew.workers):
        await crew.lose(here)
    await crew.hire()
    await crew.recover(*turns)


async def test_a_lost_parent_finds_its_child_again(crew: Crew) -> None:
    await crew.hire()
    session = await db(make_session)
    turn = await crew.send(run("/words 3\n/sleep 0.5") + "\n/results", session)
    await crew.true(lambda: Turn.objects.filter(session__parent=session, status="running").exists())
    child = await db(only_child, session)
    await lose_all(crew, turn, await db(turn_of, child))
    ended = await crew.ended(turn)
    assert ended.status == "completed"
    assert await db(children_of, session) == [child]
    assert await db(Message.objects.filter(session=child, role="user").count) == 1
    assert [each["status"] for each in await outputs_of(turn)] == ["completed"]
    assert await db(invariants.check) == []


async def test_a_worker_that_is_lost_after_it_sent_the_prompt_sends_no_other(crew: Crew) -> None:
    """Killed right behind the commit: nobody remembers that it was sent but the rows."""
    here = await crew.hire()
    session = await db(make_session)

    def die() -> None:
        for live in here.live.values():
            if live.claim.session_id == session.pk:
                live.interrupt("stale")

    faults.arm("prompt_sent", die)
    turn = await crew.send(run("/words 1"), session)
    await crew.true(Session.objects.filter(parent=session).exists)
    await crew.true(lambda: turn.pk not in here.live)
    faults.disarm_all()
    await crew.recover(turn)
    assert (await crew.ended(turn)).status == "completed"
    child = await db(only_child, session)
    assert await outputs_of(turn) == [{"session": str(child.id), "status": "completed", "text": "w1"}]


async def test_a_decision_while_the_parent_was_lost_is_shown_by_the_next(crew: Crew, people: People) -> None:
    session, turn, action = await asking_child(crew)
    await crew.until(turn, "data-approval")
    for here in list(crew.workers):
        await crew.lose(here)
    await people.decide(action, "approve")
    await crew.hire()
    await crew.recover(turn)
    crew.tell((await db(turn_of, await db(only_child, session))).pk)
    assert (await crew.ended(turn)).status == "completed"
    assert (await db(shown, turn))[-1] == ("data-approval-decided", str(action.pk), "decided")


async def test_a_process_that_stops_hands_both_back(crew: Crew) -> None:
    here = await crew.hire()
    session = await db(make_session)
    turn = await crew.send(run("/words 3\n/sleep 0.3"), session)
    await crew.true(lambda: Turn.objects.filter(session__parent=session, status="running").exists())
    crew.workers.remove(here)
    await crew.hire()
    await crew._stop(here)
    assert (await crew.ended(turn)).status == "completed"
    assert len(await db(children_of, session)) == 1
    assert [each["text"] for each in await outputs_of(turn)] == ["w1 w2 w3"]


async def test_what_the_engine_writes_of_families_breaks_no_rule(crew: Crew) -> None:
    await crew.hire()
    session = await db(make_session)
    nested = run("/words 1") + "\n" + run(call("calculator", expression="6 * 7"))
    turn = await crew.say(f"{run(nested)}\n/results", session)
    assert turn.status == "completed"
    assert await db(invariants.check) == []
