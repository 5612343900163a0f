"""What a front end asks for. It sends the whole conversation each time; only its end is read.

The conversation itself is the session's: nothing that a request says of what was said before is believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import AppError, Invalid, invalid
from common.text import storable
from copilot.files import URL

#: Characters of the ids that a front end chooses, for chats and messages.
ID_MAX = 128
#: Bytes of a request. Decoding more would hold up everybody; a front end has ``prepareSendMessagesRequest``.
BODY_MAX = 4 * 1024 * 1024
TRIGGERS = ("submit-message", "regenerate-message")
#: The address of a file here, on whatever host a front end reaches it, or its bare id.
_FILE = re.compile(rf"(?:(?:https?://[^/]+)?{re.escape(URL)})?([0-9a-fA-F-]{{32,36}})")


@dataclass(frozen=True, slots=True)
class Said:
    """A person's message; ``files`` are ids of uploads, ``context`` is that of ``submit_message``."""

    id: str
    text: str
    files: tuple[str, ...] = ()
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person wants to happen to a call."""

    approved: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a person answered to what an assistant's message asked.

    ``verdicts`` are by approval id, ``outputs`` the words given for the output of a call by its id, and
    ``declined`` the reasons why a call was given none.
    """

    message_id: str
    verdicts: Mapping[str, Verdict]
    outputs: Mapping[str, str]
    declined: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One ``POST ui/chat``. ``message_id`` names what is edited or answered again, where something is."""

    chat: str
    trigger: str
    message_id: str | None
    last: Said | Answered | None


def parse(body: Any) -> ChatRequest:
    """Return what is asked for; fields that are not read may be anything.

    Raises:
        Invalid: one that is read is not what it should be.
    """
    if not isinstance(body, dict):
        raise Invalid("The body must be a JSON object.")
    if not is_id(body.get("id")):
        raise invalid({"id": f"must be a text of 1 to {ID_MAX} characters."})
    trigger = body.get("trigger", TRIGGERS[0])
    if trigger not in TRIGGERS:
        raise invalid({"trigger": f"must be one of {', '.join(TRIGGERS)}."})
    message_id = body.get("messageId")
    if message_id is not None and not is_id(message_id):
        raise invalid({"messageId": f"must be a text of 1 to {ID_MAX} characters."})
    return ChatRequest(body["id"], trigger, message_id, _last(body.get("messages")))


def is_id(value: Any) -> bool:
    """Whether a front end may call something so."""
    return isinstance(value, str) and 0 < len(value) <= ID_MAX and storable(value) == value


def _last(messages: Any) -> Said | Answered | None:
    if not isinstance(messages, list):
        raise _wrong("must be a list of messages.")
    if not messages:
        return None
    message = messages[-1]
    parts = message.get("parts") if isinstance(message, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise _wrong("the last one must be an object with a list of parts.")
    if not is_id(message.get("id")):
        raise _wrong(f"the last one's id must be a text of 1 to {ID_MAX} characters.")
    if message.get("role") == "user":
        return _said(message["id"], parts)
    if message.get("role") == "assistant":
        return _answered(message["id"], parts)
    raise _wrong("the last one must be the user's or the assistant's.")


def _wrong(problem: str) -> AppError:
    return invalid({"messages": problem})


def _said(message_id: str, parts: list[dict[str, Any]]) -> Said:
    texts = [part.get("text") for part in parts if part.get("type") == "text"]
    if not all(isinstance(text, str) for text in texts):
        raise _wrong("a text part must have a text.")
    files = tuple(_file_id(part.get("url")) for part in parts if part.get("type") == "file")
    return Said(message_id, "\n".join(map(str, texts)), files)


def _file_id(url: Any) -> str:
    found = _FILE.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        raise _wrong("a file goes along by its id: send it to POST /api/v1/files first, then name it as the url.")
    return found[1]


def _answered(message_id: str, parts: list[dict[str, Any]]) -> Answered:
    verdicts, outputs, declined = {}, {}, {}
    for part in parts:
        kind, call = part.get("type"), part.get("toolCallId")
        if not isinstance(kind, str) or not (kind == "dynamic-tool" or kind.startswith("tool-")):
            continue
        state = part.get("state")
        if state == "approval-responded":
            approval_id, verdict = _verdict(part.get("approval"))
            verdicts[approval_id] = verdict
        elif isinstance(call, str) and state == "output-available":
            outputs[call] = _words(part.get("output"))
        elif isinstance(call, str) and state == "output-error":
            declined[call] = _words(part.get("errorText") or "")
    return Answered(message_id, verdicts, outputs, declined)


def _verdict(approval: Any) -> tuple[str, Verdict]:
    """Only ``true`` approves: a word or a number for it may be anybody's mistake."""
    if not isinstance(approval, dict) or not isinstance(approval.get("id"), str):
        raise _wrong("an answered approval must have an id.")
    if not isinstance(approval.get("approved"), bool):
        raise _wrong("approved must be true or false.")
    reason = approval.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise _wrong("a reason must be a text.")
    return approval["id"], Verdict(approval["approved"], reason or "")


def _words(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
