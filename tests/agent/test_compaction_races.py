"""Room is made once, whoever stops, interrupts, takes over or rewrites meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from common.db import db
from copilot.agent import history
from copilot.diagnostics import invariants
from copilot.events.log import StaleTurn, read_events
from copilot.models import Compaction, Session, Turn
from copilot.models import compaction as stored
from copilot.models.turn import live_turn_of
from copilot.turns import compactions
from copilot.turns.branches import edit_message, regenerate
from copilot.turns.cancel import cancel_turn
from copilot.turns.compactions import keep_compaction
from tests.agent.summaries import SAID, Summaries, small, summaries, talked
from tests.factories import accept, answer_of, events_of, fresh, give_up_worker, journal_of, make_running
from tests.harness import PATIENCE, Crew

__all__ = ["small", "summaries", "talked"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asked(summaries: Summaries, small: Callable[..., None]) -> Summaries:
    """A summary that is being written until the test says so."""
    small(1200)
    summaries.wait = asyncio.Event()
    return summaries


async def begun(crew: Crew, talked: Session, asked: Summaries, text: str = "/words 3") -> Turn:
    """Send a message, and wait until its turn waits for a summary."""
    asked.asked.clear()
    turn = await crew.send(text, talked)
    async with asyncio.timeout(PATIENCE):
        await asked.asked.wait()
    return turn


def go_on(asked: Summaries) -> None:
    assert asked.wait is not None
    asked.wait.set()


def rows(session: Session) -> list[Compaction]:
    return list(Compaction.objects.filter(session=session).order_by("created_at"))


async def test_a_stop_ends_it_at_once_and_nothing_is_kept_of_it(
    crew: Crew, talked: Session, asked: Summaries
) -> None:
    turn = await begun(crew, talked, asked)
    assert (await cancel_turn(user=turn.session.user, turn_id=turn.id)).confirmed
    ended = await crew.ended(turn)
    assert (ended.status, await db(rows, talked), await db(invariants.check)) == ("cancelled", [], [])
    go_on(asked)
    await crew.say("/words 4", talked)
    assert SAID in crew.requests[-1].messages[0].text()


async def test_a_message_that_interrupts_is_read_first(crew: Crew, talked: Session, asked: Summaries) -> None:
    turn = await begun(crew, talked, asked)
    await db(lambda: accept(talked, "/words 5", delivery="interrupt"))
    await crew.until(turn, "data-pending")
    go_on(asked)
    ended = await crew.ended(turn)
    assert (ended.status, await db(invariants.check)) == ("completed", [])
    assert [len(await db(rows, talked)), len(asked.requests)] == [1, 2]
    assert crew.requests[-1].messages[-1].text().startswith("/words 5")


async def test_a_worker_that_is_lost_meanwhile_leaves_nothing_and_the_next_does_it_again(
    crew: Crew, talked: Session, asked: Summaries
) -> None:
    turn = await begun(crew, talked, asked)
    [here] = crew.workers
    await crew.lose(here)
    assert await db(rows, talked) == []
    asked.asked.clear()
    await crew.hire()
    go_on(asked)
    await crew.recover(turn)
    ended = await crew.ended(turn)
    assert (ended.status, await db(invariants.check)) == ("completed", [])
    assert [len(await db(rows, talked)), len(asked.requests)] == [1, 2]
    answer = await db(answer_of, ended)
    assert answer is not None
    assert [part["type"] for part in answer.parts] == ["data-compaction", "step-start", "text"]


async def test_what_was_made_before_the_worker_was_lost_is_not_made_again(
    crew: Crew, talked: Session, asked: Summaries
) -> None:
    go_on(asked)
    turn = await crew.send("/words 200 30", talked)
    await crew.until(turn, "text-delta", 2)
    [here] = crew.workers
    first = crew.requests[-1]
    await crew.lose(here)
    await crew.hire()
    await crew.recover(turn)
    await crew.until(turn, "data-rollback")
    ended = await crew.ended(turn)
    assert (ended.status, await db(invariants.check)) == ("completed", [])
    assert [len(await db(rows, talked)), len(asked.requests)] == [1, 1]
    assert crew.requests[-1].messages == first.messages
    marks = [chunk for _, chunk in await db(events_of, turn) if chunk["type"] == "data-compaction"]
    assert len(marks) == 1


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])
def test_a_worker_that_was_given_up_writes_nothing(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control takes the turn's fence away, and the log's with it."""
    holder = make_running()
    give_up_worker(holder.claim.turn_id)
    made = Compaction(tokens_before=2, tokens_after=1)
    if guarded:
        with pytest.raises(StaleTurn):
            holder.write(keep_compaction, session_id=holder.claim.session_id, made=made)
    else:
        monkeypatch.setattr(compactions, "touch", lambda *_, **__: None)
        holder.seq = read_events(holder.claim.turn_id)[-1][0]
        holder.write(keep_compaction, session_id=holder.claim.session_id, made=made)
    assert len(rows(holder.session)) == (0 if guarded else 1)


async def test_nobody_waits_for_the_session_while_a_summary_is_written(
    crew: Crew, talked: Session, asked: Summaries
) -> None:
    """No lock is held: a message is accepted meanwhile."""
    turn = await begun(crew, talked, asked)
    accepted = await db(lambda: accept(talked, "/words 4", delivery="next"))
    assert accepted.queued
    go_on(asked)
    await crew.ended(turn)
    following = await db(lambda: live_turn_of(talked.pk) or Turn.objects.filter(session=talked).last())
    assert following is not None
    await crew.ended(following)


# --- branches -------------------------------------------------------------------------------


async def summarised(crew: Crew, talked: Session, asked: Summaries) -> Turn:
    """Have room made in a turn, and return it."""
    go_on(asked)
    turn = await crew.say("/words 3", talked)
    assert len(await db(rows, talked)) == 1
    crew.requests.clear()
    return turn


async def edited(crew: Crew, talked: Session, place: int, text: str) -> Turn:
    """Say something else in the place of a question, and return the turn that answers it."""
    asked = await db(lambda: talked.messages.shown().filter(role="user").order_by("seq")[place])
    accepted = await db(lambda: edit_message(user=talked.user, message_id=asked.pk, text=text))
    assert accepted.turn is not None
    return await crew.ended(accepted.turn)


async def test_an_edit_behind_what_is_summarised_keeps_the_summary(
    crew: Crew, talked: Session, asked: Summaries
) -> None:
    await summarised(crew, talked, asked)
    await edited(crew, talked, 2, "/words 6")
    assert SAID in crew.requests[-1].messages[0].text()
    assert len(asked.requests) == 1


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])
async def test_an_edit_of_what_is_summarised_ends_the_summary(
    crew: Crew, talked: Session, asked: Summaries, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    await summarised(crew, talked, asked)
    if not guarded:
        monkeypatch.setattr(
            history,
            "compactions_before",
            lambda session_id, *_: list(Compaction.objects.filter(session_id=session_id)),
        )
    await edited(crew, talked, 1, "/words 6")
    assert (SAID in str(crew.requests[-1].messages)) is not guarded


async def test_another_answer_reads_the_summary_too(crew: Crew, talked: Session, asked: Summaries) -> None:
    await summarised(crew, talked, asked)
    accepted = await db(lambda: regenerate(user=talked.user, session_id=talked.pk))
    assert accepted.turn is not None
    await crew.ended(accepted.turn)
    [request] = crew.requests
    assert SAID in request.messages[0].text()
    assert request.messages[request.asked_from].text().startswith("/words 3")
    assert len(asked.requests) == 1


async def test_a_summary_never_covers_the_question_itself(crew: Crew, talked: Session, asked: Summaries) -> None:
    """However it came about: a turn that answers again reads what it answers."""
    turn = await summarised(crew, talked, asked)
    question = await db(lambda: talked.messages.filter(role="user").order_by("-seq").first())
    assert question is not None
    await db(lambda: Compaction.objects.filter(turn=turn).update(last=question, up_to=question.seq))
    accepted = await db(lambda: regenerate(user=talked.user, session_id=talked.pk))
    assert accepted.turn is not None
    await crew.ended(accepted.turn)
    asked_for = crew.requests[-1].messages[crew.requests[-1].asked_from]
    assert asked_for.text().startswith("/words 3")


async def test_the_journal_tells_of_it(crew: Crew, talked: Session, asked: Summaries) -> None:
    turn = await summarised(crew, talked, asked)
    assert "compacted" in await db(journal_of, turn)
    assert await db(lambda: stored.shortened_in(fresh(turn).pk)) is not None
