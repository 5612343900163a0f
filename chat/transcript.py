"""What the page of a session shows of its settled messages."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from django.db.models import Q, prefetch_related_objects
from django.utils.safestring import SafeString

from approvals.outcome import Outcome, outcomes_of
from approvals.selectors import actions_of_turns, pending_action
from chat.asked import ShownAsk, shown_asks
from common.ids import as_uuid
from common.markdown import render
from copilot import selectors
from copilot.agent.loop import DECLINED
from copilot.events.fold import Transcript
from copilot.events.log import read_events
from copilot.files import file_id_of
from copilot.media import IMAGES
from copilot.models import Message, Session, Turn
from copilot.selectors import Branch, MessagePage
from copilot.tools.ask_user import AskUser
from copilot.tools.subsession import GetSubsessionResult, RunSubsession

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
#: The tools that tell of a child session. The live view has them too (``parts.js``).
CHILD_TOOLS = (RunSubsession.name, GetSubsessionResult.name)
#: What was left out of the model's view. The live view words them alike (``parts.js``).
COMPACTED = {
    "summary": "Earlier messages were summarised.",
    "left_out": "Earlier messages no longer fit and could not be summarised.",
    "results": "Long tool results were shortened for the model.",
}
#: Why a turn was stopped. The live view words them alike (``live.js``).
STOPPED = {
    "stopped": "Stopped.",
    "approval_expired": "Stopped: nobody answered the approval in time.",
    "parent_stopped": "Stopped together with the chat that started it.",
    "operator": "Stopped by the operator.",
}
#: How an answer that is whole to its turn ended before it should have. Worded alike in ``live.js`` too.
CUT = {
    "length": "Cut here: the answer reached the limit of its length.",
    "content-filter": "Ended here: the model declined to go on.",
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
    #: Why it was refused.
    reason: str = ""
    #: Where a file is, and whether it can be shown.
    url: str = ""
    picture: bool = False
    #: How a person decided about it, and the arguments that they changed.
    outcome: Outcome | None = None
    asked_for: str = ""
    #: What a person is asked about it right now.
    ask: ShownAsk | None = None
    #: The session that the call started or asked after.
    child: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """One settled message, ready for the template; or, with ``seq`` 0, one that waits for a decision."""

    id: uuid.UUID
    seq: int
    role: str
    state: str
    turn_id: uuid.UUID | None
    client_id: str
    demo: bool
    #: An agent wrote it: to its child, or of a child's end.
    by_agent: bool
    parts: list[ShownPart]
    #: Who wrote it, where a bot says so.
    author: str = ""
    error: dict[str, Any] = field(default_factory=dict)
    stopped: str = ""
    branch: ShownBranch | None = None
    #: The last event that is shown of a message that waits.
    upto: int = 0


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
    outcomes, endings = _outcomes(messages), _endings(messages)
    return [
        _shown(
            message,
            page.branches.get(message.id),
            outcomes,
            cut=message.id in unanswered,
            ending=endings.get(message.id, ""),
        )
        for message in messages
    ]


def waiting_message(session: Session) -> ShownMessage | None:
    """Return the answer that waits for a person's decision, as far as it is written; the log has it."""
    turn = selectors.active_turn(session)
    action = pending_action(turn.action_id) if turn is not None else None
    if turn is None or action is None:
        return None
    events = read_events(turn.id)
    transcript = Transcript.of(events)
    if not transcript.messages:
        return None
    message_id = list(transcript.messages)[-1]
    asks = shown_asks(action)
    outcomes = outcomes_of(actions_of_turns([turn.id]))
    return ShownMessage(
        id=uuid.UUID(message_id),
        seq=0,
        role=Message.Role.ASSISTANT,
        state=Message.State.OPEN,
        turn_id=turn.id,
        client_id="",
        demo=is_demo(turn.model),
        by_agent=False,
        parts=_shown_parts(transcript.parts_of(message_id), outcomes, asks, markdown=True),
        upto=events[-1][0],
    )


def _outcomes(messages: Iterable[Message]) -> dict[str, Outcome]:
    """Return how people decided about calls, by the call's id; one query if they were asked about any."""
    asked = {each.turn_id for each in messages if each.turn_id and any(map(_may_have_asked, each.parts))}
    return outcomes_of(actions_of_turns(asked)) if asked else {}


def _may_have_asked(part: Mapping[str, Any]) -> bool:
    """Whether somebody may have been asked about a part; what was never decided bears no mark but its error."""
    if part.get("type") != "dynamic-tool":
        return False
    return "approval" in part or part["state"] == "output-error" or part["toolName"] == AskUser.name


def _unanswered(asked: Mapping[uuid.UUID | None, Message]) -> set[uuid.UUID]:
    """Return the ids of those of ``asked``, by their stopped turn, that have no answer: not by that turn, and by
    none that was asked for later, also when it is only being written."""
    questions = [message.id for message in asked.values()]
    answers = Message.objects.shown().filter(role=Message.Role.ASSISTANT)
    found = answers.filter(Q(turn__in=asked) | Q(parent__in=questions)).values_list("turn_id", "parent")
    answered = {each for pair in found for each in pair}
    return {message.id for turn_id, message in asked.items() if answered.isdisjoint((turn_id, message.id))}


def _endings(messages: Iterable[Message]) -> dict[uuid.UUID, str]:
    """Return what is to be said below the last answers of turns that completed early; no query where none did."""
    early = {
        message.turn_id: message.turn.outcome
        for message in messages
        if message.turn is not None
        and message.turn.status == Turn.Status.COMPLETED
        and message.turn.outcome in CUT
    }
    if not early:
        return {}
    answers = Message.objects.filter(turn__in=early, role=Message.Role.ASSISTANT).order_by("seq")
    last = {message.turn_id: message for message in answers.only("turn_id", "parts")}
    return {answer.pk: CUT[early[turn] or ""] for turn, answer in last.items() if not _declines(answer)}


def _declines(answer: Message) -> bool:
    return bool(answer.parts) and answer.parts[-1].get("text") == DECLINED


def _is_of_stopped_turn(message: Message) -> bool:
    stopped = message.turn is not None and message.turn.status == Turn.Status.CANCELLED
    return stopped and message.role == Message.Role.USER


def is_demo(model: str) -> bool:
    """Whether a model's answers are canned."""
    return model.startswith("demo/")


def _shown(
    message: Message, branch: Branch | None, outcomes: Mapping[str, Outcome], *, cut: bool, ending: str
) -> ShownMessage:
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
        by_agent=not answer and message.origin == Turn.Origin.CHILD,
        author=message.author,
        parts=_shown_parts(message.parts, outcomes, markdown=answer),
        error=error if error and not cancelled else {},
        stopped=STOPPED.get(error["code"], "Stopped.") if error and cancelled else ending,
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


def _shown_parts(
    parts: Iterable[dict[str, Any]],
    outcomes: Mapping[str, Outcome],
    asks: Mapping[str, ShownAsk] = MappingProxyType({}),
    *,
    markdown: bool,
) -> list[ShownPart]:
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
                call = part["toolCallId"]
                shown.append(_shown_tool(part, outcomes.get(call), asks.get(call)))
            case "data-compaction":
                kind = part["data"].get("kind", "")
                shown.append(ShownPart("compaction", text=COMPACTED.get(kind, COMPACTED["summary"])))
            case "file":
                shown.append(_shown_file(part))
    return shown


def _shown_file(part: dict[str, Any]) -> ShownPart:
    """A link to a file of ours, a picture where it is one; of anything else only the name."""
    name = part.get("filename") or part.get("mediaType") or "file"
    if file_id_of(part) is None:
        return ShownPart("file", name=name)
    return ShownPart("file", name=name, url=part["url"], picture=part.get("mediaType") in IMAGES)


def _shown_tool(part: dict[str, Any], outcome: Outcome | None, ask: ShownAsk | None) -> ShownPart:
    state = part["state"]
    return ShownPart(
        "tool",
        name=part["toolName"],
        state=state,
        label=TOOL_STATES["approval-requested"] if ask else TOOL_STATES.get(state, state),
        input=_shown_value(part.get("input")),
        output=_shown_value(part.get("output")),
        error=str(part.get("errorText") or ""),
        reason=str(part.get("approval", {}).get("reason") or ""),
        outcome=outcome,
        asked_for=_shown_value(outcome.asked_for) if outcome else "",
        ask=ask,
        child=_child(part),
    )


def _child(part: dict[str, Any]) -> uuid.UUID | None:
    output = part.get("output")
    return as_uuid(output.get("session")) if part["toolName"] in CHILD_TOOLS and isinstance(output, dict) else None


def _shown_value(value: object) -> str:
    """Show what a tool got or gave, as ``values.js`` does: text as it is, anything else as indented JSON, nothing
    as nothing. Keys are sorted, since a database may not keep their order."""
    if value is None or value == {}:
        return ""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
