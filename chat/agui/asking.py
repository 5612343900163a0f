"""What a turn asks a person, as interrupts of a run, and what is answered to them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from approvals.decisions import Wish
from approvals.models import Action
from chat.agui.request import Answer
from chat.ui.speech import approval_id
from common.errors import AppError, invalid
from common.ids import as_uuid

Json = dict[str, Any]

_ANSWER = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


# --- asking --------------------------------------------------------------------------------------


def interrupts_of(approval: Json) -> list[Json]:
    """Return an interrupt for each call that a person is asked about, or the one of a question."""
    return [_interrupt(approval, request) for request in approval["requests"]]


def _interrupt(approval: Json, request: Json) -> Json:
    question = "question" in approval
    message = approval["question"] if question else request.get("reason") or approval.get("reason")
    metadata = {"approval": approval["id"], "toolName": request["name"], "arguments": request["arguments"]}
    shown: Json = {
        "id": approval_id(approval["id"], request["tool_call_id"]),
        "reason": "input_required" if question else "tool_call",
        "message": message or f"{request['name']} asks before it runs.",
        "toolCallId": request["tool_call_id"],
        "responseSchema": _ANSWER if question else _schema(request),
        "expiresAt": approval["expires_at"],
        "metadata": metadata,
    }
    if question and approval["options"]:
        metadata["options"] = approval["options"]
    return shown


def _schema(request: Json) -> Json:
    properties: Json = {"approved": {"type": "boolean"}, "reason": {"type": "string"}}
    if "edit" in request["allowed_decisions"]:
        properties["editedArgs"] = request["schema"]
    return {"type": "object", "properties": properties, "required": ["approved"]}


# --- answering -----------------------------------------------------------------------------------


def actions_answered(answers: Iterable[Answer]) -> set[uuid.UUID]:
    """Return the ids of the actions that are spoken of; what is no interrupt of ours speaks of none."""
    known = (as_uuid(answer.interrupt.partition(".")[0]) for answer in answers)
    return {action for action in known if action is not None}


def wish_of(action: Action, answers: Iterable[Answer]) -> Wish:
    """Return what is to become of an action; that each call has its answer is for ``decide`` to check.

    Raises:
        Invalid: an answer is not what was asked for.
    """
    by_interrupt = {answer.interrupt: answer for answer in answers}
    decisions: list[Json] = []
    for request in action.readable_requests:
        call = request["tool_call_id"]
        answer = by_interrupt.get(approval_id(action.pk, call))
        if answer is None:
            continue
        if answer.cancelled:
            decisions.append({"tool_call_id": call, "type": "reject"})
        elif action.kind == Action.Kind.QUESTION:
            return Wish(answer=_words_of(answer.payload))
        else:
            decisions.append({"tool_call_id": call, **_decision(answer.payload)})
    return Wish(decisions=decisions)


def _words_of(payload: Any) -> str:
    words = payload.get("answer") if isinstance(payload, Mapping) else payload
    if not isinstance(words, str):
        raise _wrong("the payload must be the answer, or an object with the text answer.")
    return words


def _decision(payload: Any) -> Json:
    """Return a decision without its call. Only ``true`` approves: a word or a number may be anybody's mistake."""
    given = payload if isinstance(payload, Mapping) else {}
    approved, arguments, reason = given.get("approved"), given.get("editedArgs"), given.get("reason")
    if not isinstance(approved, bool):
        raise _wrong("the payload must be an object in which approved is true or false.")
    if reason is not None and not isinstance(reason, str):
        raise _wrong("a reason must be a text.")
    said = {"reason": reason} if reason else {}
    if not approved:
        return {"type": "reject", **said}
    return (
        {"type": "edit", "arguments": arguments, **said} if arguments is not None else {"type": "approve", **said}
    )


def _wrong(problem: str) -> AppError:
    return invalid({"resume": problem})
