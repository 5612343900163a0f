"""A worker is lost, or stops: another goes on from the rows, and nothing happens twice."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from pytest_django import Settings

from common.db import db
from copilot import worker as working
from copilot.diagnostics import invariants
from copilot.models import Session, ToolCall, Turn, UsageRecord, Worker
from copilot.providers.base import ToolResultPart
from copilot.turns.cancel import cancel_turn
from copilot.turns.progress import FinishedStep, PlannedCall, commit_step
from tests.factories import accept, answer_of, events_of, fresh, kinds_of, make_running, make_session
from tests.harness import PATIENCE, Crew

pytestmark = pytest.mark.django_db(transaction=True)


async def text_of(turn: Turn) -> str:
    """Return what the turn's answer says, after making sure that no rule is broken."""
    assert await db(invariants.check) == []
    answer = await db(answer_of, turn)
    return answer.text if answer else ""


async def lines_of(session: Session, settings: Settings, name: str) -> list[str]:
    file = settings.DATA_DIR / "workspaces" / str(session.id) / name
    return file.read_text().splitlines() if file.exists() else []


async def lost(crew: Crew, turn: Turn) -> None:
    """Lose the worker that runs the turn and have another one, hired before, take over."""
    here = next(here for here in crew.workers if turn.id in here.live)
    await crew.lose(here)
    await crew.recover(turn)


async def test_a_text_is_begun_again(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send("/words 40 20")
    await crew.until(turn, "text-delta", 2)
    await crew.hire()
    await lost(crew, turn)
    ended = await crew.ended(turn)
    assert (ended.status, ended.steps) == ("completed", 1)
    assert await text_of(turn) == " ".join(f"w{n}" for n in range(1, 41))
    kinds = await db(kinds_of, turn)
    assert (kinds.count("data-rollback"), kinds.count("finish")) == (1, 1)
    assert [request.step for request in crew.requests] == [1, 1]


async def test_committed_steps_are_not_asked_for_again(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send('/words 2\n/tool calculator {"expression": "6 * 7"}\n/results\n/words 30 30')
    await crew.until(turn, "text-delta", 3)
    await crew.hire()
    await lost(crew, turn)
    ended = await crew.ended(turn)
    assert (ended.status, ended.steps) == ("completed", 2)
    words = " ".join(f"w{n}" for n in range(1, 31))
    assert await text_of(turn) == f'w1 w2calculator: {{"result": 42}}\n{words}'
    assert [request.step for request in crew.requests] == [1, 2, 2]
    assert await db(ToolCall.objects.count) == 1


async def test_a_call_that_must_not_happen_twice_does_not(crew: Crew, settings: Settings) -> None:
    await crew.hire()
    session = await db(make_session)
    turn = await crew.send('/tool demo_once {"text": "slow one"}\n/results', session)
    await crew.true(ToolCall.objects.filter(state="running").exists)
    await crew.hire()
    await lost(crew, turn)
    ended = await crew.ended(turn)
    call = await db(ToolCall.objects.get)
    assert (ended.status, call.state) == ("completed", "unknown")
    assert "not known whether" in call.error
    (result,) = [part for part in crew.requests[-1].messages[-1].parts if isinstance(part, ToolResultPart)]
    assert (result.is_error, "not run again" in result.output) == (True, True)
    assert await lines_of(session, settings, "once.txt") == [], "it was lost before its effect, and not repeated"
    assert "not known whether" in await text_of(turn)


async def test_a_call_that_had_not_begun_is_run(crew: Crew, settings: Settings) -> None:
    """Its worker was lost between committing the step and beginning the call: it cannot have had its effect."""
    session = await db(make_session)
    turn = await db(planned_only, session)
    await crew.hire()
    await crew.recover(turn)
    ended = await crew.ended(turn)
    assert (ended.status, await db(lambda: ToolCall.objects.get().state)) == ("completed", "done")
    assert await lines_of(session, settings, "once.txt") == ["hello"]
    assert [request.step for request in crew.requests] == [2]


def planned_only(session: Session) -> Turn:
    """A turn whose worker has committed a call and not begun it."""
    holder = make_running(session, '/tool demo_once {"text": "hello"}\n/words 1')
    holder.begin()
    call = PlannedCall(uuid.uuid4(), "p1", "demo_once", {"text": "hello"})
    asked = {"type": "call", "id": "p1", "name": "demo_once", "arguments": call.arguments}
    holder.write(commit_step, step=FinishedStep(1, "tool-calls", [asked], [call]))
    return holder.turn


async def test_an_idempotent_call_runs_again(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send('/tool demo_wait {"seconds": 1.2}\n/tool demo_once {"text": "hello"}\n/words 1')
    await crew.until(turn, "tool-output-available", 2)
    await crew.hire()
    await lost(crew, turn)
    ended = await crew.ended(turn)
    states = await db(lambda: dict(ToolCall.objects.values_list("name", "state")))
    assert (ended.status, states) == ("completed", {"demo_wait": "done", "demo_once": "done"})
    assert [request.step for request in crew.requests] == [1, 2]
    assert await text_of(turn) == "w1"


async def test_a_settled_call_is_not_run_again(crew: Crew, settings: Settings) -> None:
    await crew.hire()
    session = await db(make_session)
    turn = await crew.send('/tool demo_once {"text": "hello"}\n/sleep 30\n/words 1', session)
    await crew.until(turn, "finish-step")
    await crew.hire()
    here = next(here for here in crew.workers if turn.id in here.live)
    await crew.lose(here)
    await crew.recover(turn)
    await crew.until(turn, "data-rollback")
    await cancel_turn(user=session.user, turn_id=turn.id)
    await crew.ended(turn)
    assert await lines_of(session, settings, "once.txt") == ["hello"]
    assert (await db(ToolCall.objects.get)).state == "done"


async def test_a_worker_that_was_given_up_for_dead_writes_nothing_more(crew: Crew) -> None:
    """It lives on, unaware, while another one runs the turn: a process that was stopped and continued."""
    zombie = await crew.hire()
    turn = await crew.send("/words 60 20")
    await crew.until(turn, "text-delta", 2)
    heir = await crew.hire()
    crew.workers.reverse()
    await crew.recover(turn)
    ended = await crew.ended(turn)
    assert (ended.status, ended.fence) == ("completed", 4)
    assert await text_of(turn) == " ".join(f"w{n}" for n in range(1, 61))
    assert (zombie.live, heir.live) == ({}, {})
    kinds = await db(kinds_of, turn)
    assert (kinds.count("finish"), kinds.count("data-rollback")) == (1, 1)


async def test_a_silent_zombie_learns_of_it_from_its_heartbeat(crew: Crew) -> None:
    zombie = await crew.hire()
    turn = await crew.send("/sleep 60")
    await crew.until(turn, "start-step")
    await crew.hire()
    crew.workers.reverse()
    await crew.recover(turn)
    await crew.true(lambda: not zombie.live)
    assert (await crew.now(turn)).status == "running"
    await cancel_turn(user=turn.session.user, turn_id=turn.id)
    await crew.ended(turn)


async def test_a_process_may_claim_again_what_it_lost(crew: Crew, settings: Settings) -> None:
    """The only process there is stalls, its sweep takes the turn over, and it goes on with it by itself."""
    settings.TURN_LEASE_SECONDS = 1.0
    here = await crew.hire()
    turn = await crew.send("/words 4 1000")
    await crew.until(turn, "text-delta")
    await crew.recover(turn)
    ended = await crew.ended(turn)
    assert (ended.status, ended.fence) == ("completed", 4), "it kept its second lease for longer than one lasts"
    assert await text_of(turn) == "w1 w2 w3 w4"
    assert here.live == {}


async def test_a_turn_that_a_process_gave_up_loses_its_lease(
    crew: Crew, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when that process lives and runs other turns."""
    settings.TURN_LEASE_SECONDS = 1.0
    here = await crew.hire()
    other = await crew.send("/sleep 60")
    await crew.until(other, "start-step")
    broken = await breaks_once(crew, monkeypatch)
    turn = await crew.send("/words 2")
    async with asyncio.timeout(PATIENCE):
        await broken.wait()
    assert (await crew.now(turn)).status == "running"
    ended = await crew.ended(turn)
    assert (ended.status, await text_of(turn)) == ("completed", "w1 w2")
    assert list(here.live) == [other.id]
    assert (await crew.now(other)).attempt == 1
    await cancel_turn(user=other.session.user, turn_id=other.id)


async def breaks_once(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Make a worker fail to see the next turn off, once, in a way that nobody foresaw."""
    broken = asyncio.Event()
    run_turn = working.run_turn

    async def breaks(live: working.LiveTurn) -> None:
        if broken.is_set():
            return await run_turn(live)
        broken.set()

        async def end(*args: object, **kwargs: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(live, "end", end)
        raise RuntimeError("another")

    monkeypatch.setattr(working, "run_turn", breaks)
    return broken


async def test_a_bug_fails_the_turn_and_not_the_worker(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    await crew.hire()

    async def breaks(live: working.LiveTurn) -> None:
        raise KeyError("secret detail")

    with monkeypatch.context() as patch:
        patch.setattr(working, "run_turn", breaks)
        turn = await crew.say("/words 1")
    assert (turn.status, turn.outcome) == ("failed", "unknown")
    assert "secret" not in str(await db(events_of, turn)) + str(turn.error)
    assert (await crew.say("/words 1")).status == "completed"


async def test_a_poison_turn_fails_alone(crew: Crew, settings: Settings) -> None:
    settings.TURN_MAX_ATTEMPTS = 2
    await crew.hire()
    turn = await crew.send("/words 1\n/sleep 60")
    fine = await crew.send("/words 3 200")
    for _ in range(2):
        await crew.until(turn, "start-step")
        await crew.recover(turn)
    ended = await crew.ended(turn)
    assert (ended.status, ended.outcome) == ("failed", "worker_lost")
    assert (await crew.ended(fine)).status == "completed"
    await text_of(fine)


async def test_stopping_hands_turns_back_and_another_worker_ends_them(crew: Crew) -> None:
    leaving = await crew.hire()
    writing = await crew.send("/words 30 30")
    silent = await crew.send("/sleep 0.5\n/words 1")
    await crew.until(writing, "text-delta", 2)
    await crew.until(silent, "start-step")
    await leaving.stop()
    for turn in (writing, silent):
        seen = await crew.now(turn)
        assert (seen.status, seen.attempt) == ("queued", 1)
        assert (await db(events_of, turn))[-1][1]["data"] == {"state": "recovered", "reason": "handed_back"}
    assert not await db(lambda: Worker.objects.filter(pk=leaving.id).exists())
    crew.workers.remove(leaving)
    await crew.hire()
    for turn in (writing, silent):
        crew.tell(turn.id)
    for turn in (writing, silent):
        ended = await crew.ended(turn)
        assert (ended.status, ended.attempt) == ("completed", 1)
    assert await text_of(writing) == " ".join(f"w{n}" for n in range(1, 31))


async def test_stopping_lets_tools_come_to_their_end(crew: Crew, settings: Settings) -> None:
    leaving = await crew.hire()
    session = await db(make_session)
    turn = await crew.send('/tool demo_once {"text": "slow one"}\n/results', session)
    await crew.true(ToolCall.objects.filter(state="running").exists)
    await leaving.stop()
    assert (await crew.now(turn)).status == "queued"
    assert (await db(ToolCall.objects.get)).state == "done"
    crew.workers.remove(leaving)
    await crew.hire()
    crew.tell(turn.id)
    assert (await crew.ended(turn)).status == "completed"
    assert await lines_of(session, settings, "once.txt") == ["slow one"]


async def test_tools_that_take_too_long_do_not_hold_up_the_stop(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "LEAVE_TOOLS_SECONDS", 0.2)
    leaving = await crew.hire()
    turn = await crew.send('/tool demo_wait {"seconds": 60}\n/words 1')
    await crew.until(turn, "tool-output-available")
    async with asyncio.timeout(5):
        await leaving.stop()
    assert (await crew.now(turn)).status == "queued"
    assert (await db(ToolCall.objects.get)).state == "running", "the next worker decides what that means"
    crew.workers.remove(leaving)


async def test_a_stopping_worker_admits_nothing(crew: Crew) -> None:
    leaving = await crew.hire()
    await leaving.stop()
    turn = await crew.send("/words 1")
    await leaving.run_one()
    assert (await crew.now(turn)).status == "queued"
    crew.workers.remove(leaving)


async def test_what_waited_is_answered_by_the_next_turn(crew: Crew) -> None:
    await crew.hire()
    first = await crew.send("/words 10 30")
    await crew.until(first, "text-delta")
    for text in ("/words 1", "/words 2"):
        assert (await db(lambda text=text: accept(first.session, text))).queued
    ended = await crew.ended(first)
    assert ended.next_turn_id is not None
    second = await crew.ended(await db(lambda: Turn.objects.get(pk=ended.next_turn_id)))
    assert await text_of(second) == "w1\nw1 w2"
    asked = [message.parts[0].text for message in crew.requests[-1].messages if message.role == "user"]  # type: ignore[union-attr]
    assert asked == ["/words 10 30", "/words 1", "/words 2"]


async def test_the_history_of_the_next_turn_has_a_recovered_turn_once(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send('/words 2\n/tool calculator {"expression": "6 * 7"}\n/words 30 30')
    await crew.until(turn, "text-delta", 3)
    await crew.hire()
    await lost(crew, turn)
    ended = await crew.ended(turn)
    crew.requests.clear()
    await crew.say("/words 1", ended.session)
    (request,) = crew.requests
    assert [message.role for message in request.messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert request.messages[1].text() == "w1 w2"
    assert request.messages[3].text() == " ".join(f"w{n}" for n in range(1, 31))


async def test_what_a_lost_worker_used_is_still_counted(crew: Crew) -> None:
    await crew.hire()
    turn = await crew.send("/words 3\n/step\n/sleep 60")
    await crew.until(turn, "finish-step")
    await crew.hire()
    await lost(crew, turn)
    await crew.until(turn, "data-rollback")
    await cancel_turn(user=turn.session.user, turn_id=turn.id)
    await crew.ended(turn)
    records = UsageRecord.objects.order_by("step", "fence").values_list("step", "output_tokens", "estimated")
    found = await db(lambda: list(records))
    assert found[0] == (1, 3, False)
    assert set(found[1:]) <= {(2, 0, True)}, "what both sent of the second step, which nobody counted"


async def test_the_sweep_of_a_worker_recovers_by_itself(crew: Crew, settings: Settings) -> None:
    """Nobody helps: the lease runs out, the sweep takes over, the broker tells, the turn ends."""
    settings.TURN_LEASE_SECONDS = 0.5
    gone = await crew.hire()
    turn = await crew.send("/sleep 1\n/words 1")
    await crew.until(turn, "start-step")
    await crew.lose(gone)
    await crew.hire()
    settings.TURN_LEASE_SECONDS = 5.0 if (await crew.now(turn)).fence > 1 else 0.5
    ended = await crew.ended(turn)
    assert ended.status == "completed"
    assert await text_of(turn) == "w1"


async def test_turns_of_one_person_share_slots(crew: Crew, settings: Settings) -> None:
    settings.TURNS_PER_USER_MAX = 2
    await crew.hire()
    session = await db(make_session)
    sessions = [session, *[await db(lambda: make_session(session.user)) for _ in range(3)]]
    turns = [await crew.send("/words 5 40", each) for each in sessions]
    for turn in turns:
        assert (await crew.ended(turn)).status == "completed"
    claimed = sorted([(turn.started_at, turn.finished_at) for turn in [await db(fresh, turn) for turn in turns]])
    assert claimed[2][0] >= min(end for _, end in claimed[:2])
