"""What the page of a session shows of a decision that is waited for, until its scripts bring the controls.

Drawn like ``card.js`` draws it, so that nothing jumps when they come.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from approvals.models import Action
from common.redaction_scan import PLACEHOLDER

#: A piece of a text, and whether it stands for a hidden value.
Piece = tuple[str, bool]

_CHOICES = {"approve": "Approve", "edit": "Edit", "respond": "Respond", "reject": "Reject"}
_OPENS = {"edit": "Edit…", "respond": "Respond…", "reject": "Reject with a reason…"}
_SCOPES = {"once": "just this once", "session": "for this chat", "always": "always"}


@dataclass(frozen=True, slots=True)
class ShownAsk:
    """One call that a person is asked about. ``buttons`` are labels and classes, of the last call of a batch."""

    name: str
    description: str = ""
    reason: str = ""
    arguments: list[tuple[str, list[Piece]]] = field(default_factory=list)
    question: str = ""
    options: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)


def shown_asks(action: Action) -> dict[str, ShownAsk]:
    """Return what is asked about each call, by its id."""
    requests = action.readable_requests
    last = len(requests) - 1
    return {
        request["tool_call_id"]: _shown(action, request, is_last=number == last)
        for number, request in enumerate(requests)
    }


def _shown(action: Action, request: dict[str, Any], *, is_last: bool) -> ShownAsk:
    if action.kind == Action.Kind.QUESTION:
        refuse = [("Do not answer", "quiet-button")] if "reject" in request["allowed_decisions"] else []
        return ShownAsk(
            request["name"],
            question=action.question,
            options=action.options,
            buttons=[("Answer", "primary"), *refuse],
        )
    is_batch = len(action.requests) > 1
    types = [kind for kind in _CHOICES if kind in request["allowed_decisions"]]
    may_remember = not is_batch and "approve" in types and len(action.scopes) > 1
    return ShownAsk(
        request["name"],
        description=request.get("description", ""),
        reason=request.get("reason", ""),
        arguments=[(name, _pieces(value)) for name, value in request["arguments"].items()],
        choices=[_CHOICES[kind] for kind in types] if is_batch else [],
        buttons=[] if not is_last else _of_batch(action.requests) if is_batch else _of_one(types),
        scopes=[_SCOPES[scope] for scope in action.scopes if scope in _SCOPES] if may_remember else [],
    )


def _of_one(types: list[str]) -> list[tuple[str, str]]:
    at_once = [("Approve", "primary"), ("Reject", "")]
    shown = [each for each in at_once if each[0].lower() in types]
    return shown + [(_OPENS[kind], "quiet-button") for kind in types if kind in _OPENS]


def _of_batch(requests: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    allowed = [request["allowed_decisions"] for request in requests]
    submit = (f"Submit {len(allowed)} decisions", "primary")
    return [submit, *([("Approve all", "quiet-button")] if all("approve" in each for each in allowed) else [])]


def _pieces(value: Any) -> list[Piece]:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    pieces: list[Piece] = []
    at = 0
    for found in PLACEHOLDER.finditer(text):
        pieces += [(text[at : found.start()], False), (found.group(), True)]
        at = found.end()
    return [piece for piece in [*pieces, (text[at:], False)] if piece[0]]
