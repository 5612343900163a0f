"""What a turn may do that another one asked for: never more than that one, whatever either says."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace
from typing import Any

import pytest

from approvals.policy import MODES, Layer, Policy, Remembered
from common.db import db
from copilot.models import Session, Turn
from copilot.turns import children
from copilot.turns.bounds import fewer_tools
from copilot.turns.branches import regenerate
from copilot.turns.sessions import update_session
from copilot.turns.submit import submit_message
from tests.factories import accept, hold, make_session
from tests.harness import Crew

STRICTNESS = ("run", "ask", "refuse")
OPERATORS = [
    Layer(name="operator"),
    Layer(name="operator", allow=("shell",)),
    Layer(name="operator", deny=("sh*",)),
    Layer(name="operator", ask=("shell",), allow=("*",)),
]
PERSONS = [{}, {"in_person": True, "rules": (Remembered.of("shell"),)}, {"can_ask": False}]
SESSIONS = [Layer(name="session"), Layer(name="session", ask=("*",))]


def policies() -> list[Policy]:
    return [
        Policy(enabled=enabled, mode=mode, operator=operator, session=session, **person)
        for enabled, mode, operator, session, person in itertools.product(
            (True, False), MODES, OPERATORS, SESSIONS, PERSONS
        )
    ]


def strictness(policy: Policy, *, asks: bool) -> int:
    return STRICTNESS.index(policy.judge("shell", {"command": "ls"}, asks=asks).outcome)


def test_nothing_within_a_bound_is_judged_more_mildly_than_by_either() -> None:
    everything = policies()
    stored = [(each, [strictness(each, asks=asks) for asks in (True, False)]) for each in everything]
    for (one, mine), (other, theirs) in itertools.product(stored, stored):
        both = [strictness(one.within(other), asks=asks) for asks in (True, False)]
        assert all(verdict >= max(pair) for verdict, *pair in zip(both, mine, theirs, strict=True)), (one, other)


def test_a_policy_within_itself_is_itself() -> None:
    for each in policies():
        assert each.within(each) == each


def test_it_comes_back_from_its_json_as_it_was() -> None:
    bound = Policy(tightening=(Layer(name="skill", deny=("x",)),), in_person=True, rules=(Remembered.of("y"),))
    within = replace(bound, mode="dont_ask").within(bound)
    assert Policy.from_json(within.as_json()) == within
    assert within.tightening == bound.tightening


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        pytest.param(None, None, None, id="all"),
        pytest.param(None, ["calc*"], ["calc*"], id="one-side"),
        pytest.param(["calc*"], ["calc*"], ["calc*"], id="the-same"),
        pytest.param(["calc*", "todo"], ["*ator"], ["calculator"], id="what-both-offer"),
        pytest.param(["ask_user"], ["calculator"], [], id="nothing"),
    ],
)
def test_tools_are_those_that_both_offer(one: Any, other: Any, both: Any) -> None:
    assert fewer_tools(one, other) == both


# --- turns -------------------------------------------------------------------------------------------


def asked_turn(session: Session, **prompt: Any) -> tuple[Turn, Turn]:
    """Have an agent send a prompt to a child; return its turn and the child's."""
    parent = hold(accept(session).turn)  # type: ignore[arg-type]
    sent = children.send_prompt(parent.claim, uuid.uuid4(), prompt="hello", **prompt)
    assert sent is not None
    return parent.turn, Turn.objects.get(session=sent.session)


@pytest.mark.django_db
def test_a_child_whose_session_was_opened_up_is_still_bound() -> None:
    """A person widens the child's session; the next prompt of its agent has no use of that."""
    session = make_session(tools=["run_subsession", "calculator"], approval_mode="ask_all")
    parent, child = asked_turn(session)
    hold(child).answer()
    update_session(user=session.user, session_id=child.session_id, tools=["*"], approval_mode="default")
    claim = children.Claim(parent.pk, session.pk, session.user_id, parent.fence, 0)
    again = children.send_prompt(claim, uuid.uuid4(), prompt="again", child=str(child.session_id))
    assert again is not None
    turn = Turn.objects.filter(session=child.session_id).latest("created_at")
    assert sorted(turn.settings["tools"]) == ["calculator", "run_subsession"]
    assert turn.settings["policy"]["session"]["ask"] == ["*"]


@pytest.mark.django_db
def test_a_person_who_writes_to_a_child_is_nobodys_child() -> None:
    session = make_session()
    _, child = asked_turn(session)
    hold(child).answer()
    turn = submit_message(user=session.user, session_id=child.session_id, text="and you?").turn
    assert turn is not None
    assert (turn.parent_id, turn.owed) == (None, False)
    assert turn.settings["policy"]["in_person"]


@pytest.mark.django_db
def test_a_person_who_takes_a_prompt_along_is_nobodys_child() -> None:
    """The agent asks after its prompt, which by now is answered in a turn that the person wants for themselves."""
    session = make_session()
    parent, child = asked_turn(session)
    hold(child).answer()
    turn = submit_message(user=session.user, session_id=child.session_id, text="and you?").turn
    assert turn is not None
    claim = children.Claim(parent.pk, session.pk, session.user_id, parent.fence, 0)
    children.adopt(claim, turn.pk)
    turn.refresh_from_db()
    assert turn.parent_id is None


@pytest.mark.django_db
def test_another_answer_that_a_person_asks_for_is_bound_and_ends_with_nobody() -> None:
    session = make_session(approval_mode="ask_all")
    _, child = asked_turn(session)
    hold(child).answer()
    update_session(user=session.user, session_id=child.session_id, approval_mode="default")
    turn = regenerate(user=session.user, session_id=child.session_id).turn
    assert turn is not None
    assert turn.parent_id is None
    assert turn.settings["policy"]["session"]["ask"] == ["*"]


@pytest.mark.django_db
def test_an_operator_who_asks_for_more_meanwhile_is_heard(settings: Any) -> None:
    session = make_session()
    parent = hold(accept(session).turn)  # type: ignore[arg-type]
    settings.APPROVALS_ASK = ["calculator"]
    sent = children.send_prompt(parent.claim, uuid.uuid4(), prompt="hello")
    assert sent is not None
    policy = Policy.from_json(Turn.objects.get(session=sent.session).settings["policy"])
    assert policy.judge("calculator", {}, asks=False).outcome == "ask"


@pytest.mark.django_db
def test_a_call_that_is_run_again_sends_nothing_again() -> None:
    session = make_session()
    parent = hold(accept(session).turn)  # type: ignore[arg-type]
    call = uuid.uuid4()
    first = children.send_prompt(parent.claim, call, prompt="hello")
    assert children.send_prompt(parent.claim, call, prompt="hello") == first
    assert first is not None
    hold(Turn.objects.get(session=first.session)).answer()
    assert children.send_prompt(parent.claim, call, prompt="hello") == first
    assert Session.objects.filter(parent=session).count() == 1
    assert Turn.objects.filter(session__parent=session).count() == 1


@pytest.mark.django_db
def test_a_turn_that_is_held_no_longer_sends_nothing() -> None:
    session = make_session()
    parent = hold(accept(session).turn)  # type: ignore[arg-type]
    parent.answer()
    assert children.send_prompt(parent.claim, uuid.uuid4(), prompt="hello") is None
    assert not Session.objects.filter(parent=session).exists()


@pytest.mark.django_db(transaction=True)
async def test_a_prompt_that_is_delivered_into_the_turn_of_a_person_bounds_that(crew: Crew) -> None:
    """The person's message interrupts, and takes along what its agent sent before."""
    session = await db(make_session, tools=["run_subsession", "calculator"], approval_mode="ask_all")
    parent, child = await db(asked_turn, session)
    await db(lambda: hold(child).answer())
    home = await db(
        update_session, user=session.user, session_id=child.session_id, tools=None, approval_mode="default"
    )
    await crew.hire()
    turn = await crew.send("/words 1000 20", home)
    await crew.until(turn, "text-delta")
    claim = children.Claim(parent.pk, session.pk, session.user_id, parent.fence, 0)
    prompt = '/tool current_time {}\n/tool calculator {"expression": "1"}\n/words 1'
    await db(children.send_prompt, claim, uuid.uuid4(), prompt="x", child=str(home.pk))
    await db(lambda: submit_message(user=session.user, session_id=home.pk, text=prompt, delivery="interrupt"))
    await crew.until(turn, "data-approval")
    calls = await db(lambda: {call.name: call.state for call in turn.tool_calls.all()})
    assert calls == {"current_time": "error", "calculator": "waiting"}
