"""The model's view of a session: what it is sent, as opposed to what people see.

Each user message exactly once, every tool call with its result, no reasoning of earlier turns, no errors.
How much of an old session is read is bounded, so a turn costs no more as its session grows.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django.db.models import QuerySet

from common.prepared import prepared
from copilot.agent import prompt
from copilot.events.fold import Transcript
from copilot.events.log import read_events
from copilot.models import Message, Session, Step, ToolCall, Turn
from copilot.models.message import open_answer_of
from copilot.models.turn import live_turn_of
from copilot.providers.base import (
    ModelMessage,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

#: Bounds of what is read of earlier turns.
MESSAGES_MAX = 200
CHARACTERS_MAX = 400_000
#: Before this place is all of a session.
EVERYTHING = 2**31 - 1


def earlier_messages(turn: Turn, *, before: int | None) -> tuple[list[ModelMessage], int]:
    """Return the conversation before an answer's place, oldest first, the question to it last.

    The number is where that question begins: the person's messages before it were other turns' to answer, also
    when those turns ended without saying anything. A turn that answers again asks for messages of earlier turns.
    """
    rows = _before(turn.session_id, before)
    view: list[list[ModelMessage]] = []
    size = own = 0
    asked_from = turn.settings.get("asked_from")
    for message in rows:
        if message.turn_id == turn.id and message.after_step is not None:
            continue  # it comes behind a step of this turn
        view.append(_of_user(message) if message.role == Message.Role.USER else _of_assistant(message))
        own += message.turn_id == turn.id or (asked_from is not None and (message.seq or 0) >= asked_from)
        size += sum(len(part.text) for each in view[-1] for part in each.parts if isinstance(part, TextPart))
        if size > CHARACTERS_MAX:
            break
    messages = [message for group in reversed(view) for message in group]
    return messages, len(messages) - sum(len(group) for group in view[:own])


def conversation(session: Session) -> list[ModelMessage]:
    """Return all that is shown of a session by now, oldest first, with what a running turn has said so far."""
    answer = _answer_so_far(session)
    view = [_of_assistant(answer)] if answer else []
    size = 0
    for message in _before(session.pk, EVERYTHING):
        if answer is not None and message.pk == answer.pk:
            continue  # it was finished a moment ago
        view.append(_of_user(message) if message.role == Message.Role.USER else _of_assistant(message))
        size += sum(len(part.text) for each in view[-1] for part in each.parts if isinstance(part, TextPart))
        if size > CHARACTERS_MAX:
            break
    return [message for group in reversed(view) for message in group]


def _answer_so_far(session: Session) -> Message | None:
    """Return the answer that is being written, with the parts that its turn's log shows; not to be saved."""
    turn = live_turn_of(session.pk)
    found = open_answer_of(turn.pk) if turn else []
    if turn is None or not found:
        return None
    answer: Message = found[0]
    answer.parts = Transcript.of(read_events(turn.pk)).parts_of(answer.pk)
    return answer


@prepared
def _before(session_id: Any, seq: Any) -> QuerySet[Message]:
    earlier = Message.objects.settled().shown().filter(session_id=session_id, seq__lt=seq).order_by("-seq")
    columns = ["role", "seq", "parts", "options", "created_at", "state", "turn_id", "after_step", "delivery"]
    return earlier.only(*columns)[:MESSAGES_MAX]


def _of_user(message: Message) -> list[ModelMessage]:
    about = prompt.note(message.created_at, message.options, meanwhile=message.after_step is not None)
    return [ModelMessage("user", (TextPart(prompt.escape(message.text)), TextPart(about)))]


def followups(messages: Iterable[Message]) -> list[ModelMessage]:
    """Return messages that were delivered into the present turn."""
    return [
        replace(view, after_step=message.after_step, interrupts=message.delivery == Message.Delivery.INTERRUPT)
        for message in messages
        for view in _of_user(message)
    ]


def messages_after_step(turn_id: uuid.UUID, step: int) -> list[ModelMessage]:
    """Return what was delivered into a turn behind one of its steps."""
    return followups(_delivered(turn_id).filter(after_step=step))


def anything_after_step(turn_id: uuid.UUID, step: int) -> bool:
    """Whether anything was delivered into a turn behind one of its steps."""
    return _delivered(turn_id).filter(after_step=step).exists()


def delivered_ids(turn_id: uuid.UUID) -> set[uuid.UUID]:
    """Return which messages were delivered into a turn."""
    return set(_delivered(turn_id).values_list("pk", flat=True))


def _delivered(turn_id: uuid.UUID) -> QuerySet[Message]:
    return Message.objects.filter(turn_id=turn_id, after_step__isnull=False).order_by("seq")


def _of_assistant(message: Message) -> list[ModelMessage]:
    """Rebuild an earlier answer from its parts, step by step."""
    view: list[ModelMessage] = []
    for group in _by_step(message.parts):
        said: list[Part] = []
        results: list[Part] = []
        for part in group:
            if part["type"] == "text" and part["text"].strip():
                said.append(TextPart(part["text"]))
            elif part["type"] == "dynamic-tool" and not isinstance(part["input"], str):
                # With a text for arguments it was cut off or no JSON: it never ran, and is not worth repeating.
                said.append(ToolCallPart(part["toolCallId"], part["toolName"], _object(part["input"])))
                results.append(_shown_result(part))
        if said:
            view.append(ModelMessage("assistant", tuple(said)))
        if results:
            view.append(ModelMessage("tool", tuple(results)))
    return view


def _by_step(parts: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: list[list[dict[str, Any]]] = [[]]
    for part in parts:
        if part["type"] == "step-start":
            groups.append([])
        else:
            groups[-1].append(part)
    return groups


def _shown_result(part: dict[str, Any]) -> ToolResultPart:
    if part["state"] == "output-available":
        return ToolResultPart(part["toolCallId"], part["toolName"], result_text(part.get("output")))
    if part["state"] == "input-available":
        return ToolResultPart(part["toolCallId"], part["toolName"], "This call has not ended yet.")
    reason = part.get("errorText") or part.get("approval", {}).get("reason") or "This call was refused."
    reason = prompt.escape(reason)
    if part.get("output"):
        reason += f"\nUntil then it had put out:\n{result_text(part['output'])}"
    return ToolResultPart(part["toolCallId"], part["toolName"], reason, is_error=True)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def result_text(output: Any) -> str:
    """Return a tool's output as the text that a model reads."""
    text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    return prompt.escape(text)


def step_messages(content: list[dict[str, Any]], calls: list[ToolCall]) -> list[ModelMessage]:
    """Return a committed step of the present turn and the results of its calls.

    Reasoning goes back only where its provider signed it.
    """
    said: list[Part] = []
    for item in content:
        if item["type"] == "text":
            said.append(TextPart(item["text"]))
        elif item["type"] == "reasoning" and item.get("extra"):
            said.append(ReasoningPart(item["text"], item.get("extra", {})))
        elif item["type"] == "call":
            said.append(ToolCallPart(item["id"], item["name"], _object(item["arguments"])))
    view = [ModelMessage("assistant", tuple(said))] if said else []
    if calls:
        view.append(ModelMessage("tool", tuple(_result(call) for call in calls)))
    return view


def _result(call: ToolCall) -> ToolResultPart:
    if call.state == ToolCall.State.DONE:
        return ToolResultPart(call.provider_id, call.name, result_text(call.output))
    return ToolResultPart(call.provider_id, call.name, prompt.escape(call.error), is_error=True)


def calls_of(turn_id: uuid.UUID, step: int) -> list[ToolCall]:
    """Return the calls of a step, in the model's order."""
    return list(ToolCall.objects.filter(turn_id=turn_id, step=step).order_by("position"))


def committed_messages(turn: Turn) -> list[ModelMessage]:
    """Return the turn's committed steps, each with what was delivered behind it, up to the last step; its calls
    may still lack an outcome."""
    steps = {step.number: step.content for step in Step.objects.filter(turn=turn)}
    calls: dict[int, list[ToolCall]] = {}
    for call in ToolCall.objects.filter(turn=turn).order_by("position"):
        calls.setdefault(call.step, []).append(call)
    delivered: dict[int | None, list[Message]] = {}
    for message in _delivered(turn.id):
        delivered.setdefault(message.after_step, []).append(message)
    view = followups(delivered.get(0, []))
    for number in range(1, turn.steps):
        view += step_messages(steps[number], calls.get(number, []))
        view += followups(delivered.get(number, []))
    return view
