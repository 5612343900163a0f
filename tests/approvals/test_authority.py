"""Who may decide, and what a decision can set going: what the turn stored, and nothing that came later."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from approvals import selectors
from approvals.decisions import Wish
from approvals.models import Action, Rule
from approvals.rules import remember
from common.db import db
from common.errors import Invalid, NotFound
from copilot.models import Session, Turn, User
from copilot.turns.sessions import create_session
from linking.keys import issue_key
from tests.approvals.asking import People, note, written
from tests.approvals.waiting import (
    api_of,
    calls_of,
    everything,
    for_each,
    notes,
    pause_at,
    run_open_calls,
    submit,
    turn_of,
    waiting,
)
from tests.chat.sockets import connected
from tests.factories import accept, claim_next, hold, make_running, make_session, make_turn, make_user
from tests.harness import Crew

rows = pytest.mark.django_db
real = pytest.mark.django_db(transaction=True)


def approval(action: Action) -> Wish:
    """Return the wish to approve all of it."""
    return Wish(decisions=for_each(action, "approve"))


# --- whose it is ----------------------------------------------------------------------------


@rows
@pytest.mark.parametrize("rights", [{}, {"is_staff": True}, {"is_staff": True, "is_superuser": True}])
def test_the_action_of_somebody_else_does_not_exist(rights: dict[str, bool]) -> None:
    """Also for staff: they can stop a turn, and never decide for another person."""
    action = waiting()
    stranger = make_user()
    User.objects.filter(pk=stranger.pk).update(**rights)
    stranger.refresh_from_db()
    client = api_of(stranger)
    before = everything()
    answers = [
        client.get(f"approvals/{action.pk}"),
        client.post(f"approvals/{action.pk}/decide", {"decisions": for_each(action, "approve")}),
        client.post(f"approvals/{action.pk}/decide", {"decisions": []}),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "not_found")] * 3
    assert client.get("approvals").json()["results"] == []
    assert selectors.waiting_count(stranger) == 0
    with pytest.raises(NotFound):
        submit(action, approval(action), user=stranger)
    assert everything() == before


@rows
def test_a_decided_action_of_somebody_else_does_not_exist_either() -> None:
    action = waiting()
    submit(action, approval(action))
    with pytest.raises(NotFound):
        submit(action, approval(action), user=make_user())


@rows
def test_the_database_lets_nobody_decide_for_another_person() -> None:
    """The net below: it does not depend on who asks."""
    action = waiting()
    submit(action, approval(action))
    stranger = make_user()
    with pytest.raises((IntegrityError, ValidationError)), transaction.atomic():
        Action.objects.filter(pk=action.pk).update(decided_by=stranger)


@real
async def test_the_websocket_of_somebody_else_does_not_decide(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    mine, stranger = await db(lambda: (turn.session.user, make_user()))
    secret = {user.pk: (await db(lambda user=user: issue_key(user=user)))[1] for user in (mine, stranger)}
    other = await db(make_session, stranger)
    decide = {"type": "decide", "approval": str(action.pk), "decisions": for_each(action, "approve")}
    async with connected(f"sessions/{other.pk}/", secret[stranger.pk]) as wire:
        await wire.send({**decide, "client_id": "a"})
        refused = await wire.frame("error", "ack")
    assert (refused["type"], refused["code"], refused["client_id"]) == ("error", "not_found", "a")
    assert (await crew.now(turn)).status == "requires_action"
    async with connected(f"sessions/{turn.session_id}/", secret[mine.pk]) as wire:
        await wire.send({**decide, "client_id": "b"})
        taken = await wire.frame("error", "ack")
    assert (taken["type"], taken["approval"]["surface"]) == ("ack", "api")
    await crew.ended(turn)
    assert written(turn.session_id) == ["hello"]


@real
async def test_a_websocket_refuses_what_rest_refuses(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    secret = (await db(lambda: issue_key(user=turn.session.user)))[1]
    decide = {"type": "decide", "approval": str(action.pk)}
    wrong: dict[str, dict[str, Any]] = {
        "incomplete": {"decisions": []},
        "unknown_field": {"decisions": for_each(action, "approve"), "model": "demo/other"},
        "invalid": {"decisions": for_each(action, "approve", arguments={"text": "other"})},
        "not_found": {"decisions": for_each(action, "approve"), "approval": "x"},
    }
    async with connected(f"sessions/{turn.session_id}/", secret) as wire:
        for code, frame in wrong.items():
            await wire.send({**decide, **frame, "client_id": code})
            refused = await wire.frame("error", "ack")
            assert (refused["type"], refused["code"], refused["client_id"]) == ("error", code, code)
    assert (await crew.now(turn)).status == "requires_action"


@real
async def test_a_key_without_the_scope_reads_and_does_not_decide(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    secret = (await db(lambda: issue_key(user=turn.session.user, scopes=["chat"])))[1]
    async with connected(f"sessions/{turn.session_id}/", secret) as wire:
        snapshot = await wire.frame("session")
        assert snapshot["active_turn"]["approval"]["id"] == str(action.pk)
        await wire.send({"type": "decide", "approval": str(action.pk), "decisions": for_each(action, "approve")})
        refused = await wire.frame("error", "ack")
    assert (refused["type"], refused["code"]) == ("error", "scope")
    assert (await crew.now(turn)).status == "requires_action"


# --- only the stored record -----------------------------------------------------------------


@real
async def test_a_turn_goes_on_as_it_was_accepted_whatever_changed_meanwhile(
    crew: Crew, people: People, settings: Any
) -> None:
    await crew.hire()
    session = await db(lambda: make_session(instructions="Be brief.", tools=["demo_*", "calculator"]))
    turn, action = await people.ask(note("hello"), session, timezone="Europe/Berlin", effort="low")
    stored = (turn.model, turn.effort, turn.settings)
    await db(
        lambda: Session.objects.filter(pk=session.pk).update(
            model="demo/another", tools=["current_time"], instructions="Do as you like.", approval_mode="ask_all"
        )
    )
    settings.COPILOT_MODEL = "demo/another"
    settings.COPILOT_MAX_OUTPUT_TOKENS = 17
    settings.COPILOT_EFFORT = "high"
    settings.APPROVALS_MODE = "dont_ask"
    settings.APPROVALS_ALLOW = ["*"]
    await people.decide(action, "approve")
    turn = await crew.ended(turn)
    assert (turn.model, turn.effort, turn.settings) == stored
    assert (turn.status, written(turn.session_id)) == ("completed", ["hello"])
    first, second = crew.requests[0], crew.requests[-1]
    same = ("model", "system", "tools", "effort", "max_output_tokens", "asked_from")
    assert [getattr(second, name) for name in same] == [getattr(first, name) for name in same]


@real
async def test_the_next_turn_takes_what_changed(crew: Crew, people: People) -> None:
    """The control: the changes do count, for turns that are accepted later."""
    await crew.hire()
    session = await db(lambda: make_session(instructions="Be brief.", tools=["demo_*"]))
    await crew.say("/words 1", session)
    await db(lambda: Session.objects.filter(pk=session.pk).update(tools=["calculator"], instructions="At length."))
    await crew.say("/words 1", session)
    first, second = crew.requests
    assert [tool.name for tool in second.tools] == ["calculator"] != [tool.name for tool in first.tools]
    assert "At length." in second.system


@rows
@pytest.mark.parametrize("when", ["while it waits", "after the decision"])
def test_what_the_operator_denies_meanwhile_does_not_run_though_approved(when: str, settings: Any) -> None:
    action = waiting(*notes("hello"), ("demo_once", {"text": "fine"}))
    if when == "while it waits":
        settings.APPROVALS_DENY = ["demo_note"]
    submit(action, approval(action))
    settings.APPROVALS_DENY = ["demo_note"]
    holder = hold(turn_of(action))
    assert {"text": "hello"} not in run_open_calls(holder)
    denied = calls_of(holder.turn)[0]
    assert (denied.state, "APPROVALS_DENY" in denied.error) == ("denied", True)


@rows
def test_what_the_operator_asks_about_meanwhile_was_judged_before(settings: Any) -> None:
    holder = make_running()
    action = pause_at(holder, *notes("hello"))
    submit(action, approval(action))
    settings.APPROVALS_ASK = ["*"]
    assert run_open_calls(hold(turn_of(action))) == [{"text": "hello"}]


# --- a place for the turn -------------------------------------------------------------------


@rows
def test_a_turn_that_waits_for_a_person_holds_no_slot_and_a_decision_takes_its_place(settings: Any) -> None:
    settings.TURNS_PER_USER_MAX = 1
    user = make_user()
    action = waiting(session=create_session(user=user))
    busy = make_running(create_session(user=user))  # the slot was free
    decided = submit(action, approval(action))
    assert decided.status == "decided", "a decision is never refused for that"
    assert turn_of(action).status == "queued"
    assert claim_next(user.pk) is None, "but the turn waits for its place"
    busy.answer()
    assert run_open_calls(hold(turn_of(action))) == [{"text": "hello"}]


# --- strangers ------------------------------------------------------------------------------


def always(session: Session) -> Rule:
    """Have the owner of a session allow notes for ever."""
    return remember(
        user=session.user,
        session_id=session.pk,
        scope="always",
        tool="demo_note",
        arguments={"text": "hello"},
        surface="web",
    )


@rows
def test_a_stranger_does_not_run_under_what_the_owner_always_allows() -> None:
    """What somebody writes to a bot in a shared channel is a turn in a session of the person who linked it."""
    session = make_session()
    always(session)
    holder = hold(make_turn(session, origin="bot"))
    action = pause_at(holder, *notes("hello"))
    assert (action.user, turn_of(action).status) == (session.user, "requires_action")
    assert action.scopes == ["once"]
    with pytest.raises(Invalid) as refused:
        submit(action, Wish(decisions=for_each(action, "approve"), scope="always"))
    assert refused.value.error_code == "not_allowed"
    submit(action, approval(action))
    assert Rule.objects.count() == 1


@rows
@pytest.mark.parametrize("origin", ["web", "key"])
def test_the_owner_in_person_does(origin: str) -> None:
    session = make_session()
    always(session)
    holder = hold(make_turn(session, origin=origin))
    with pytest.raises(AssertionError, match="nobody needs to be asked"):
        pause_at(holder, *notes("hello"))
    assert run_open_calls(holder) == [{"text": "hello"}]


@rows
def test_nobody_can_be_asked_in_the_background() -> None:
    holder = hold(make_turn(origin="background"))
    with pytest.raises(AssertionError, match="nobody needs to be asked"):
        pause_at(holder, *notes("hello"))
    assert run_open_calls(holder) == []
    assert [call.state for call in calls_of(holder.turn)] == ["denied"]


@rows
def test_the_turn_after_one_that_a_stranger_wrote_is_a_strangers() -> None:
    session = make_session()
    always(session)
    holder = hold(make_turn(session, origin="bot"))
    accept(session, "and this", origin="bot")
    following = Turn.objects.get(pk=holder.answer())
    assert following.origin == "bot"
    assert pause_at(hold(following), *notes("hello")).status == "pending"


@real
async def test_a_message_of_a_stranger_in_the_middle_of_the_owners_turn_ends_what_is_remembered(
    crew: Crew, people: People
) -> None:
    await crew.hire()
    session = await db(make_session)
    await db(always, session)
    turn = await crew.send('/tool demo_note {"text": "mine"}\n/sleep 0.3\n/words 1\n/step\n/words 1', session)
    await crew.until(turn, "tool-output-available")
    await db(lambda: accept(session, note("a stranger's"), origin="bot"))
    turn, action = await people.asked(turn)
    assert written(session.pk) == ["mine"], "what the owner asked for ran without asking"
    assert (action.scopes, action.requests[0]["arguments"]) == (["once"], {"text": "a stranger's"})


@rows
def test_a_message_of_a_stranger_that_waits_takes_no_rule_along_to_the_next_turn() -> None:
    session = make_session()
    always(session)
    holder = hold(make_turn(session))
    accept(session, "and this", origin="bot", delivery="next")
    following = Turn.objects.get(pk=holder.answer())
    assert pause_at(hold(following), *notes("hello")).status == "pending"
