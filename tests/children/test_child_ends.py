"""A child ends with its parent; where the parent completed before, it is told of the child's end."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from common import faults
from common.db import db
from copilot import sweep
from copilot.models import Message, Session, Turn
from copilot.turns import children
from copilot.turns.cancel import cancel_turn, finish_unconfirmed, request_stop
from copilot.turns.children import ENDS_IN_A_ROW, orphans, tell_parent, untold
from copilot.turns.sessions import delete_session
from tests.children.asking import children_of, only_child, result, run, turn_of
from tests.factories import accept, fresh, hold, make_session
from tests.harness import Crew
from tests.turns.racing import Between, guarded, race

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nobody_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the tests themselves do."""
    monkeypatch.setattr(sweep, "RULES", ())


def look_after(name: str) -> int:
    """Make the sweep's pass with one rule."""
    return sweep.sweep([sweep.Rule(getattr(sweep, f"_{name}"))]).get(name, 0)


def turns_below(session: Session) -> list[Turn]:
    return list(Turn.objects.filter(session__depth__gt=0).order_by("session__depth"))


async def working_family(crew: Crew) -> tuple[Session, Turn]:
    """Return a session whose agent waits for a child, which waits for a child of its own."""
    await crew.hire()
    session = await db(make_session)
    turn = await crew.send(run(run("/words 1\n/sleep 30")), session)
    await crew.true(lambda: Turn.objects.filter(session__depth=2, status="running", first_chunk_ms=None).exists())
    return session, turn


async def all_ended(crew: Crew) -> None:
    await crew.true(lambda: not Turn.objects.live().exists())


async def test_a_stop_goes_down_to_the_last_child(crew: Crew) -> None:
    session, turn = await working_family(crew)
    await cancel_turn(user=session.user, session_id=session.id)
    await all_ended(crew)
    assert [(each.status, each.outcome) for each in await db(turns_below, session)] == [
        ("cancelled", "parent_stopped"),
        ("cancelled", "parent_stopped"),
    ]
    assert (await crew.now(turn)).outcome == "stopped"


async def test_children_of_a_parent_that_failed_are_stopped(crew: Crew, settings: Any) -> None:
    settings.TURN_MAX_SECONDS = 0.5
    await crew.hire()
    session = await db(make_session)
    turn = await crew.send(run("/words 1\n/sleep 30", wait=0) + "\n/sleep 30", session)
    ended = await crew.ended(turn)
    assert ended.status == "failed"
    await all_ended(crew)
    child = await db(turn_of, await db(only_child, session))
    assert child.outcome in ("parent_stopped", "timeout")


async def test_the_sweep_stops_what_a_lost_process_left(crew: Crew) -> None:
    """The process dies between the end of the parent and the stop of its child."""
    session, _ = await working_family(crew)

    def die() -> None:
        raise SystemError("killed")

    faults.arm("turn_ended", die)
    await db(stop, session)
    await crew.true(lambda: fresh_turn(session).is_terminal)
    assert await db(lambda: Turn.objects.live().count()) == 2
    faults.disarm_all()
    assert await db(look_after, "orphaned_children") == 1
    await all_ended(crew)


def stop(session: Session) -> None:
    request_stop(user=session.user, session_id=session.id, turn_id=None, reason="stopped")


def fresh_turn(session: Session) -> Turn:
    return Turn.objects.get(session=session)


async def test_who_waits_for_an_earlier_child_takes_it_along(crew: Crew) -> None:
    """It was started by a turn that completed; now another one waits for it and is stopped."""
    await crew.hire()
    session = await db(make_session)
    await crew.say(run("/words 1\n/sleep 30", wait=0), session)
    child = await db(only_child, session)
    turn = await crew.send(result(child.id), session)
    await crew.true(lambda: turn_of(child).parent_id == turn.pk)
    await cancel_turn(user=session.user, session_id=session.id)
    await all_ended(crew)
    assert (await db(turn_of, child)).outcome == "parent_stopped"


async def test_a_completed_parent_leaves_its_children_at_work(crew: Crew) -> None:
    await crew.hire()
    session = await db(make_session)
    await crew.say(run("/words 1\n/sleep 30", wait=0), session)
    assert await db(look_after, "orphaned_children") == 0
    assert (await db(turn_of, await db(only_child, session))).is_live


# --- telling ---------------------------------------------------------------------------------------


async def ended_behind_its_back(crew: Crew, prompt: str = "/words 2") -> tuple[Session, Session]:
    """Return a session that did not wait for its child, which has answered since."""
    await crew.hire()
    session = await db(make_session)
    await crew.say(run(prompt, wait=0), session)
    child = await db(only_child, session)
    await crew.ended(await db(turn_of, child))
    return session, child


def told(session: Session) -> list[str]:
    """Return the messages that tell of ends."""
    messages = session.messages.filter(client_id__startswith="ended:").order_by("number")
    return [message.text for message in messages]


async def test_an_idle_parent_is_told_of_the_end_once(crew: Crew) -> None:
    session, child = await ended_behind_its_back(crew)
    assert await db(look_after, "untold_ends") == 1
    [text] = await db(told, session)
    assert str(child.id) in text
    assert "completed" in text
    await all_ended(crew)
    assert await db(look_after, "untold_ends") == 0
    newest = await db(lambda: session.turns.order_by("created_at").last())
    assert (newest.origin, newest.status, newest.parent_id, newest.owed) == ("child", "completed", None, False)
    assert newest.settings["policy"].get("in_person", False) is False


async def test_who_was_given_the_answer_is_not_told_again(crew: Crew) -> None:
    session, child = await ended_behind_its_back(crew)
    await crew.say(result(child.id), session)
    assert await db(look_after, "untold_ends") == 0
    assert await db(told, session) == []


async def test_a_parent_at_work_is_told_when_it_is_done(crew: Crew) -> None:
    session, _ = await ended_behind_its_back(crew)
    turn = await crew.send("/words 1\n/sleep 0.5", session)
    assert await db(look_after, "untold_ends") == 0
    await crew.ended(turn)
    assert await db(look_after, "untold_ends") == 1
    assert len(await db(told, session)) == 1


async def test_nobody_is_told_whose_agent_was_stopped(crew: Crew) -> None:
    await crew.hire()
    session = await db(make_session)
    await crew.send(run("/words 2", wait=0) + "\n/sleep 30", session)
    await crew.true(lambda: children_of(session) != [] and turn_of(only_child(session)).is_terminal)
    await cancel_turn(user=session.user, session_id=session.id)
    assert await db(look_after, "untold_ends") == 0
    assert await db(told, session) == []
    assert not await db(lambda: untold().exists())


async def test_what_is_held_is_not_sent_along(crew: Crew) -> None:
    session, _ = await ended_behind_its_back(crew)
    held = await db(lambda: hold_message(session))
    assert await db(look_after, "untold_ends") == 0
    assert (await db(fresh, held)).state == "queued"


def hold_message(session: Session) -> Message:
    accept(session, "/sleep 30")
    held = accept(session, "later").message
    stop(session)
    if turn := Turn.objects.live().filter(session=session).first():
        Turn.objects.filter(pk=turn.pk).update(stop_requested_at=turn.created_at)
        finish_unconfirmed(turn.pk, 0.0)
    assert fresh(held).held
    return held


async def test_agents_do_not_keep_each_other_busy_for_ever(crew: Crew) -> None:
    session, child = await ended_behind_its_back(crew)
    turn = await db(turn_of, child)

    def again(number: int) -> bool:
        """Pretend that yet another child ended; each has an id of its own."""
        Turn.objects.filter(pk=turn.pk).update(owed=True)
        Message.objects.filter(client_id=f"ended:{turn.pk}").update(client_id=f"ended:{uuid.uuid4()}")
        return tell_parent(turn.pk)

    for number in range(ENDS_IN_A_ROW):
        assert await db(again, number)
        await all_ended(crew)
    assert not await db(again, ENDS_IN_A_ROW)
    await crew.say("go on", session)
    assert await db(again, ENDS_IN_A_ROW + 1)


def test_two_sweeps_tell_once(between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen that the end is untold."""
    session = make_session()
    parent = hold(accept(session).turn)  # type: ignore[arg-type]
    sent = children.send_prompt(parent.claim, uuid.uuid4(), prompt="hello")
    assert sent is not None
    parent.answer()
    hold(Turn.objects.get(session=sent.session)).answer()
    [turn_id] = untold().values_list("pk", flat=True)
    monkeypatch.setattr(children, "_goes_on_alone", between.after(lambda home: False))
    outcomes = race(lambda: tell_parent(turn_id), between.other(lambda: tell_parent(turn_id)))
    assert sorted(outcomes) == [False, True]
    assert len(told(session)) == 1


def test_the_end_of_the_parent_is_all_that_orphans_need() -> None:
    session = make_session()
    parent = hold(accept(session).turn)  # type: ignore[arg-type]
    sent = children.send_prompt(parent.claim, uuid.uuid4(), prompt="hello")
    assert sent is not None
    child = Turn.objects.get(session=sent.session)
    assert not orphans().exists()
    stop(session)
    Turn.objects.filter(session=session).update(stop_requested_at=child.created_at)
    finish_unconfirmed(parent.claim.turn_id, 0.0)
    assert list(orphans()) == [child]
    assert look_after("orphaned_children") == 1
    assert fresh(child).outcome == "parent_stopped"
    assert look_after("orphaned_children") == 0


@guarded
def test_a_prompt_that_meets_the_deletion_of_its_session_leaves_nothing(
    guarded: bool, between: Between, no_locks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is deleted right after the sender has looked at it, unless the lock keeps that out."""
    session = make_session()
    parent = hold(accept(session).turn)  # type: ignore[arg-type]
    if not guarded:
        no_locks()
    monkeypatch.setattr(children, "locked_session", between.after(children.locked_session))
    sent, _ = race(
        lambda: children.send_prompt(parent.claim, uuid.uuid4(), prompt="hello"),
        between.other(lambda: delete_session(user=session.user, session_id=session.id)),
    )
    assert isinstance(sent, children.Prompt) is guarded
    assert not Session.objects.exists()
    assert not Turn.objects.exists()


def test_a_stop_while_a_prompt_is_sent_stops_the_child_too(
    between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first: either nothing is sent, or what was sent is known to be an orphan's."""
    session = make_session()
    parent = hold(accept(session).turn)  # type: ignore[arg-type]
    monkeypatch.setattr(children, "locked_session", between.after(children.locked_session))

    def end() -> None:
        stop(session)
        finish_unconfirmed(parent.claim.turn_id, 0.0)

    sent, _ = race(lambda: children.send_prompt(parent.claim, uuid.uuid4(), prompt="hello"), between.other(end))
    assert isinstance(sent, children.Prompt)
    assert look_after("orphaned_children") == 1
    assert Turn.objects.get(session=sent.session).outcome == "parent_stopped"
