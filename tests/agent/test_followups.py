"""Messages sent while a turn runs: into it between two steps, into the next turn, or at once."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from common.db import db
from common.errors import Conflict
from copilot.diagnostics import invariants
from copilot.events import publish
from copilot.events.fold import Transcript
from copilot.models import Message, Turn
from copilot.providers.base import ModelRequest
from copilot.turns.branches import edit_message, regenerate
from copilot.turns.cancel import cancel_turn
from copilot.turns.submit import Accepted, withdraw_queued
from tests.factories import accept, events_of, fresh, kinds_of
from tests.harness import Crew

pytestmark = pytest.mark.django_db(transaction=True)
WAIT = '/tool demo_wait {"seconds": 0.3}\n'
WAIT_LONG = '/tool demo_wait {"seconds": 60}\n'


@pytest.fixture(autouse=True)
async def one(crew: Crew) -> None:
    await crew.hire()


async def follow_up(turn: Turn, text: str, delivery: str = "asap", **over: Any) -> Accepted:
    """Send a message to the turn's session, which must be busy."""
    accepted = await db(lambda: accept(turn.session, text, delivery=delivery, **over))
    assert accepted.queued
    return accepted


async def settled(crew: Crew, turn: Turn) -> Turn:
    """Wait for the end of a turn and make sure that no rule is broken, and that its log says what its rows say."""
    ended = await crew.ended(turn)
    assert await db(invariants.check) == []
    told = Transcript.of(await db(events_of, turn))
    stored = await db(lambda: list(turn.messages.filter(role="assistant").order_by("seq")))
    assert [str(answer.id) for answer in stored] == list(told.messages)
    assert [answer.parts for answer in stored] == [told.parts_of(answer.id) for answer in stored]
    return ended


async def next_of(turn: Turn) -> Turn:
    """Return the turn that took what waited for this one."""
    return await db(lambda: Turn.objects.select_related("session").get(pk=turn.next_turn_id))


async def said(turn: Turn) -> list[tuple[str, str]]:
    """Return the session's transcript: who said what."""
    rows = await db(lambda: list(turn.session.messages.exclude(seq=None).order_by("seq")))
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    return [(row.role, row.text) for row in rows]


def asked(request: ModelRequest) -> list[tuple[str, str]]:
    """Return a request's messages: role, and the first line of what is said."""
    return [(message.role, message.text().split("\n")[0]) for message in request.messages]


async def test_it_comes_after_the_tool_results_and_the_answer_goes_on_behind_it(crew: Crew) -> None:
    turn = await crew.send(WAIT + "/words 2")
    await crew.until(turn, "tool-input-available")
    accepted = await follow_up(turn, "And another thing", client_id="c1", context={"url": "https://example.org/"})
    assert (accepted.delivery, accepted.position, accepted.waiting_for) == ("asap", 1, "turn")
    ended = await settled(crew, turn)

    assert (ended.status, ended.next_turn_id) == ("completed", None)
    (_, first), (_, second), (_, third), (_, fourth) = await said(turn)
    assert (first, second, third) == (WAIT + "/words 2", "", "And another thing")
    assert fourth.startswith("w1 w2Hello! I am")
    message = await db(fresh, accepted.message)
    assert (message.state, message.turn_id, message.after_step) == ("done", turn.id, 1)
    kinds = await db(kinds_of, turn)
    at = kinds.index("data-pending")
    assert kinds[at - 2 : at + 2] == ["tool-output-available", "finish-step", "data-pending", "start-step"]
    told = next(chunk for _, chunk in await db(events_of, turn) if chunk["type"] == "data-pending")["data"]
    assert (told["message"]["id"], told["message"]["client_id"]) == (str(message.id), "c1")
    assert told["message"]["seq"] == message.seq

    request = crew.requests[1]
    assert [role for role, _ in asked(request)] == ["user", "assistant", "tool", "user"]
    framed = request.messages[-1].text()
    assert "And another thing" in framed
    assert "while you were working" in framed
    assert "https://example.org/" in framed


async def test_later_turns_read_it_where_it_was_and_as_it_was(crew: Crew) -> None:
    turn = await crew.send(WAIT + "/words 1")
    await crew.until(turn, "tool-input-available")
    await follow_up(turn, "/words 3")
    await settled(crew, turn)
    then = [(message.role, message.text()) for message in crew.requests[-1].messages]
    await crew.say("/words 1", turn.session)
    again = [(message.role, message.text()) for message in crew.requests[-1].messages]
    assert again[: len(then)] == then


async def test_several_come_each_by_itself_in_typing_order(crew: Crew) -> None:
    turn = await crew.send(WAIT + "/words 1")
    await crew.until(turn, "tool-input-available")
    for text in ("/words 2", "/words 3", "/words 4"):
        await follow_up(turn, text)
    await settled(crew, turn)
    assert [text for role, text in await said(turn) if role == "user"][1:] == ["/words 2", "/words 3", "/words 4"]
    kinds = await db(kinds_of, turn)
    assert kinds.count("data-pending") == 3
    assert (await said(turn))[-1][1] == "w1w1 w2w1 w2 w3w1 w2 w3 w4"


async def test_a_turn_without_another_step_leaves_it_to_the_next_turn(crew: Crew) -> None:
    turn = await crew.send("/words 10 20")
    await crew.until(turn, "text-delta")
    accepted = await follow_up(turn, "/words 2")
    ended = await settled(crew, turn)
    await settled(crew, await next_of(ended))
    message = await db(fresh, accepted.message)
    assert (message.turn_id, message.after_step) == (ended.next_turn_id, None)


async def test_the_last_step_is_spared(crew: Crew, settings: Settings) -> None:
    settings.TURN_MAX_STEPS = 2
    turn = await crew.send(WAIT + "/words 2")
    await crew.until(turn, "tool-input-available")
    await follow_up(turn, "/words 3")
    ended = await settled(crew, turn)
    assert ended.status == "completed"
    assert (await settled(crew, await next_of(ended))).status == "completed"


async def test_next_waits_for_the_next_turn_and_nothing_overtakes_it(crew: Crew) -> None:
    turn = await crew.send(WAIT + "/words 2")
    await crew.until(turn, "tool-input-available")
    assert (await follow_up(turn, "/words 3", "next")).delivery == "next"
    await follow_up(turn, "/words 4", "asap")
    ended = await settled(crew, turn)
    assert "data-pending" not in await db(kinds_of, turn)
    await settled(crew, await next_of(ended))
    assert [text for role, text in await said(turn) if role == "user"][1:] == ["/words 3", "/words 4"]


async def test_an_interrupting_message_is_read_next_and_what_was_said_stays(crew: Crew) -> None:
    turn = await crew.send("/words 1000 20")
    await crew.until(turn, "text-delta", 3)
    assert (await follow_up(turn, "/words 2", "interrupt")).delivery == "interrupt"
    ended = await settled(crew, turn)
    assert (ended.status, ended.steps, ended.next_turn_id, ended.interrupt_id) == ("completed", 2, None, None)
    (_, _), (_, partial), (_, asking), (_, answer) = await said(turn)
    assert partial.startswith("w1 w2")
    assert len(partial) < 1000
    assert (asking, answer) == ("/words 2", "w1 w2")
    request = crew.requests[1]
    assert [role for role, _ in asked(request)] == ["user", "assistant", "user"]
    assert request.messages[1].text() == partial


async def test_an_interrupting_message_takes_along_those_before_it(crew: Crew) -> None:
    turn = await crew.send("/words 1000 20")
    await crew.until(turn, "text-delta")
    await follow_up(turn, "/words 2", "next")
    await follow_up(turn, "/words 3", "interrupt")
    await follow_up(turn, "/words 4", "next")
    ended = await settled(crew, turn)
    await settled(crew, await next_of(ended))
    assert [text for role, text in await said(turn) if role == "user"][1:] == ["/words 2", "/words 3", "/words 4"]


async def test_an_answer_that_said_nothing_yet_steps_behind_what_interrupts_it(crew: Crew) -> None:
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    await follow_up(turn, "/words 2", "interrupt")
    ended = await settled(crew, turn)
    assert ended.status == "completed"
    assert await said(turn) == [("user", "/sleep 60"), ("user", "/words 2"), ("assistant", "w1 w2")]


async def test_a_running_tool_is_cut_short_and_the_model_is_told(crew: Crew) -> None:
    turn = await crew.send(WAIT_LONG + "/words 500 20")
    await crew.until(turn, "tool-output-available")  # its progress
    await follow_up(turn, "/results", "interrupt")
    await settled(crew, turn)
    [call] = await db(lambda: list(turn.tool_calls.all()))
    assert (call.state, call.error.split(",")[0]) == ("error", "Stopped before it finished")
    request = crew.requests[1]
    assert [role for role, _ in asked(request)] == ["user", "assistant", "tool", "user"]


async def test_a_lost_hint_costs_a_heartbeat(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "interrupted", lambda *_: None)
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    await follow_up(turn, "/words 2", "interrupt")
    assert (await settled(crew, turn)).status == "completed"


async def test_a_late_word_of_a_delivered_message_cuts_nothing(crew: Crew) -> None:
    turn = await crew.send("/words 1000 20")
    await crew.until(turn, "text-delta")
    accepted = await follow_up(turn, "/words 30 10", "interrupt")
    await crew.until(turn, "data-pending")
    await crew.until(turn, "text-delta", 4)
    [here] = crew.workers
    here.live[turn.id].cut_step(accepted.message.id)
    assert (await settled(crew, turn)).steps == 2
    assert (await said(turn))[-1][1].endswith("w30")


async def test_a_turn_that_has_not_begun_begins_with_it(crew: Crew) -> None:
    waiting = await db(lambda: accept_without_worker(crew))
    await follow_up(waiting, "/words 3", "interrupt")
    crew.workers[0].stopping = False
    crew.tell(waiting.id)
    ended = await settled(crew, waiting)
    assert ended.status == "completed"
    assert [text for _, text in await said(waiting)] == ["/sleep 60", "/words 3", "w1 w2 w3"]


def accept_without_worker(crew: Crew) -> Turn:
    """Start a turn that nobody claims."""
    from tests.factories import make_session

    crew.workers[0].stopping = True
    turn = accept(make_session(), "/sleep 60").turn
    assert turn is not None
    return turn


@pytest.mark.parametrize("delivery", ["asap", "interrupt"])
async def test_a_lost_worker_changes_nothing_of_what_was_delivered(crew: Crew, delivery: str) -> None:
    turn = await crew.send(WAIT + "/words 2")
    await crew.until(turn, "tool-input-available")
    await follow_up(turn, "/words 200 20", delivery)
    await crew.until(turn, "data-pending")
    await crew.until(turn, "text-delta", 3)
    [lost] = crew.workers
    before = crew.requests[-1].messages
    await crew.lose(lost)
    await crew.hire()
    await crew.recover(turn)
    ended = await settled(crew, turn)
    assert ended.status == "completed"
    assert crew.requests[-1].messages[: len(before)] == before
    assert (await said(turn))[-1][1].endswith("w200")
    assert (await db(kinds_of, turn)).count("data-pending") == 1


async def test_after_a_stop_it_is_held(crew: Crew) -> None:
    turn = await crew.send(WAIT_LONG + "/words 2")
    await crew.until(turn, "tool-input-available")
    accepted = await follow_up(turn, "/words 3")
    await cancel_turn(user=turn.session.user, turn_id=turn.id)
    await settled(crew, turn)
    message = await db(fresh, accepted.message)
    assert (message.state, message.held, message.after_step) == ("queued", True, None)
    assert "data-pending" not in await db(kinds_of, turn)


async def test_one_that_was_delivered_cannot_be_withdrawn(crew: Crew) -> None:
    turn = await crew.send(WAIT + "/words 50 20")
    await crew.until(turn, "tool-input-available")
    accepted = await follow_up(turn, "/words 3")
    await crew.until(turn, "data-pending")
    with pytest.raises(Conflict):
        await db(
            lambda: withdraw_queued(
                user=turn.session.user, session_id=turn.session_id, message_id=accepted.message.id
            )
        )
    await settled(crew, turn)


async def test_one_that_was_withdrawn_interrupts_nothing(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "interrupted", lambda *_: None)
    turn = await crew.send("/words 60 20")
    await crew.until(turn, "text-delta")
    accepted = await follow_up(turn, "/words 3", "interrupt")
    await db(
        lambda: withdraw_queued(user=turn.session.user, session_id=turn.session_id, message_id=accepted.message.id)
    )
    assert (await settled(crew, turn)).steps == 1
    assert not await db(Message.objects.filter(pk=accepted.message.pk).exists)


async def with_follow_up(crew: Crew, delivery: str = "asap") -> tuple[Turn, Message]:
    """Return a turn that has ended and the message that was delivered into it."""
    turn = await crew.send(WAIT + "/words 2")
    await crew.until(turn, "tool-input-available")
    accepted = await follow_up(turn, "/words 3", delivery)
    await settled(crew, turn)
    return turn, await db(fresh, accepted.message)


async def shown(turn: Turn) -> list[tuple[str, str]]:
    rows = await db(lambda: list(turn.session.messages.shown().order_by("seq")))
    return [(row.role, row.text) for row in rows]


async def test_answering_again_begins_behind_the_last_message_that_was_delivered(crew: Crew) -> None:
    turn, _ = await with_follow_up(crew)
    again = await db(lambda: regenerate(user=turn.session.user, session_id=turn.session_id))
    assert again.turn is not None
    await settled(crew, again.turn)
    assert await shown(turn) == [
        ("user", WAIT + "/words 2"),
        ("assistant", ""),
        ("user", "/words 3"),
        ("assistant", "w1 w2 w3"),
    ]


async def test_one_that_was_delivered_can_be_edited(crew: Crew) -> None:
    turn, message = await with_follow_up(crew, "interrupt")
    edited = await db(lambda: edit_message(user=turn.session.user, message_id=message.id, text="/words 4"))
    assert edited.turn is not None
    await settled(crew, edited.turn)
    assert (await shown(turn))[2:] == [("user", "/words 4"), ("assistant", "w1 w2 w3 w4")]
    hidden = await db(lambda: list(turn.session.messages.filter(shown=False).values_list("role", flat=True)))
    assert sorted(hidden) == ["assistant", "user"]


async def test_editing_the_question_hides_all_that_was_delivered_after_it(crew: Crew) -> None:
    turn, _ = await with_follow_up(crew)
    question = await db(lambda: turn.session.messages.order_by("seq").first())
    assert question is not None
    edited = await db(lambda: edit_message(user=turn.session.user, message_id=question.id, text="/words 1"))
    assert edited.turn is not None
    await settled(crew, edited.turn)
    assert await shown(turn) == [("user", "/words 1"), ("assistant", "w1")]


async def test_a_stop_before_a_word_is_said_to_it_leaves_the_answer_before_as_it_was(crew: Crew) -> None:
    turn = await crew.send(WAIT + "/words 2")
    await crew.until(turn, "tool-input-available")
    await follow_up(turn, "/sleep 60", "interrupt")
    await crew.until(turn, "data-pending")
    await cancel_turn(user=turn.session.user, turn_id=turn.id)
    ended = await crew.ended(turn)
    assert ended.status == "cancelled"
    assert await db(invariants.check) == []
    assert [role for role, _ in await shown(turn)] == ["user", "assistant", "user"]
