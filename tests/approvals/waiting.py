"""Turns that wait for a person, as rows: written by the engine's own functions, without a worker's loop."""

from __future__ import annotations

import itertools
import uuid
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.db.models import F
from django.test import Client

from approvals.actions import approved_digests, decide
from approvals.decisions import Wish
from approvals.models import Action
from approvals.policy import Policy
from copilot.agent.verdicts import Judge, Run, next_pause
from copilot.models import Session, ToolCall, Turn, User
from copilot.tools.registry import TOOLS
from copilot.turns.pause import Asked, pause_turn
from copilot.turns.progress import CallOutcome, FinishedStep, PlannedCall, begin_call, commit_step, settle_call
from tests.api.conftest import Api
from tests.factories import Holder, make_running

Call = tuple[str, dict[str, Any]]


def notes(*texts: str) -> list[Call]:
    """Return calls that ask, one for each text."""
    return [("demo_note", {"text": text}) for text in texts]


def pause_at(holder: Holder, *calls: Call) -> Action:
    """Have a turn ask for these calls in one step, and pause for those that a person decides."""
    step_of(holder, *calls)
    return pause_again(holder)


def step_of(holder: Holder, *calls: Call) -> None:
    """Have a turn ask for these calls in one step, which says nothing else."""
    holder.begin()
    commit_calls(holder, *calls)


def commit_calls(holder: Holder, *calls: Call) -> None:
    """Commit the step that a turn is in, with these calls."""
    holder.steps += 1
    planned = [PlannedCall(uuid.uuid4(), f"p{n}", name, given) for n, (name, given) in enumerate(calls)]
    holder.write(commit_step, step=FinishedStep(holder.steps, "tool-calls", [], planned))


def pause_again(holder: Holder) -> Action:
    """Pause a turn for what its calls still have to be asked about, whatever else is left undone."""
    verdicts = [judge_of(holder).judge(call) for call in calls_of(holder.turn) if call.is_open]
    asked = next_pause([verdict for verdict in verdicts if isinstance(verdict, Asked)])
    assert asked is not None, "nobody needs to be asked"
    holder.write(pause_turn, session_id=holder.claim.session_id, asked=asked)
    holder.closed = True
    return Action.objects.select_related("user").get(pk=holder.turn.action_id)


def waiting(*calls: Call, session: Session | None = None) -> Action:
    """Return the action of a new turn that waits for a decision about these calls."""
    return pause_at(make_running(session), *(calls or notes("hello")))


def judge_of(holder: Holder) -> Judge:
    """Return what judges the calls of a turn, as its worker makes it."""
    turn = holder.turn
    return Judge(Policy.from_json(turn.settings["policy"]), TOOLS, approved_digests(turn.id))


def run_open_calls(holder: Holder) -> list[dict[str, Any]]:
    """Give each open call of a turn its outcome; return the arguments of those that would run."""
    ran = []
    for call in calls_of(holder.turn):
        if not call.is_open:
            continue
        verdict = judge_of(holder).judge(call)
        if isinstance(verdict, Run):
            if call.state != ToolCall.State.RUNNING:
                holder.write(begin_call, call_id=call.id)
            ran.append(verdict.arguments)
            verdict = CallOutcome(ToolCall.State.DONE, output={"ok": True})
        assert isinstance(verdict, CallOutcome)
        holder.write(settle_call, call_id=call.id, outcome=verdict)
    return ran


def calls_of(turn: Turn) -> list[ToolCall]:
    """Return the calls of a turn, in the model's order."""
    return list(ToolCall.objects.filter(turn=turn).order_by("step", "position"))


def turn_of(action: Action) -> Turn:
    """Return the turn that an action is about, as it is now."""
    return Turn.objects.select_related("session__user").get(pk=action.turn)


def submit(action: Action, wish: Wish, *, user: User | None = None) -> Action:
    """Decide, as the person who is asked unless another is given."""
    return decide(user=user or action.user, action_id=action.pk, wish=wish, surface="web")


def for_each(action: Action, *types: str, **fields: Any) -> list[dict[str, Any]]:
    """Return decisions of these types for the calls of an action in order, the last for all that remain."""
    kinds = itertools.chain(types, itertools.repeat(types[-1]))
    return [
        {"tool_call_id": request["tool_call_id"], "type": kind, **fields}
        for request, kind in zip(action.requests, kinds, strict=False)
    ]


def api_of(user: User) -> Api:
    """Return the REST calls of a person who is logged in."""
    client = Client()
    client.force_login(user)
    return Api(client)


def overdue(action: Action) -> None:
    """Let the time to decide be over."""
    Action.objects.filter(pk=action.pk).update(expires_at=F("created_at") - timedelta(seconds=1))


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows that a decision may touch, with all their columns."""
    models = [*apps.get_app_config("approvals").get_models(), *apps.get_app_config("copilot").get_models()]
    return {model.__name__: sorted(map(repr, model._base_manager.values_list())) for model in models}  # type: ignore[misc]
