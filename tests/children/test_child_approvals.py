"""What a child asks a person shows in the parent too, is one question, and is decided once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from approvals.models import Action
from approvals.selectors import actions_of
from common.db import db
from common.errors import Conflict
from copilot import sweep
from copilot.models import Session, Turn
from copilot.turns.cancel import cancel_turn
from tests.approvals.asking import People, decide_now, note, people, written
from tests.children.asking import call, only_child, outputs_of, run, turn_of
from tests.factories import events_of, make_session
from tests.harness import Crew

__all__ = ["people"]

pytestmark = pytest.mark.django_db(transaction=True)

ASKING = call("demo_note", text="hello")


@pytest.fixture(autouse=True)
def _nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "RULES", tuple(rule for rule in sweep.RULES if rule.name != "untold_ends"))


async def asking_child(crew: Crew, prompt: str = "", **over: Any) -> tuple[Session, Turn, Action]:
    """Return a session, its turn that waits for a child, and what is asked there or below."""
    await crew.hire()
    session = await db(make_session)
    turn = await crew.send((prompt or run(ASKING, **over)) + "\n/results", session)
    await crew.true(Action.objects.pending().exists)
    return session, turn, await db(Action.objects.pending().select_related("user").get)


def shown(turn: Turn) -> list[tuple[str, str, str]]:
    """Return what the turn's log says of approvals: kind, id and the state of each."""
    chunks = [chunk for _, chunk in events_of(turn) if chunk["type"].startswith("data-approval")]
    return [(each["type"], each["data"]["approval"]["id"], each["data"]["approval"]["status"]) for each in chunks]


async def test_the_question_shows_in_the_parent_and_its_wait_goes_on(crew: Crew, people: People) -> None:
    session, turn, action = await asking_child(crew)
    child = await db(only_child, session)
    await crew.until(turn, "data-approval")
    assert (await crew.now(turn)).status == "running"
    assert (action.session, action.turn) == (child.id, (await db(turn_of, child)).id)
    await people.decide(action, "approve")
    ended = await crew.ended(turn)
    assert ended.status == "completed"
    assert await outputs_of(turn) == [{"session": str(child.id), "status": "completed", "text": "Done."}]
    assert await asyncio.to_thread(written, child.id) == ["hello"]
    expected = [("data-approval", str(action.pk), "pending"), ("data-approval-decided", str(action.pk), "decided")]
    assert await db(shown, turn) == expected
    assert await db(shown, await db(turn_of, child)) == expected


async def test_the_card_names_the_call_of_the_parent(crew: Crew, people: People) -> None:
    _, turn, action = await asking_child(crew)
    await crew.until(turn, "data-approval")
    [asked] = [chunk for _, chunk in await db(events_of, turn) if chunk["type"] == "data-approval"]
    [waiting] = await people.calls(turn)
    assert asked["data"]["parent_call"] == str(waiting.pk)
    await people.decide(action, "reject")
    assert (await crew.ended(turn)).status == "completed"


async def test_a_question_from_further_below_shows_in_each(crew: Crew, people: People) -> None:
    session, turn, action = await asking_child(crew, run(run(ASKING)))
    await crew.until(turn, "data-approval")
    middle = await db(turn_of, await db(only_child, session))
    await people.decide(action, "approve")
    await crew.ended(turn)
    ids = [str(action.pk)] * 2
    assert [each[1] for each in await db(shown, turn)] == ids
    assert [each[1] for each in await db(shown, middle)] == ids


async def test_it_is_one_question_that_is_decided_once(crew: Crew, people: People) -> None:
    session, turn, action = await asking_child(crew)
    await crew.until(turn, "data-approval")
    assert await db(lambda: list(actions_of(session.user, status="pending"))) == [action]
    await people.decide(action, "reject")
    with pytest.raises(Conflict) as refused:
        await db(lambda: decide_now(action, "approve"))
    assert refused.value.error_code == "already_decided"
    await crew.ended(turn)
    assert await db(Action.objects.count) == 1


async def test_a_wait_that_is_over_leaves_the_question(crew: Crew, people: People) -> None:
    session, turn, action = await asking_child(crew, wait=0.5)
    ended = await crew.ended(turn)
    child = await db(only_child, session)
    assert await outputs_of(turn) == [{"session": str(child.id), "status": "waiting_for_approval"}]
    assert ended.status == "completed"
    await people.decide(action, "approve")
    assert (await crew.ended(await db(turn_of, child))).status == "completed"


async def test_the_question_dies_with_the_stop_of_the_parent(crew: Crew, people: People) -> None:
    session, turn, action = await asking_child(crew)
    await crew.until(turn, "data-approval")
    await cancel_turn(user=session.user, session_id=session.id)
    await crew.true(lambda: not Turn.objects.live().exists())
    await db(action.refresh_from_db)
    assert action.status == "cancelled"
    assert (await db(turn_of, await db(only_child, session))).outcome == "parent_stopped"
    with pytest.raises(Conflict) as refused:
        await db(lambda: decide_now(action, "approve"))
    assert refused.value.error_code == "stale"


async def test_a_child_is_judged_by_the_policy_of_its_parent(crew: Crew, people: People, settings: Any) -> None:
    """What was remembered for the parent counts in the child, and a rule of the child's own does not widen it."""
    await crew.hire()
    session = await db(make_session)
    turn, action = await people.ask(note("first"), session)
    await people.decide(action, "approve", scope="session")
    await crew.ended(turn)
    turn = await crew.say(run(ASKING) + "\n/results", session)
    child = await db(only_child, session)
    assert await asyncio.to_thread(written, child.id) == ["hello"]
    assert (await outputs_of(turn))[0]["status"] == "completed"


async def test_where_nobody_can_answer_a_child_is_refused(crew: Crew, people: People) -> None:
    await crew.hire()
    session = await db(make_session)
    turn = await crew.say(run(ASKING + "\n/results"), session, origin="background")
    [told] = await outputs_of(turn)
    assert "nobody can be asked" in told["text"]
    assert await db(Action.objects.count) == 0
