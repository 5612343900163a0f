"""Whoever looks at a turn that waits sees what is asked: however they came, and until it is decided."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import AsyncClient

from approvals.decisions import Wish
from chat import consumers
from common.db import db
from copilot.events import follow as following
from copilot.events import publish
from copilot.events.follow import Event, follow
from copilot.models import Turn, User
from copilot.objects import session_snapshot, turn_object
from linking.keys import issue_key
from tests.approvals.asking import People, note
from tests.approvals.waiting import commit_calls, for_each, notes, pause_again, submit, turn_of, waiting
from tests.chat.sockets import connected
from tests.events.followers import break_layer
from tests.factories import Holder, events_of, fresh, make_running, make_session
from tests.harness import PATIENCE, Crew

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hints")]


@pytest.fixture(autouse=True)
async def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the rows more often than in life; hints are sent from this test's loop."""
    monkeypatch.setattr(following, "SILENCE_RUNNING", 0.1)
    monkeypatch.setattr(following, "SILENCE_WAITING", 0.2)
    publish.set_loop(asyncio.get_running_loop())


def about_to_pause() -> Holder:
    """Return a turn that has asked for a call."""
    holder = make_running()
    holder.begin()
    holder.say("I will write it down.")
    commit_calls(holder, *notes("hello"))
    return holder


async def seen_until(turn: Turn, kind: str, after: int = 0) -> list[dict[str, Any]]:
    """Follow a turn until it tells of this, and return all that was told."""
    told = []
    async with asyncio.timeout(PATIENCE):
        async for item in follow(turn.pk, after=after):
            if isinstance(item, Event):
                told.append(item.chunk)
                if item.chunk["type"] == kind:
                    return told
    raise AssertionError(f"the turn ended without {kind}")


# --- a follower of the log ------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["working", "silent"])
async def test_a_pause_while_a_client_subscribes_is_seen_by_it(
    layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes between the client's first look and its joining of the group: nobody tells the client."""
    break_layer(monkeypatch, layer)
    holder = await db(about_to_pause)
    read, paused = following.read_page, []

    def read_then_pause(*args: Any, **kwargs: Any) -> Any:
        page = read(*args, **kwargs)
        if not paused:
            paused.append(pause_again(holder))
        return page

    monkeypatch.setattr(following, "read_page", read_then_pause)
    told = await seen_until(await db(lambda: holder.turn), "data-approval")
    assert told[-1]["data"]["approval"]["id"] == str(paused[0].pk)


@pytest.mark.parametrize("layer", ["working", "silent"])
async def test_a_decision_is_seen_by_everybody_who_follows(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_layer(monkeypatch, layer)
    action = await db(waiting)
    turn = await db(turn_of, action)
    followers = [asyncio.create_task(seen_until(turn, "data-approval-decided")) for _ in range(3)]
    await asyncio.sleep(0)
    await db(submit, action, Wish(decisions=for_each(action, "approve")))
    for told in await asyncio.gather(*followers):
        decided = told[-1]["data"]["approval"]
        assert (decided["id"], decided["status"]) == (str(action.pk), "decided")
        assert decided["decided_by"] == action.user.get_username()


async def test_a_replay_tells_of_the_decision_after_the_prompt(crew: Crew, people: People) -> None:
    """So who draws it from the beginning ends with no prompt that is open."""
    await crew.hire()
    text = '/tool demo_note {"text": "one"}\n/step\n/tool demo_note {"text": "two"}\n/words 1'
    turn, first = await people.ask(text)
    await people.decide(first, "approve")
    turn, second = await people.asked(turn, before=first)
    await people.decide(second, "reject")
    turn = await crew.ended(turn)
    told = [chunk for _, chunk in await db(events_of, turn) if chunk["type"].startswith("data-approval")]
    ids = [chunk["data"]["approval"]["id"] for chunk in told]
    kinds = [chunk["type"] for chunk in told]
    assert ids == [str(first.pk)] * 2 + [str(second.pk)] * 2
    assert kinds == ["data-approval", "data-approval-decided"] * 2
    assert "approval" not in await db(lambda: turn_object(fresh(turn)))


async def test_the_prompt_comes_after_the_calls_that_it_is_about(crew: Crew, people: People) -> None:
    """A page that draws in order has the cards when it learns that they wait."""
    await crew.hire()
    turn, action = await people.ask(note("one", "two"))
    log = [chunk for _, chunk in await db(events_of, turn)]
    asked = next(place for place, chunk in enumerate(log) if chunk["type"] == "data-approval")
    drawn = {chunk["toolCallId"] for chunk in log[:asked] if chunk["type"] == "tool-input-available"}
    assert {request["tool_call_id"] for request in action.requests} <= drawn


# --- a page ---------------------------------------------------------------------------------


async def test_a_page_that_is_opened_meanwhile_has_the_prompt(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    snapshot = await db(lambda: session_snapshot(fresh(turn.session)))
    assert snapshot["active_turn"]["status"] == "requires_action"
    assert snapshot["active_turn"]["approval"]["id"] == str(action.pk)
    await people.decide(action, "approve")
    await crew.ended(turn)
    assert (await db(lambda: session_snapshot(fresh(turn.session))))["active_turn"] is None


async def test_the_turn_is_read_with_the_prompt(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    client = AsyncClient()
    await db(client.force_login, turn.session.user)
    shown = (await client.get(f"/api/v1/turns/{turn.pk}")).json()
    assert (shown["status"], shown["approval"]["id"]) == ("requires_action", str(action.pk))
    assert shown["text"] == ""


async def test_a_pause_while_a_page_connects_is_seen_by_it(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes between the page's snapshot and the next one; no hint is needed for it to have the prompt."""
    break_layer(monkeypatch, "silent")
    holder, secret = await db(lambda: (_step_of(user), issue_key(user=user)[1]))
    snapshot, paused = consumers.objects.session_snapshot, []

    def snapshot_then_pause(session: Any, viewer: Any) -> dict[str, Any]:
        shown = snapshot(session, viewer)
        if not paused:
            paused.append(pause_again(holder))
        return shown

    monkeypatch.setattr(consumers.objects, "session_snapshot", snapshot_then_pause)
    async with connected(f"sessions/{holder.claim.session_id}/", secret) as wire:
        first = await wire.frame("session")
        assert "approval" not in first["active_turn"]
        await wire.send({"type": "follow"})
        async with asyncio.timeout(PATIENCE):
            while (frame := await wire.frame("event"))["chunk"]["type"] != "data-approval":
                continue
    assert frame["chunk"]["data"]["approval"]["id"] == str(paused[0].pk)


def _step_of(user: User) -> Holder:
    holder = make_running(make_session(user))
    holder.begin()
    commit_calls(holder, *notes("hello"))
    return holder


async def test_two_pages_and_one_decides(user: User) -> None:
    action, secret = await db(lambda: (waiting(session=make_session(user)), issue_key(user=user)[1]))
    async with (
        connected(f"sessions/{action.session}/", secret) as deciding,
        connected(f"sessions/{action.session}/", secret) as watching,
    ):
        for wire in (deciding, watching):
            assert (await wire.frame("session"))["active_turn"]["approval"]["status"] == "pending"
        await deciding.send(
            {
                "type": "decide",
                "approval": str(action.pk),
                "decisions": for_each(action, "reject"),
                "client_id": "x",
            }
        )
        assert (await deciding.frame("ack", "error"))["type"] == "ack"
        for wire in (deciding, watching):
            turn = (await wire.frame("session"))["active_turn"]
            assert (turn["status"], turn.get("approval")) == ("queued", None)


# --- what is durable at the pause -----------------------------------------------------------


async def test_what_was_streamed_before_the_pause_is_on_the_log(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, _ = await people.ask('/think hm\n/words 30\n/tool demo_note {"text": "hello"}\n/words 2')
    shown = await db(lambda: turn_object(fresh(turn)))
    log = await db(events_of, turn)
    said = "".join(chunk["delta"] for _, chunk in log if chunk["type"] == "text-delta")
    assert said.split() == [f"w{n}" for n in range(1, 31)]
    assert (log[-1][1]["type"], shown["status"]) == ("data-approval", "requires_action")
    assert turn.sealed_seq == log[-1][0], "nothing of it is taken back when the turn goes on"
