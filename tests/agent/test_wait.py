"""Waiting for a turn's result: its own, once, as soon as it is there, and nothing is left behind."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import pytest
from channels.layers import get_channel_layer

from common.db import db
from common.errors import Invalid, NotFound
from copilot import sweep
from copilot.events import follow as following
from copilot.events.publish import turn_group
from copilot.models import Session, Turn, TurnEvent
from copilot.turns import wait
from copilot.turns.cancel import cancel_turn
from copilot.turns.sessions import delete_session
from copilot.turns.submit import withdraw_queued
from copilot.turns.wait import Reply, TurnResult, submit_and_wait, until_settled, wait_for_answer, wait_for_turn
from tests.events.followers import break_layer
from tests.factories import accept, backdate, make_session, make_turn
from tests.harness import PATIENCE, Crew

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def session(crew: Crew) -> Session:
    """A session, and somebody who answers in it."""
    await crew.hire()
    made: Session = await db(make_session)
    return made


#: The channels in each group, as they came and left.
groups: dict[str, set[str]] = {}


@pytest.fixture(autouse=True)
async def nobody_listens_afterwards(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Whatever a test does, no turn's group has anybody in it at the end. Any layer can be watched so."""
    layer: Any = get_channel_layer()
    add, discard = layer.group_add, layer.group_discard
    groups.clear()

    async def group_add(group: str, channel: str) -> None:
        groups.setdefault(group, set()).add(channel)
        await add(group, channel)

    async def group_discard(group: str, channel: str) -> None:
        await discard(group, channel)
        groups[group].discard(channel)

    monkeypatch.setattr(layer, "group_add", group_add)
    monkeypatch.setattr(layer, "group_discard", group_discard)
    yield
    assert subscribers() == []


def subscribers() -> list[str]:
    """The groups of turns that somebody listens to."""
    return [group for group, channels in groups.items() if group.startswith("turn.") and channels]


async def joined(turn: Turn) -> None:
    """Wait until somebody follows the turn."""
    async with asyncio.timeout(PATIENCE):
        while not groups.get(turn_group(turn.id)):  # noqa: ASYNC110 - there is nothing that tells of it
            await asyncio.sleep(0.01)


def say(session: Session, text: str, seconds: float = PATIENCE, **over: Any) -> asyncio.Task[Reply]:
    """Send a message and wait for its answer, beside the test."""
    return asyncio.create_task(
        submit_and_wait(user=session.user, session_id=session.id, text=text, seconds=seconds, **over)
    )


def answered(reply: Reply) -> TurnResult:
    """The result of a message that was delivered."""
    assert reply.state == "delivered"
    assert reply.result is not None
    return reply.result


# --- how turns end -------------------------------------------------------------------------------


async def test_a_completed_turn_is_its_text_calls_and_usage(session: Session) -> None:
    result = answered(await say(session, '/tool calculator {"expression": "6 * 7"}\n/words 3\n/cost 5'))
    assert (result.status, result.text, result.error) == ("completed", "w1 w2 w3", None)
    [call] = result.calls
    assert (call.name, call.arguments, call.state) == ("calculator", {"expression": "6 * 7"}, "done")
    assert "42" in str(call.output)
    assert (result.usage["output_tokens"], result.usage["cost_microdollars"]) == (3, 5)


async def test_a_failed_turn_keeps_its_error_and_what_it_said(session: Session) -> None:
    result = answered(await say(session, "/words 2\n/faillate auth"))
    assert result.status == "failed"
    assert result.error is not None
    assert result.error["code"] == "auth"
    assert result.error["detail"]
    assert result.text == "w1 w2\nThis text comes before the failure."


async def test_a_cancelled_turn_is_no_error_of_the_waiter(crew: Crew, session: Session) -> None:
    turn = await crew.send("/words 1000 20", session)
    waiting = asyncio.create_task(wait_for_turn(turn.id, seconds=PATIENCE))
    await crew.until(turn, "text-delta", 3)
    await cancel_turn(user=session.user, turn_id=turn.id)
    result = await waiting
    assert result.status == "cancelled"
    assert result.error is not None
    assert result.error["code"] == "stopped"
    assert result.text.startswith("w1 w2")


async def test_what_cannot_be_sent_raises_as_sending_does(session: Session) -> None:
    with pytest.raises(Invalid):
        await submit_and_wait(user=session.user, session_id=session.id, text=" ", seconds=1)


# --- the deadline --------------------------------------------------------------------------------


async def test_the_deadline_returns_what_is_known_and_the_turn_goes_on(crew: Crew, session: Session) -> None:
    turn = await crew.send("/words 2\n/sleep 2\n/words 1", session)
    await crew.until(turn, "text-delta")
    result = await wait_for_turn(turn.id, seconds=0.1)
    assert (result.status, result.text, result.error) == ("running", "w1 w2", None)
    assert subscribers() == []
    assert (await wait_for_turn(turn.id, seconds=PATIENCE)).text == "w1 w2\nw1"


async def test_no_time_at_all_does_not_follow(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "follow", lambda *_: pytest.fail("it follows"))
    turn: Turn = await db(make_turn)
    assert (await wait_for_turn(turn.id, seconds=0)).status == "queued"
    assert (await wait_for_turn(turn.id, seconds=-1)).status == "queued"


async def test_a_timeout_of_the_database_is_not_mistaken_for_the_deadline(crew: Crew) -> None:
    async def breaks(turn_id: uuid.UUID, after: int) -> AsyncIterator[Any]:
        yield following.Beat()
        raise TimeoutError("not yours")

    turn: Turn = await db(make_turn)
    with pytest.raises(TimeoutError, match="not yours"):
        await until_settled(turn.id, seconds=PATIENCE, follower=breaks)


async def test_a_turn_that_waits_for_a_person_is_not_waited_for(crew: Crew) -> None:
    turn: Turn = await db(make_turn)
    await db(Turn.objects.filter(pk=turn.pk).update, status="requires_action", action_id=turn.pk)
    async with asyncio.timeout(5):
        assert (await wait_for_turn(turn.id, seconds=60)).status == "requires_action"


# --- always leaving ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deadline", "cancelled", "failure", "deletion", "end"])
async def test_every_way_out_leaves_the_group(crew: Crew, session: Session, how: str) -> None:
    turn = await crew.send("/words 3 50" if how == "end" else "/sleep 60", session)

    async def failing(turn_id: uuid.UUID, after: int) -> AsyncIterator[Any]:
        async with aclosing(following.follow(turn_id, after)) as items:
            async for item in items:
                if isinstance(item, following.Beat):
                    raise RuntimeError("a check failed")
                yield item

    follower = failing if how == "failure" else following.follow
    seconds = 0.5 if how == "deadline" else PATIENCE
    waiting = asyncio.create_task(until_settled(turn.id, seconds=seconds, follower=follower))
    if how != "end":
        await joined(turn)
    if how == "cancelled":
        waiting.cancel()
    elif how == "deletion":
        await db(delete_session, user=session.user, session_id=session.id)
    with suppress(asyncio.CancelledError, RuntimeError):
        await waiting
    assert waiting.cancelled() is (how == "cancelled")
    assert subscribers() == []


async def test_a_session_deleted_meanwhile_is_an_error_at_once(crew: Crew, session: Session) -> None:
    turn = await crew.send("/sleep 60", session)
    waiting = asyncio.create_task(wait_for_turn(turn.id, seconds=60))
    await crew.until(turn, "start-step")
    await db(delete_session, user=session.user, session_id=session.id)
    async with asyncio.timeout(5):
        with pytest.raises(NotFound):
            await waiting


# --- many, without hints, late, recovered --------------------------------------------------------


async def test_fifty_wait_at_once(crew: Crew, session: Session) -> None:
    turn = await crew.send("/words 20 10", session)
    results = await asyncio.gather(*(wait_for_turn(turn.id, seconds=PATIENCE) for _ in range(50)))
    assert {result.status for result in results} == {"completed"}
    assert {result.text for result in results} == {" ".join(f"w{n}" for n in range(1, 21))}


async def test_without_any_hint_the_result_is_the_same(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    break_layer(monkeypatch, "silent")
    assert answered(await say(session, "/words 3 20")).text == "w1 w2 w3"


async def test_a_turn_that_ended_long_ago_is_answered_at_once(
    crew: Crew, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = await crew.say("/words 3", session)
    await db(lambda: backdate(turn, finished_at=timedelta(days=30)))
    await db(sweep._old_events)
    assert await db(TurnEvent.objects.filter(turn=turn).count) == 1
    monkeypatch.setattr(wait, "follow", lambda *_: pytest.fail("it follows"))
    assert (await wait_for_turn(turn.id, seconds=60)).text == "w1 w2 w3"


async def test_a_turn_that_lost_its_worker_has_one_result(crew: Crew, session: Session) -> None:
    turn = await crew.send("/words 4 100", session)
    waiting = asyncio.create_task(wait_for_turn(turn.id, seconds=PATIENCE))
    await crew.until(turn, "text-delta")
    await crew.lose(crew.workers[0])
    await crew.hire()
    await crew.recover(turn)
    result = await waiting
    assert (result.status, result.text) == ("completed", "w1 w2 w3 w4")


# --- its own turn only ---------------------------------------------------------------------------


async def test_the_next_messages_turn_is_not_its_own(crew: Crew, session: Session) -> None:
    first = say(session, "/words 2 100")
    await crew.true(lambda: session.turns.exists())
    second = say(session, "/words 1", delivery="next")
    one, two = answered(await first), answered(await second)
    assert (one.text, two.text) == ("w1 w2", "w1")
    assert one.turn != two.turn


async def test_a_queued_message_is_waited_for_past_the_turn_before_it(crew: Crew, session: Session) -> None:
    before = await crew.send("/words 3 100", session)
    result = answered(await say(session, "/words 1", delivery="next"))
    assert result.turn != before.id
    assert (result.status, result.text) == ("completed", "w1")


async def test_a_queued_message_at_the_deadline_still_waits(crew: Crew, session: Session) -> None:
    await crew.send("/sleep 60", session)
    reply = await say(session, "later", seconds=0.2, delivery="next")
    assert (reply.state, reply.result) == ("queued", None)
    assert await db(session.messages.queued().count) == 1


async def test_a_message_that_is_held_is_said_to_be(crew: Crew, session: Session) -> None:
    turn = await crew.send("/sleep 60", session)
    waiting = say(session, "later", delivery="next")
    await crew.true(lambda: session.messages.queued().exists())
    await cancel_turn(user=session.user, turn_id=turn.id)
    reply = await waiting
    assert (reply.state, reply.result) == ("held", None)


async def test_a_message_that_is_withdrawn_ends_the_wait(
    crew: Crew, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crew.send("/sleep 60", session)
    message = (await db(lambda: accept(session, "later", delivery="next"))).message
    monkeypatch.setattr(following, "SILENCE_RUNNING", 0.05)
    waiting = asyncio.create_task(wait_for_answer(message.id, seconds=PATIENCE))
    await db(withdraw_queued, user=session.user, session_id=session.id, message_id=message.id)
    assert (await waiting).state == "withdrawn"
    assert (await wait_for_answer(message.id, seconds=0)).state == "withdrawn"


async def test_the_same_client_id_waits_for_the_same_turn(crew: Crew, session: Session) -> None:
    one, again = await asyncio.gather(
        *(say(session, "/words 2 50", client_id="c1", origin="child") for _ in range(2))
    )
    assert answered(one) == answered(again)
    assert await db(session.turns.count) == 1
