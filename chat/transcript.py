"""What the page of a session shows of its settled messages."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, prefetch_related_objects
from django.utils.safestring import SafeString

from common.markdown import render
from copilot.models import Message, Turn
from copilot.selectors import Branch, MessagePage

#: A tool call's state in a word. The live view words them alike (``parts.js``).
TOOL_STATES = {
    "input-streaming": "running",
    "input-available": "running",
    "approval-requested": "waits for you",
    "approval-responded": "running",
    "output-available": "done",
    "output-error": "failed",
    "output-denied": "refused",
}
#: Why a turn was stopped. The live view words them alike (``live.js``).
STOPPED = {
    "stopped": "Stopped.",
    "approval_expired": "Stopped: nobody answered the approval in time.",
    "parent_stopped": "Stopped together with the chat that started it.",
    "operator": "Stopped by the operator.",
}


@dataclass(frozen=True, slots=True)
class ShownPart:
    """One part of a message, ready for the template."""

    kind: str
    text: str = ""
    html: SafeString | None = None
    name: str = ""
    state: str = ""
    label: str = ""
    input: str = ""
    output: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """One settled message, ready for the template."""

    id: uuid.UUID
    seq: int
    role: str
    state: str
    turn_id: uuid.UUID | None
    client_id: str
    demo: bool
    parts: list[ShownPart]
    error: dict[str, Any] = field(default_factory=dict)
    stopped: str = ""
    branch: ShownBranch | None = None


@dataclass(frozen=True, slots=True)
class ShownBranch:
    """Which of how many, counted from 1, and the messages on either side, where there is one."""

    number: int
    count: int
    previous: uuid.UUID | None
    next: uuid.UUID | None


def shown_messages(page: MessagePage) -> list[ShownMessage]:
    """Prepare settled messages of one session for the template, with one query for their turns."""
    messages = page.messages
    prefetch_related_objects(messages, "turn")
    asked = {message.turn_id: message for message in messages if _is_of_stopped_turn(message)}
    unanswered = _unanswered(asked) if asked else set()
    return [_shown(message, page.branches.get(message.id), cut=message.id in unanswered) for message in messages]


def _unanswered(asked: Mapping[uuid.UUID | None, Message]) -> set[uuid.UUID]:
    """Return the ids of those of ``asked``, by their stopped turn, that have no answer: not by that turn, and by
    none that was asked for later, also when it is only being written."""
    questions = [message.id for message in asked.values()]
    answers = Message.objects.shown().filter(role=Message.Role.ASSISTANT)
    found = answers.filter(Q(turn__in=asked) | Q(parent__in=questions)).values_list("turn_id", "parent")
    answered = {each for pair in found for each in pair}
    return {message.id for turn_id, message in asked.items() if answered.isdisjoint((turn_id, message.id))}


def _is_of_stopped_turn(message: Message) -> bool:
    stopped = message.turn is not None and message.turn.status == Turn.Status.CANCELLED
    return stopped and message.role == Message.Role.USER


def is_demo(model: str) -> bool:
    """Whether a model's answers are canned."""
    return model.startswith("demo/")


def _shown(message: Message, branch: Branch | None, *, cut: bool) -> ShownMessage:
    """``cut``: a question whose turn was stopped before it said anything; only there can the page tell."""
    answer = message.role == Message.Role.ASSISTANT
    cut = cut or (answer and message.state != Message.State.DONE)
    error = message.turn.public_error() if message.turn and cut else None
    cancelled = message.turn is not None and message.turn.status == Turn.Status.CANCELLED
    return ShownMessage(
        id=message.id,
        seq=message.seq or 0,
        role=message.role,
        state=message.state,
        turn_id=message.turn_id,
        client_id=message.client_id or "",
        demo=answer and message.turn is not None and is_demo(message.turn.model),
        parts=_shown_parts(message.parts, markdown=answer),
        error=error if error and not cancelled else {},
        stopped=STOPPED.get(error["code"], "Stopped.") if error and cancelled else "",
        branch=_shown_branch(branch) if branch else None,
    )


def _shown_branch(branch: Branch) -> ShownBranch:
    index, siblings = branch.index, branch.siblings
    return ShownBranch(
        number=index + 1,
        count=branch.count,
        previous=siblings[index - 1] if index else None,
        next=siblings[index + 1] if index + 1 < branch.count else None,
    )


def _shown_parts(parts: Iterable[dict[str, Any]], *, markdown: bool) -> list[ShownPart]:
    shown = []
    for part in parts:
        match part.get("type"):
            case "text" if markdown:
                shown.append(ShownPart("text", html=render(part["text"])))
            case "text":
                shown.append(ShownPart("text", text=part["text"]))
            case "reasoning":
                shown.append(ShownPart("reasoning", text=part["text"]))
            case "dynamic-tool":
                shown.append(_shown_tool(part))
            case "file":
                shown.append(ShownPart("file", name=part.get("filename") or part.get("mediaType") or "file"))
    return shown


def _shown_tool(part: dict[str, Any]) -> ShownPart:
    state = part["state"]
    return ShownPart(
        "tool",
        name=part["toolName"],
        state=state,
        label=TOOL_STATES.get(state, state),
        input=_shown_value(part.get("input")),
        output=_shown_value(part.get("output")),
        error=str(part.get("errorText") or part.get("approval", {}).get("reason") or ""),
    )


def _shown_value(value: object) -> str:
    """Show what a tool got or gave, as ``values.js`` does: text as it is, anything else as indented JSON, nothing
    as nothing. Keys are sorted, since a database may not keep their order."""
    if value is None or value == {}:
        return ""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
