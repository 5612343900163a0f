"""A child session: who it is, what it may do, and what its parent is told."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from common.db import db
from copilot import selectors, sweep
from copilot.models import Session, Turn
from copilot.objects import session_object, turn_object
from copilot.turns.sessions import delete_session
from tests.children.asking import children_of, only_child, outputs_of, result, run, turn_of
from tests.factories import make_session, make_user
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parents are not told of ends by themselves: here they ask."""
    rules = tuple(rule for rule in sweep.RULES if rule.name != "untold_ends")
    monkeypatch.setattr(sweep, "RULES", rules)


async def new_session(**over: Any) -> Session:
    made: Session = await db(lambda: make_session(**over))
    return made


async def test_the_answer_of_a_child_is_the_result_of_the_call(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    turn = await crew.say(run("/words 3") + "\n/step\n/results", session)
    child = await db(only_child, session)
    assert await outputs_of(turn) == [{"session": str(child.id), "status": "completed", "text": "w1 w2 w3"}]
    assert turn.status == "completed"
    asked = await db(turn_of, child)
    assert (asked.origin, asked.parent_id, asked.model) == ("child", turn.id, turn.model)
    assert not asked.owed
    shown = await db(turn_object, asked)
    assert shown["parent"] == str(turn.id)
    assert (await db(lambda: session_object(child, live=None)))["parent"] == str(session.id)
    assert child.title == "/words 3"


async def test_a_child_takes_what_its_parent_has(crew: Crew) -> None:
    await crew.hire()
    session = await new_session(instructions="Be brief.", tools=["run_*", "calc*"], approval_mode="default")
    turn = await crew.say(run("hello", system_context="You are a poet."), session, timezone="Europe/Berlin")
    child = await db(only_child, session)
    assert child.instructions == "Be brief.\n\nYou are a poet."
    assert (child.tools, child.depth, child.user_id) == (["run_*", "calc*"], 1, session.user_id)
    asked = await db(turn_of, child)
    assert asked.settings["tools"] == ["run_*", "calc*"]
    assert asked.settings["time_zone"] == "Europe/Berlin"
    assert asked.settings["policy"] == turn.settings["policy"]


async def test_children_are_listed_with_their_parent_only(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    await crew.say(run("hello"), session)
    listed = await db(lambda: list(selectors.sessions_of(session.user)))
    assert listed == [session]


async def test_an_earlier_child_goes_on(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    await crew.say(run("/words 1"), session)
    child = await db(only_child, session)
    turn = await crew.say(run("/words 2", session=str(child.id)), session)
    assert await outputs_of(turn) == [{"session": str(child.id), "status": "completed", "text": "w1 w2"}]
    assert await db(children_of, session) == [child]


async def test_who_does_not_wait_asks_later(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    turn = await crew.say(run("/sleep 0.3\n/words 2", wait=0), session)
    child = await db(only_child, session)
    assert await outputs_of(turn) == [{"session": str(child.id), "status": "running"}]
    later = await crew.say(result(child.id), session)
    assert await outputs_of(later) == [{"session": str(child.id), "status": "completed", "text": "w1 w2"}]


async def test_a_call_that_gave_up_leaves_the_child_running(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    turn = await crew.say(run("/words 1\n/sleep 30", wait=0.3), session)
    child = await db(only_child, session)
    assert await outputs_of(turn) == [{"session": str(child.id), "status": "running"}]
    assert (await db(turn_of, child)).status == "running"


async def test_the_answer_is_that_of_the_prompt_that_was_sent_last(crew: Crew) -> None:
    """The child has answered before; while it works on the next prompt, that answer is not the one."""
    await crew.hire()
    session = await new_session()
    await crew.say(run("/words 5"), session)
    child = await db(only_child, session)
    turn = await crew.say(run("/sleep 30", session=str(child.id), wait=0), session)
    later = await crew.say(result(child.id, wait=0), session)
    for asked in (turn, later):
        assert await outputs_of(asked) == [{"session": str(child.id), "status": "running"}]


async def test_a_busy_child_answers_the_next_prompt_afterwards(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    turn = await crew.say(run("/words 1\n/sleep 0.5", wait=0), session)
    child = await db(only_child, session)
    queued = await crew.say(run("/words 2", session=str(child.id), wait=0), session)
    waited = await crew.say(result(child.id), session)
    assert [*await outputs_of(turn), *await outputs_of(queued), *await outputs_of(waited)] == [
        {"session": str(child.id), "status": "running"},
        {"session": str(child.id), "status": "queued"},
        {"session": str(child.id), "status": "completed", "text": "w1 w2"},
    ]


async def test_a_child_that_failed_says_why(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    turn = await crew.say(run("/words 1\n/fail auth"), session)
    [told] = await outputs_of(turn)
    assert told["status"] == "error"
    assert "auth" in told["error"]
    assert turn.status == "completed"


async def test_a_child_can_be_stopped(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    await crew.say(run("/words 1\n/sleep 30", wait=0), session)
    child = await db(only_child, session)
    turn = await crew.say(result(child.id, cancel=True), session)
    assert await outputs_of(turn) == [{"session": str(child.id), "status": "cancelled"}]
    asked = await crew.ended(await db(turn_of, child))
    assert (asked.status, asked.outcome) == ("cancelled", "stopped")


async def test_stopping_a_child_that_has_answered_tells_the_answer(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    await crew.say(run("/words 1"), session)
    child = await db(only_child, session)
    turn = await crew.say(result(child.id, cancel=True), session)
    assert await outputs_of(turn) == [{"session": str(child.id), "status": "completed", "text": "w1"}]


async def test_progress_is_short(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    await crew.say(run(f"{'x' * 500}\n/words 2\n/sleep 30", wait=0), session)
    child = await db(only_child, session)
    await crew.until(await db(turn_of, child), "text-delta")
    turn = await crew.say(result(child.id, wait=0, include_progress=True), session)
    [told] = await outputs_of(turn)
    assert told["progress"]["message_count"] == 2
    assert [each["role"] for each in told["progress"]["last_messages"]] == ["user", "assistant"]
    assert told["progress"]["last_messages"][0]["content"] == "x" * 400 + "…"
    assert told["progress"]["last_messages"][1]["content"].startswith("w1")


async def test_unknown_and_foreign_sessions_are_the_same_to_a_model(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    own = await new_session(user=session.user)
    await crew.say(run("hello"), own)
    others = await new_session(user=await db(make_user))
    await crew.say(run("hello"), others)
    strange = [
        (await db(only_child, own)).id,  # of the same person, but of another parent
        (await db(only_child, others)).id,
        own.id,
        session.id,
        uuid.uuid4(),
        "nonsense",
    ]
    answers = set()
    for each in strange:
        asked = await crew.say(
            f"{result(each)}\n{result(each, cancel=True)}\n{run('hello', session=str(each))}", session
        )
        answers |= set(await outputs_of(asked))
    assert len(answers) == 1
    assert await db(children_of, session) == []


async def test_children_go_three_deep(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    prompt = run(run(run(run("too deep") + "\n/results") + "\n/results") + "\n/results") + "\n/results"
    turn = await crew.say(prompt, session)
    assert "3 deep at most" in (await db(turn_object, turn))["text"]
    assert sorted(await db(lambda: list(Session.objects.values_list("depth", flat=True)))) == [0, 1, 2, 3]


async def test_a_temporary_session_has_temporary_children(crew: Crew) -> None:
    await crew.hire()
    session = await new_session(temporary=True)
    await crew.say(run("hello"), session)
    assert (await db(only_child, session)).temporary


async def test_deleting_a_session_deletes_its_children(crew: Crew) -> None:
    await crew.hire()
    session = await new_session()
    turn = await crew.send(run(run("/words 1\n/sleep 30")), session)
    await crew.true(lambda: Session.objects.filter(depth=2, turns__status="running").exists())
    await db(lambda: delete_session(user=session.user, session_id=session.id))
    assert not await db(lambda: Session.objects.exists() or Turn.objects.exists())
    await crew.true(lambda: not any(here.live for here in crew.workers))
    assert turn.status in ("queued", "running")
