"""Nothing runs of what was not reviewed: an action that cannot be read, or that is not what its turn waits for."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from approvals import actions
from approvals.decisions import Wish
from approvals.models import Action, AuditEntry
from approvals.signals import StaleAction
from common.errors import Busy, Conflict
from copilot import sweep as sweeping
from copilot.models import ToolCall, Turn
from copilot.turns import answered
from copilot.turns.cancel import request_stop
from tests.approvals.waiting import (
    api_of,
    calls_of,
    everything,
    for_each,
    notes,
    overdue,
    submit,
    turn_of,
    waiting,
)
from tests.factories import accept
from tests.turns.racing import terminal_events

pytestmark = pytest.mark.django_db

SECRET = "ghp_" + "Zk3v9QmX7rT2bNw8LsY4cHd6JfG1pA5eUoIx"


def without(key: str) -> Any:
    """Return damage: a request that lacks something."""
    return lambda action: {
        "requests": [{name: value for name, value in each.items() if name != key} for each in action.requests]
    }


DAMAGE = [
    pytest.param(without("tool_call_id"), id="a call without its id"),
    pytest.param(without("name"), id="a call without its name"),
    pytest.param(without("sha256"), id="a call without its digest"),
    pytest.param(without("allowed_decisions"), id="a call without what is allowed"),
    pytest.param(lambda action: {"requests": ["x"]}, id="a call that is a text"),
    pytest.param(lambda action: {"requests": {"a": 1}}, id="requests that are no list"),
    pytest.param(lambda action: {"requests": []}, id="no requests"),
    pytest.param(lambda action: {"sealed": "broken"}, id="a seal that is broken"),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_action_that_cannot_be_read_ends_its_turn_and_nothing_runs(damage: Any) -> None:
    action = waiting(*notes(f"use {SECRET}"))
    wish = Wish(decisions=for_each(action, "approve"))
    Action.objects.filter(pk=action.pk).update(**damage(action))
    with pytest.raises(Conflict) as refused:
        submit(action, wish)
    assert refused.value.error_code == "stale"
    turn = turn_of(action)
    assert (turn.status, turn.outcome, terminal_events(turn)) == ("failed", "unknown", ["error"])
    error = turn.public_error()
    assert error is not None
    assert (error["retryable"], error["hint"]) == (True, "Send the message again.")
    assert [(call.state, call.sealed) for call in calls_of(turn)] == [("cancelled", "")]
    assert Action.objects.get(pk=action.pk).status == "cancelled"
    assert not AuditEntry.objects.filter(event="decided").exists()
    assert accept(turn.session, "next").turn is not None


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("end", ["stopped", "expired"])
def test_an_action_that_cannot_be_read_can_be_stopped_and_expires(end: str, damage: Any) -> None:
    action = waiting(*notes(f"use {SECRET}"))
    Action.objects.filter(pk=action.pk).update(**damage(action))
    client = api_of(action.user)
    assert client.get("approvals").status_code == client.get(f"sessions/{action.session}").status_code == 200
    if end == "stopped":
        request_stop(user=action.user, session_id=action.session, turn_id=None, reason="stopped")
    else:
        overdue(action)
        assert actions.expire(action.pk)
    turn = turn_of(action)
    assert (turn.status, terminal_events(turn)) == ("cancelled", ["abort"])
    assert [(call.state, call.sealed) for call in calls_of(turn)] == [("cancelled", "")]


def test_nothing_to_decide_cannot_be_decided() -> None:
    """An empty decision about an action that lost its requests would let the turn go on with calls that wait."""
    action = waiting()
    Action.objects.filter(pk=action.pk).update(requests=[])
    with pytest.raises(Conflict):
        submit(action, Wish(decisions=[]))
    assert turn_of(action).status == "failed"


def test_damage_is_what_does_it() -> None:
    """The control: the same decision about the same action, unharmed, lets the turn go on."""
    action = waiting(*notes(f"use {SECRET}"))
    submit(action, Wish(decisions=for_each(action, "approve")))
    assert turn_of(action).status == "queued"


def test_a_wrong_decision_about_a_readable_action_does_not_end_the_turn() -> None:
    """Nobody ends a turn by sending nonsense: what is unreadable is what was stored, not what was sent."""
    action = waiting()
    before, client = everything(), api_of(action.user)
    for body in (
        {"decisions": [{"tool_call_id": None, "type": "approve"}]},
        {"decisions": [{"type": "approve"}]},
        {
            "decisions": [
                {"tool_call_id": action.requests[0]["tool_call_id"], "type": "edit", "arguments": {"text": []}}
            ]
        },
        {
            "decisions": [
                {"tool_call_id": action.requests[0]["tool_call_id"], "type": "approve", "pattern": {"a": 1}}
            ]
        },
        {"decisions": [{"tool_call_id": action.requests[0]["tool_call_id"], "type": "approve", "pattern": []}]},
        {"decisions": for_each(action, "approve"), "scope": ["session"]},
        {"answer": {"a": 1}},
    ):
        response = client.post(f"approvals/{action.pk}/decide", body)
        assert response.status_code == 400, (body, response.json())
    assert turn_of(action).status == "requires_action"
    assert everything()["Action"] == before["Action"]


# --- an action and a turn that do not belong together -----------------------------------------


def test_an_action_that_its_turn_does_not_wait_for_decides_nothing() -> None:
    action = waiting()
    Turn.objects.filter(pk=action.turn).update(action_id=action.session)
    before = everything()
    with pytest.raises(Busy):
        submit(action, Wish(decisions=for_each(action, "approve")))
    assert everything() == before
    assert actions.expire(action.pk) is False


def test_a_turn_whose_calls_do_not_wait_takes_no_decision() -> None:
    action = waiting(*notes("one", "two"))
    ToolCall.objects.filter(pk=action.requests[1]["tool_call_id"]).update(state="running")
    before = everything()
    with pytest.raises(Busy):
        submit(action, Wish(decisions=for_each(action, "approve")))
    assert everything() == before


def test_what_met_something_that_moved_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is stale for a moment is decided by the second look, and nothing of the first stands."""
    action = waiting()
    settle, tries = answered._settle, []

    def stale_once(*args: Any) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise StaleAction
        settle(*args)

    monkeypatch.setattr(answered, "_settle", stale_once)
    submit(action, Wish(decisions=for_each(action, "approve")))
    assert len(tries) == 2
    assert AuditEntry.objects.filter(event="decided").count() == 1


def test_the_sweep_ends_a_turn_whose_action_is_gone_and_the_conversation_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeping, "dispatch", lambda turn_id: True)
    action = waiting()
    Action.objects.filter(pk=action.pk).delete()
    with pytest.raises(Exception, match="no such thing"):
        submit(action, Wish(decisions=for_each(action, "approve")))
    assert sweeping.sweep() == {"waiting_for_nothing": 1}
    turn = turn_of(action)
    assert turn.error is not None
    assert (turn.status, turn.error["retryable"]) == ("failed", True)
    assert accept(turn.session, "next").turn is not None


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("is_over", [False, True])
def test_the_page_of_its_session_opens_all_the_same(is_over: bool, damage: Any) -> None:
    action = waiting(*notes("hello"))
    Action.objects.filter(pk=action.pk).update(**damage(action))
    if is_over:
        overdue(action)
        assert actions.expire(action.pk)
    client = Client()
    client.force_login(action.user)
    assert client.get(reverse("session", args=[action.session])).status_code == 200
