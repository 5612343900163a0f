"""How an action was decided, in words for people. ``outcome.js`` words it alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from approvals.models import Action
from approvals.objects import action_object

VERBS = {
    "approve": "Approved",
    "edit": "Approved with changes",
    "reject": "Rejected",
    "respond": "Answered",
}
SURFACES = {
    "web": "on the web",
    "api": "over the API",
}
REMEMBERED = {
    "session": "allowed for this chat",
    "always": "always allowed",
}
UNDECIDED = {
    "cancelled": "Not decided: stopped before",
    "tool_approval": "Nobody decided in time",
    "ask_user_question": "Nobody answered in time",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call that a person was asked about.

    ``text`` says what was decided, by whom and where; ``at`` is the moment as the API writes it, None when nobody
    decided. ``action`` is the id of what was asked.
    """

    action: str
    text: str
    at: str | None = None
    moment: datetime | None = None
    remembered: str = ""
    #: The arguments that were asked about, when others were approved.
    asked_for: dict[str, Any] | None = None
    #: What was asked, unless it was about a call of a tool.
    question: str = ""


def outcomes_of(actions: Iterable[Action]) -> dict[str, Outcome]:
    """Return what became of each call, by its id; of a call that was asked about twice, the later."""
    return {
        request["tool_call_id"]: _outcome(action, request)
        for action in actions
        if action.status != Action.Status.PENDING
        for request in action.readable_requests
    }


def _outcome(action: Action, request: dict[str, Any]) -> Outcome:
    question = action.question if action.kind == Action.Kind.QUESTION else ""
    shown = action_object(action)
    decided = {each["tool_call_id"]: each for each in shown.get("decisions", ())}
    decision = decided.get(request["tool_call_id"])
    if decision is None:
        about = action.status if action.status in UNDECIDED else action.kind
        return Outcome(shown["id"], UNDECIDED[about], question=question)
    kind = decision["type"]
    where = SURFACES.get(action.surface, f"via {action.surface}")
    return Outcome(
        action=shown["id"],
        text=f"{VERBS.get(kind, kind)} by {shown['decided_by'] or 'somebody'} {where}",
        at=shown["decided_at"],
        moment=action.resolved_at,
        remembered=REMEMBERED.get(action.scope, "") if kind in ("approve", "edit") else "",
        asked_for=request["arguments"] if kind == "edit" else None,
        question=question,
    )
