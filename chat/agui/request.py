"""What a run asks for. A front end sends the whole conversation each time; what counts is the last thing that the
person said in it, and what is answered to what was asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chat.ui.request import ID_MAX, Said, is_id
from common.errors import AppError, Invalid, invalid
from common.text import storable

#: Characters of an interrupt's id; ours are two UUIDs.
_INTERRUPT_MAX = 200
#: What an interrupt's answer may be.
STATUSES = ("resolved", "cancelled")


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to one interrupt; ``payload`` counts only when it was not cancelled."""

    interrupt: str
    cancelled: bool
    payload: Any = None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One ``POST ui/ag-ui``.

    Attributes:
        messages: the conversation as the client has it, unread.
        last: the last message of the person's.
        place: how many messages there are up to that one.
        answers: to interrupts of an earlier run.
    """

    thread: str
    run: str
    messages: list[dict[str, Any]]
    last: Said | None
    place: int
    answers: tuple[Answer, ...] = ()

    @property
    def has_more(self) -> bool:
        """Whether the client has something behind the last message of the person's."""
        return len(self.messages) > self.place


def parse(body: Any) -> RunRequest:
    """Return what is asked for; fields that are not read may be anything.

    Raises:
        Invalid: one that is read is not what it should be.
    """
    if not isinstance(body, dict):
        raise Invalid("The body must be a JSON object.")
    for name in ("threadId", "runId"):
        if not is_id(body.get(name)):
            raise invalid({name: f"must be a text of 1 to {ID_MAX} characters."})
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise invalid({"messages": "must be a list of messages."})
    messages = list(map(_without_nulls, messages))
    place = max((n for n, message in enumerate(messages, 1) if message["role"] == "user"), default=0)
    last = _said(messages[place - 1], _context(body.get("context"))) if place else None
    return RunRequest(body["threadId"], body["runId"], messages, last, place, _answers(body.get("resume")))


def _is_message(value: Any) -> bool:
    """Whether this is a message, as far as it is looked at or told again."""
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in ("id", "role")):
        return False
    calls = value.get("toolCalls")
    if calls is None:
        return True
    return isinstance(calls, list) and all(
        isinstance(call, dict) and isinstance(call.get("id"), str) and isinstance(call.get("function"), dict)
        for call in calls
    )


def _without_nulls(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if value is not None}


def _said(message: dict[str, Any], context: dict[str, str]) -> Said:
    if not is_id(message.get("id")):
        raise _wrong(f"the last one's id must be a text of 1 to {ID_MAX} characters.")
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise _wrong("the last one's content must be a text or a list of parts.")
    texts = [part.get("text") for part in parts if part.get("type") == "text"]
    if not all(isinstance(text, str) for text in texts):
        raise _wrong("a text part must have a text.")
    files = tuple(_file_of(part) for part in parts if part.get("type") != "text")
    return Said(message["id"], "\n".join(map(str, texts)), files, context)


def _file_of(part: dict[str, Any]) -> str:
    """Return the id of an uploaded file, which a part names as its source."""
    source = part.get("source")
    if not isinstance(source, dict) or source.get("type") != "file" or not isinstance(source.get("value"), str):
        raise _wrong(
            "a file goes along by its id: send it to POST /api/v1/files first, then name it as a source of type "
            "file."
        )
    return str(source["value"])


def _context(given: Any) -> dict[str, str]:
    """Return what the front end tells of itself as the page that the person looks at."""
    if given is None:
        return {}
    if not isinstance(given, list) or not all(_is_context(each) for each in given):
        raise invalid({"context": "must be a list of objects with the texts description and value."})
    lines = [storable(f"{each['description']}: {each['value']}") for each in given]
    return {"content": "\n".join(lines)} if lines else {}


def _is_context(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("description", "value"))


def _answers(resume: Any) -> tuple[Answer, ...]:
    if resume is None:
        return ()
    if not isinstance(resume, list) or not all(isinstance(entry, dict) for entry in resume):
        raise invalid({"resume": "must be a list of objects."})
    return tuple(map(_answer, resume))


def _answer(entry: dict[str, Any]) -> Answer:
    interrupt, status = entry.get("interruptId"), entry.get("status")
    if not isinstance(interrupt, str) or len(interrupt) > _INTERRUPT_MAX:
        raise invalid({"resume": "interruptId must be the id of an interrupt."})
    if status not in STATUSES:
        raise invalid({"resume": "status must be resolved or cancelled."})
    return Answer(interrupt, status == "cancelled", entry.get("payload"))


def _wrong(problem: str) -> AppError:
    return invalid({"messages": problem})
