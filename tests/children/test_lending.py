"""Who waits for a child lends it its slot: nobody starves what they wait for, and nobody gets more than theirs."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from common.db import db
from common.errors import Busy
from copilot import sweep
from copilot.agent import children as waiting
from copilot.models import Session, Turn, User
from copilot.turns import claim as claiming
from copilot.turns import dispatch
from copilot.turns.claim import Claim, claim_waiting
from copilot.turns.lending import lend_slot, take_slot_back
from copilot.worker import Worker
from tests.children.asking import outputs_of, run
from tests.factories import fresh, hold, make_session, make_turn, make_user
from tests.harness import Crew
from tests.turns.racing import guarded, meet, race

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LEND_SECONDS", 0.05)


@pytest.fixture
async def one_slot(crew: Crew, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Worker:
    """The whole server: one process with one slot, and one turn a person. A task waits for the one before it."""
    settings.TURNS_PER_USER_MAX = 1
    here = await crew.hire(slots=1)
    thread = asyncio.Semaphore(1)
    runs = set()

    async def run_next() -> None:
        async with thread:
            await here.run_one()

    def start() -> None:
        task = crew.loop.create_task(run_next())
        runs.add(task)
        task.add_done_callback(runs.discard)

    def tell(turn_id: uuid.UUID) -> bool:
        crew.loop.call_soon_threadsafe(start)
        return True

    for module in (dispatch, sweep):
        monkeypatch.setattr(module, "dispatch", tell)
    return here


async def test_a_child_runs_where_there_is_only_the_slot_of_its_parent(one_slot: Worker, crew: Crew) -> None:
    session = await db(make_session)
    prompt = run(run(run("/words 2") + "\n/results") + "\n/results") + "\n/results"
    turn = await crew.say(prompt, session)
    assert [each["status"] for each in await outputs_of(turn)] == ["completed"]
    assert await db(lambda: list(Turn.objects.values_list("status", flat=True))) == ["completed"] * 4


async def test_without_lending_it_would_wait_for_ever(
    one_slot: Worker, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keep(self: Worker, parent: object, session_id: uuid.UUID) -> None:
        return None

    monkeypatch.setattr(Worker, "_lend", keep)
    turn = await crew.say(run("/words 2", wait=1), await db(make_session))
    assert [each["status"] for each in await outputs_of(turn)] == ["running"]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, Busy])
async def test_a_slot_that_cannot_be_lent_now_is_lent_a_moment_later(
    one_slot: Worker, crew: Crew, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    lend, failures = Worker._lend, iter([error("away")])

    async def fail_once(self: Worker, *about: Any) -> None:
        for problem in failures:
            raise problem
        await lend(self, *about)

    monkeypatch.setattr(Worker, "_lend", fail_once)
    turn = await crew.say(run("/words 2"), await db(make_session))
    assert [each["status"] for each in await outputs_of(turn)] == ["completed"]


async def test_children_of_one_step_share_the_slot(one_slot: Worker, crew: Crew) -> None:
    session = await db(make_session)
    most = 0
    claim = Worker._hold

    async def noted(self: Worker, claimed: Claim) -> None:
        nonlocal most
        most = max(most, self._busy + 1)
        await claim(self, claimed)

    one_slot._hold = noted.__get__(one_slot)  # type: ignore[method-assign]
    turn = await crew.say("\n".join(run(f"/words {n}\n/sleep 0.05") for n in (1, 2, 3)), session)
    assert [each["status"] for each in await outputs_of(turn)] == ["completed"] * 3
    assert most == 1


async def test_who_has_stopped_waiting_takes_its_slot_back(crew: Crew) -> None:
    await crew.hire()
    session = await db(make_session)
    turn = await crew.send(run("/words 1\n/sleep 30", wait=0.5) + "\n/sleep 30", session)
    await crew.true(Turn.objects.filter(pk=turn.pk, awaits_child=True).exists)
    [here] = crew.workers
    assert here._busy == 1
    await crew.true(Turn.objects.filter(pk=turn.pk, awaits_child=False).exists)
    assert here._busy == 2


# --- the rows ---------------------------------------------------------------------------------------


def waiting_parent() -> tuple[Claim, Session, Turn]:
    """Return the claim of a turn that waits, and what its person has waiting in another session."""
    user = make_user()
    parent = hold(make_turn(make_session(user)))
    other = make_session(user)
    return parent.claim, other, make_turn(other)


def test_a_turn_that_waits_does_not_count(settings: Any) -> None:
    settings.TURNS_PER_USER_MAX = 1
    claim, _, queued = waiting_parent()
    assert claim_waiting(uuid.uuid4(), 1) == []
    lend_slot(uuid.uuid4(), claim, claim.session_id, run=False)
    assert [each.turn_id for each in claim_waiting(uuid.uuid4(), 1)] == [queued.pk]


def test_a_slot_is_lent_within_the_limit_of_its_person(settings: Any) -> None:
    settings.TURNS_PER_USER_MAX = 1
    claim, session, queued = waiting_parent()
    lent = lend_slot(uuid.uuid4(), claim, session.pk, run=True)
    assert lent is not None
    assert lent.turn_id == queued.pk
    another = make_turn(make_session(session.user))
    assert lend_slot(uuid.uuid4(), claim, another.session_id, run=True) is None
    assert fresh(another).status == "queued"


def test_a_slot_that_was_taken_back_is_lent_no_more(settings: Any) -> None:
    settings.TURNS_PER_USER_MAX = 1
    claim, _, _ = waiting_parent()
    lend_slot(uuid.uuid4(), claim, claim.session_id, run=False)
    take_slot_back(claim)
    assert claim_waiting(uuid.uuid4(), 1) == []


def test_a_turn_that_is_held_no_longer_lends_nothing() -> None:
    claim, session, queued = waiting_parent()
    stale = Claim(claim.turn_id, claim.session_id, claim.user_id, claim.fence - 1, claim.seq)
    assert lend_slot(uuid.uuid4(), stale, session.pk, run=True) is None
    assert fresh(queued).status == "queued"


def test_a_new_claim_begins_without_waiting() -> None:
    claim, _, _ = waiting_parent()
    lend_slot(uuid.uuid4(), claim, claim.session_id, run=False)
    Turn.objects.filter(pk=claim.turn_id).update(status="queued", worker=None, heartbeat_at=None)
    hold(Turn.objects.get(pk=claim.turn_id))
    assert not Turn.objects.get(pk=claim.turn_id).awaits_child


@pytest.mark.scaled
@guarded
def test_two_parents_do_not_lend_the_same_slot(
    guarded: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looks for room before the other has taken it, unless the person's row is locked."""
    settings.TURNS_PER_USER_MAX = 0
    user = make_user()
    parents = [hold(make_turn(make_session(user))).claim for _ in range(2)]
    waiting_turns = [make_turn(make_session(user)) for _ in range(2)]
    settings.TURNS_PER_USER_MAX = 1
    if not guarded:
        monkeypatch.setattr(User.objects, "select_for_update", lambda **how: User.objects.all(), raising=False)
    meet(monkeypatch, claiming, "_slots_left")
    for parent in parents:
        lend_slot(uuid.uuid4(), parent, parent.session_id, run=False)
    pairs = list(zip(parents, waiting_turns, strict=True))
    acts = [
        lambda parent=parent, turn=turn: lend_slot(uuid.uuid4(), parent, turn.session_id, run=True)
        for parent, turn in pairs
    ]
    race(*acts)
    assert Turn.objects.filter(status="running", awaits_child=False).count() == (1 if guarded else 2)
