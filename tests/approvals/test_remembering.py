"""What a decision asks to remember counts from the next call on, for that person, and only as far as they said."""

from __future__ import annotations

from typing import Any

import pytest

from approvals.decisions import Wish
from approvals.models import Action, AuditEntry, Rule
from approvals.rules import revoke
from common.db import db
from common.errors import Invalid
from copilot.models import Session
from copilot.turns.sessions import create_session
from tests.approvals.asking import People, note, written
from tests.approvals.waiting import (
    everything,
    for_each,
    notes,
    pause_at,
    run_open_calls,
    step_of,
    submit,
    turn_of,
    waiting,
)
from tests.factories import Holder, hold, make_session, make_turn
from tests.harness import Crew

rows = pytest.mark.django_db
real = pytest.mark.django_db(transaction=True)


def approve_for(action: Action, scope: str, **fields: Any) -> None:
    """Approve all of it for longer than once."""
    submit(action, Wish(decisions=for_each(action, "approve", **fields), scope=scope))


def asks(session: Session, text: str = "hello", **over: Any) -> bool:
    """Whether a note in a new turn of this session is asked about."""
    holder = hold(make_turn(session, **over))
    step_of(holder, *notes(text))
    ran = run_unasked(holder)
    holder.finish()
    return ran == []


def run_unasked(holder: Holder) -> list[dict[str, Any]]:
    """Run the calls of a turn that nobody needs to be asked about."""
    try:
        return run_open_calls(holder)
    except AssertionError:
        return []


# --- how far it goes ------------------------------------------------------------------------


@rows
@pytest.mark.parametrize(
    ("scope", "same", "other", "stranger"),
    [("once", True, True, True), ("session", False, True, True), ("always", False, False, True)],
)
def test_a_scope_counts_where_it_says(scope: str, same: bool, other: bool, stranger: bool) -> None:
    action = waiting()
    approve_for(action, scope)
    session = turn_of(action).session
    holder = hold(turn_of(action))
    run_open_calls(holder)
    holder.answer()
    assert asks(session) is same
    assert asks(create_session(user=session.user)) is other
    assert asks(make_session()) is stranger


@real
@pytest.mark.parametrize("scope", ["session", "always"])
async def test_it_counts_for_later_calls_of_the_same_turn(crew: Crew, people: People, scope: str) -> None:
    await crew.hire()
    text = '/tool demo_note {"text": "one"}\n/step\n/tool demo_note {"text": "two"}\n/words 1'
    turn, action = await people.ask(text)
    await people.decide(action, "approve", scope=scope)
    turn = await crew.ended(turn)
    assert (turn.status, written(turn.session_id)) == ("completed", ["one", "two"])
    assert await db(Action.objects.filter(turn=turn.pk).count) == 1


@rows
def test_a_turn_that_was_accepted_before_keeps_its_own_policy() -> None:
    """Only the turn that was decided about learns of the rule before its end."""
    user = make_session().user
    waits, other = create_session(user=user), create_session(user=user)
    holder = hold(make_turn(other))
    action = waiting(session=waits)
    approve_for(action, "always")
    assert pause_at(holder, *notes("hello")).status == "pending"


@rows
def test_a_rule_that_was_revoked_counts_no_more() -> None:
    action = waiting()
    approve_for(action, "always")
    user = action.user
    session = create_session(user=user)
    holder = hold(turn_of(action))
    run_open_calls(holder)
    holder.answer()
    assert asks(session) is False
    revoke(user=user, rule_id=Rule.objects.get().pk, surface="web")
    assert asks(session) is True


# --- what does not beat it ------------------------------------------------------------------


@rows
@pytest.mark.parametrize(
    ("setting", "outcome"), [("APPROVALS_ASK", "asked"), ("APPROVALS_DENY", "denied"), ("TEXT_CHECKERS", "ran")]
)
def test_what_the_operator_asks_about_or_denies_is_not_remembered_away(
    setting: str, outcome: str, settings: Any
) -> None:
    action = waiting()
    approve_for(action, "always")
    setattr(settings, setting, ["demo_note"] if setting.startswith("APPROVALS") else [])
    session = create_session(user=action.user)
    run_open_calls(hold(turn_of(action)))
    holder = hold(make_turn(session))
    step_of(holder, *notes("again"))
    assert (run_unasked(holder) != []) is (outcome == "ran")


@rows
def test_nothing_that_is_remembered_counts_in_a_temporary_session() -> None:
    action = waiting()
    approve_for(action, "always")
    run_open_calls(hold(turn_of(action)))
    assert asks(create_session(user=action.user, temporary=True)) is True


# --- patterns -------------------------------------------------------------------------------


@rows
def test_a_pattern_narrows_it_to_calls_like_the_one_that_was_approved() -> None:
    action = waiting(*notes("buy milk"))
    approve_for(action, "session", pattern={"text": "buy *"})
    session = turn_of(action).session
    holder = hold(turn_of(action))
    run_open_calls(holder)
    holder.answer()
    assert [asks(session, text) for text in ("buy bread", "sell bread", "buy it; sell it")] == [False, True, True]


@rows
@pytest.mark.parametrize("pattern", [{"text": "sell *"}, {"other": "*"}, {"text": 1}, {"text": "x" * 2000}])
def test_a_pattern_that_is_not_of_this_call_refuses_the_decision(pattern: dict[str, Any]) -> None:
    action = waiting(*notes("buy milk"))
    before = everything()
    with pytest.raises(Invalid):
        approve_for(action, "session", pattern=pattern)
    assert everything() == before


# --- only what was allowed ------------------------------------------------------------------


@rows
@pytest.mark.parametrize("kind", ["reject", "respond"])
def test_nothing_is_remembered_of_a_call_that_was_not_allowed(kind: str) -> None:
    action = waiting()
    extra = {"text": "No."} if kind == "respond" else {}
    submit(action, Wish(decisions=for_each(action, kind, **extra), scope="session"))
    assert not Rule.objects.exists()


@rows
def test_of_a_mixed_batch_only_the_allowed_tools_are_remembered() -> None:
    action = waiting(*notes("one", "two"))
    submit(action, Wish(decisions=for_each(action, "reject", "approve"), scope="session"))
    assert [rule.tool for rule in Rule.objects.all()] == ["demo_note"]
    assert AuditEntry.objects.filter(event="rule_added").count() == 1


@rows
def test_a_question_cannot_be_remembered() -> None:
    action = waiting(("ask_user", {"question": "Which one?"}))
    with pytest.raises(Invalid) as refused:
        submit(action, Wish(answer="this", scope="always"))
    assert refused.value.error_code == "not_allowed"


@rows
def test_a_temporary_session_stays_so_over_a_decision_and_remembers_nothing() -> None:
    action = waiting(session=make_session(temporary=True))
    assert action.scopes == ["once"]
    for scope in ("session", "always"):
        with pytest.raises(Invalid) as refused:
            approve_for(action, scope)
        assert refused.value.error_code == "not_allowed"
    submit(action, Wish(decisions=for_each(action, "approve")))
    holder = hold(turn_of(action))
    run_open_calls(holder)
    holder.answer()
    session = turn_of(action).session
    assert (session.temporary, session.title) == (True, "")
    assert not Rule.objects.exists()


@rows
def test_a_rule_is_bound_to_the_full_name_of_the_tool() -> None:
    action = waiting()
    approve_for(action, "always")
    session = create_session(user=action.user)
    run_open_calls(hold(turn_of(action)))
    holder = hold(make_turn(session))
    assert pause_at(holder, ("ask_user", {"question": "Which one?"})).kind == "ask_user_question"
    assert Rule.objects.get().tool == "demo_note"


@real
async def test_the_name_of_who_remembered_it_is_in_the_audit_log(crew: Crew, people: People) -> None:
    await crew.hire()
    turn, action = await people.ask(note("hello"))
    await people.decide(action, "approve", scope="session")
    await crew.ended(turn)
    entry = await db(AuditEntry.objects.get, event="rule_added")
    assert (entry.actor, entry.action, entry.tool) == (turn.session.user.get_username(), action.pk, "demo_note")
    assert entry.scope == "session"
