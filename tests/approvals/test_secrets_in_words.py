"""Secrets that stand in words and not in arguments: in problems, in questions, and in what a person answers."""

from __future__ import annotations

import pytest

from approvals.decisions import Wish
from approvals.models import Action
from approvals.objects import action_object
from common.errors import Invalid
from copilot.agent.verdicts import Judge, next_pause
from copilot.models import ToolCall
from copilot.tools.base import Tool
from copilot.turns.finish import failed, finish_held
from copilot.turns.pause import Asked, pause_turn
from copilot.turns.progress import CallOutcome, settle_call
from tests.approvals.test_exact_and_shown import SECRET, everywhere
from tests.approvals.waiting import calls_of, for_each, judge_of, step_of, submit, waiting
from tests.factories import Holder, events_of, make_running

pytestmark = pytest.mark.django_db

#: Told to be one by its name alone.
PASSWORD = "hunter2"


class Login(Tool):
    """A tool whose schema its calls can fail."""

    name = "login"
    description = "Log in."
    idempotent = False
    asks = True
    parameters = {
        "type": "object",
        "properties": {"user": {"type": "string", "maxLength": 5}, "password": {"type": "string", "minLength": 5}},
        "anyOf": [{"required": ["user"]}],
    }


def judge_with(holder: Holder) -> Judge:
    """Return what judges the calls of a turn that is offered the tool."""
    judge = judge_of(holder)
    return Judge(judge.policy, {"login": Login()}, judge.approved)


def asked_to_log_in(**arguments: str) -> tuple[Holder, ToolCall]:
    """Return a turn whose model asked to log in, and the call."""
    holder = make_running()
    step_of(holder, ("login", arguments))
    [call] = calls_of(holder.turn)
    return holder, call


def test_what_is_wrong_with_a_call_is_said_without_its_secrets() -> None:
    holder, call = asked_to_log_in(user="ada", password="pw7x")
    outcome = judge_with(holder).judge(call)
    assert isinstance(outcome, CallOutcome)
    holder.write(settle_call, call_id=call.id, outcome=outcome)
    assert everywhere("pw7x") == []
    assert "Invalid arguments" in ToolCall.objects.get(pk=call.pk).error


def test_what_is_wrong_with_an_edit_is_said_without_its_secrets() -> None:
    holder, call = asked_to_log_in(user="ada", password=PASSWORD)
    verdict = judge_with(holder).judge(call)
    assert isinstance(verdict, Asked)
    holder.write(pause_turn, session_id=holder.claim.session_id, asked=verdict)
    holder.closed = True
    action = Action.objects.select_related("user").get(turn=holder.turn.pk)
    hidden = action.requests[0]["arguments"]["password"]
    with pytest.raises(Invalid) as refusal:
        submit(action, Wish(for_each(action, "edit", arguments={"user": hidden, "password": "x"})))
    assert PASSWORD not in str(refusal.value.body())


def test_a_question_is_shown_without_its_secrets() -> None:
    holder = make_running()
    asked = {"question": f"May I use {SECRET}?", "options": ["no", f"use {SECRET}"]}
    step_of(holder, ("ask_user", asked))
    [call] = calls_of(holder.turn)
    pause = next_pause([judge_of(holder).judge(call)])  # type: ignore[list-item]
    assert pause is not None
    holder.write(pause_turn, session_id=holder.claim.session_id, asked=pause)
    holder.closed = True
    action = Action.objects.get(turn=holder.turn.pk)
    assert SECRET not in str(action_object(action))
    assert everywhere(SECRET) == []
    assert SECRET not in str(events_of(holder.turn))
    action = Action.objects.select_related("user").get(pk=action.pk)
    decided = submit(action, Wish(answer=action.options[1]))
    assert SECRET not in str(action_object(decided))
    assert calls_of(holder.turn)[0].exact_output() == f"use {SECRET}"
    assert everywhere(SECRET) == []


def test_a_hidden_value_that_looks_harmless_by_itself_stays_hidden_in_an_answer() -> None:
    holder = make_running()
    step_of(holder, ("ask_user", {"question": "Is it right?", "options": ["password: hunter2zzz"]}))
    pause = next_pause([judge_of(holder).judge(call) for call in calls_of(holder.turn)])  # type: ignore[misc]
    assert pause is not None
    holder.write(pause_turn, session_id=holder.claim.session_id, asked=pause)
    holder.closed = True
    action = Action.objects.select_related("user").get(turn=holder.turn.pk)
    submit(action, Wish(answer=action.options[0].removeprefix("password: ")))
    assert everywhere("hunter2zzz") == []


@pytest.mark.parametrize("kind", ["reject", "respond"])
def test_what_a_person_answers_is_shown_without_its_secrets(kind: str) -> None:
    action = waiting()
    words = {"reject": "reason", "respond": "text"}[kind]
    decided = submit(action, Wish(for_each(action, kind, **{words: f"use {SECRET}"})))
    assert everywhere(SECRET) == []
    assert SECRET not in str(action_object(decided))
    [call] = ToolCall.objects.filter(turn=action.turn)
    if kind == "respond":
        assert call.exact_output() == f"use {SECRET}"


def test_a_turn_that_fails_does_not_quote_its_secrets() -> None:
    holder = make_running()
    step_of(holder, ("calculator", {"expression": "1"}))
    refusal = failed("unknown", f"The provider did not take {{'text': 'use {SECRET}'}}.")
    holder.write(finish_held, session_id=holder.claim.session_id, ending=refusal)
    assert everywhere(SECRET) == []
