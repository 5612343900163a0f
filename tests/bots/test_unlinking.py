"""What ends with a link: all that the bot asked for, also what still waits and what other agents do for it."""

from __future__ import annotations

from typing import Any

import pytest

from common.db import db
from copilot import sweep
from copilot.models import Turn
from copilot.signals import sweeping
from copilot.turns.children import tell_parent
from linking import links
from tests.bots.places import STRANGER_ID, Linked
from tests.bots.test_strangers import say
from tests.children.asking import only_child, run, turn_of
from tests.factories import accept, fresh, hold, make_turn
from tests.harness import Crew
from tests.linking.conftest import USER_ID

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_waits_behind_a_turn_of_the_page_is_held(server: Linked) -> None:
    hold(server.turn()).answer()
    session = server.session()
    mine = hold(make_turn(session, "mine"))
    waits = server.say("theirs", platform_user_id=STRANGER_ID).message
    revision = fresh(session).revision
    server.unlink()
    assert fresh(waits).held
    assert fresh(session).revision > revision, "open pages are told"
    assert mine.answer() is None
    assert not Turn.objects.live().exists()


def test_what_the_owner_wrote_in_the_page_is_not_held(server: Linked) -> None:
    hold(server.turn()).answer()
    session = server.session()
    mine = hold(make_turn(session, "mine"))
    also_mine = accept(session, "and this").message
    server.unlink()
    assert not fresh(also_mine).held
    assert mine.answer() is not None


async def test_a_child_that_nobody_waits_for_is_stopped_and_its_end_told_to_nobody(
    crew: Crew, server: Linked
) -> None:
    await crew.hire()
    turn = await say(crew, server, run("/words 1\n/sleep 30", wait=0))
    child = await db(lambda: turn_of(only_child(turn.session)))
    await crew.until(child, "text-delta")
    await db(server.unlink)
    child = await crew.ended(child)
    assert (turn.status, child.status) == ("completed", "cancelled")
    assert not await db(tell_parent, child.pk)
    assert await db(lambda: turn.session.turns.count()) == 1


async def test_an_end_that_was_to_be_told_is_told_to_nobody(crew: Crew, server: Linked, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "RULES", tuple(rule for rule in sweep.RULES if rule.name != "untold_ends"))
    await crew.hire()
    turn = await say(crew, server, run("/sleep 0.2", wait=0))
    child = await crew.ended(await db(lambda: turn_of(only_child(turn.session))))
    await db(server.unlink)
    assert not await db(tell_parent, child.pk)
    assert await db(lambda: turn.session.turns.count()) == 1


async def test_a_child_that_the_owner_asked_for_on_the_page_goes_on(crew: Crew, server: Linked) -> None:
    await crew.hire()
    await say(crew, server, "/words 1", USER_ID)
    session = await db(server.session)
    turn = await crew.say(run("/words 1\n/sleep 30", wait=0), session)
    child = await db(lambda: turn_of(only_child(turn.session)))
    await crew.until(child, "text-delta")
    await db(server.unlink)
    assert (await crew.now(child)).stop_requested_at is None


# --- what was not ended then ----------------------------------------------------------------------


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that unlinks is lost as soon as it has committed."""
    monkeypatch.setattr(links, "stop_work", lambda *_: None)


def sweep_rarely() -> int:
    return sum(count for _, count in sweeping.send(sweep.Rule, rarely=True))


@pytest.mark.usefixtures("lost")
def test_the_sweep_ends_what_a_lost_process_did_not(server: Linked, private: Linked) -> None:
    hold(server.turn()).answer()
    mine = hold(make_turn(server.session(), "mine"))
    waits = server.say("theirs", platform_user_id=STRANGER_ID).message
    running, other = server.turn(thread_id="b"), private.turn()
    assert sweep_rarely() == 0, "as long as the link is there"
    server.unlink()
    assert sweep_rarely() == 2
    assert fresh(waits).held
    assert (fresh(running).outcome, mine.turn.stop_requested_at, fresh(other).status) == (
        "stopped",
        None,
        "queued",
    )
    assert sweep_rarely() == 0


@pytest.mark.usefixtures("lost")
async def test_the_sweep_ends_what_others_do_for_it(crew: Crew, server: Linked) -> None:
    await crew.hire()
    turn = await say(crew, server, run("/words 1\n/sleep 30", wait=0))
    child = await db(lambda: turn_of(only_child(turn.session)))
    await crew.until(child, "text-delta")
    await db(server.unlink)
    assert await db(sweep_rarely) == 1
    assert (await crew.ended(child)).status == "cancelled"
