"""The model's view of a session: what it is sent, as opposed to what people see.

Each user message exactly once, every tool call with its result, no reasoning of earlier turns, no errors.
How much of an old session is read is bounded, so a turn costs no more as its session grows.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import QuerySet

from common.prepared import prepared
from common.sealing import SealBroken
from copilot.agent import prompt
from copilot.agent.attached import attached_file
from copilot.agent.kept import exact
from copilot.agent.results import reason_text, result_text
from copilot.events.fold import Transcript
from copilot.events.log import read_events
from copilot.files import file_parts
from copilot.models import Compaction, Message, Session, Step, ToolCall, Turn
from copilot.models.compaction import compactions_before
from copilot.models.message import GIVEN, open_answer_of
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


@dataclass(frozen=True, slots=True)
class Group:
    """What a model reads of one message of the transcript: kept or summarised as a whole."""

    message_id: uuid.UUID
    seq: int
    messages: list[ModelMessage]


@dataclass(slots=True)
class Earlier:
    """The conversation before an answer's place, oldest first: what it answers, and what came before that."""

    before: list[Group]
    question: list[ModelMessage]
    #: Stands in the place of all that came before ``before``; None where nothing does.
    summary: str | None = None
    #: Nothing was left unread for its size.
    whole: bool = True

    def preamble(self) -> list[ModelMessage]:
        """Return what is read before the question."""
        told = [] if self.summary is None else [prompt.summary_of_earlier(self.summary)]
        return told + [message for group in self.before for message in group.messages]


def earlier(turn: Turn, *, before: int | None) -> Earlier:
    """Read the conversation before an answer's place.

    The question to it begins where the turn's own messages do: the person's messages before it were other turns'
    to answer, also when those turns ended without saying anything. A turn that answers again asks for messages of
    earlier turns.
    """
    rows = _before(turn.session_id, before)
    summaries = compactions_before(turn.session_id, turn.id, before)
    found = Earlier([], [], whole=len(rows) < MESSAGES_MAX)
    asked_from = turn.settings.get("asked_from")
    asked_at = EVERYTHING
    size = 0
    for message in rows:
        seq = message.seq or 0
        if message.turn_id == turn.id and message.after_step is not None:
            continue  # it comes behind a step of this turn
        own = message.turn_id == turn.id or (asked_from is not None and seq >= asked_from)
        if not own and (covering := _covering(summaries, asked_at)) and seq <= covering.up_to:
            found.whole = True
            break
        if not own and size > CHARACTERS_MAX:
            found.whole = False
            break
        view = _of_user(message) if message.role == Message.Role.USER else _of_assistant(message)
        if own:
            asked_at = seq
            found.question = view + found.question
        else:
            found.before.append(Group(message.pk, seq, view))
        size += characters(view)
    if (covering := _covering(summaries, asked_at)) is not None:
        found.summary = covering.summary
    found.before.reverse()
    return found


def _covering(summaries: list[Compaction], asked_at: int) -> Compaction | None:
    """Return the summary that covers most of what comes before the question, which it never covers."""
    return next((each for each in summaries if each.up_to < asked_at), None)


def characters(messages: Iterable[ModelMessage]) -> int:
    """Return how long the texts of messages are."""
    return sum(len(part.text) for message in messages for part in message.parts if isinstance(part, TextPart))


def earlier_messages(turn: Turn, *, before: int | None) -> tuple[list[ModelMessage], int]:
    """Return the conversation before an answer's place, oldest first, and where the question to it begins."""
    found = earlier(turn, before=before)
    preamble = found.preamble()
    return preamble + found.question, len(preamble)


def conversation(session: Session) -> list[ModelMessage]:
    """Return what is shown of a session by now, oldest first, with what a running turn has said so far.

    The oldest part as its summary, where there is one.
    """
    answer = _answer_so_far(session)
    view = [_of_assistant(answer)] if answer else []
    covering = _covering(compactions_before(session.pk, session.pk, EVERYTHING), EVERYTHING)
    size = 0
    for message in _before(session.pk, EVERYTHING):
        if answer is not None and message.pk == answer.pk:
            continue  # it was finished a moment ago
        if covering is not None and (message.seq or 0) <= covering.up_to:
            break
        view.append(_of_user(message) if message.role == Message.Role.USER else _of_assistant(message))
        size += characters(view[-1])
        if size > CHARACTERS_MAX:
            break
    told = [] if covering is None else [prompt.summary_of_earlier(covering.summary)]
    return told + [message for group in reversed(view) for message in group]


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
    columns += ["origin", "author", "standing"]
    return earlier.only(*columns)[:MESSAGES_MAX]


def _of_user(message: Message) -> list[ModelMessage]:
    said = TextPart(prompt.escape(message.text))
    if message.origin == GIVEN:
        return [ModelMessage("user", (said,))]  # when it was said nobody knows
    about = prompt.note(
        message.created_at,
        message.options,
        meanwhile=message.after_step is not None,
        author=message.author,
        owner=message.standing == Message.Standing.OWNER,
    )
    files = map(attached_file, file_parts(message.parts))
    return [ModelMessage("user", (said, *files, TextPart(about)))]


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
                text = part["text"]
                said.append(TextPart(prompt.escape(text) if message.origin == GIVEN else text))
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
        return ToolResultPart(
            part["toolCallId"], part["toolName"], result_text(part.get("output"), part["toolCallId"])
        )
    if part["state"] in ("input-available", "approval-requested", "approval-responded"):
        return ToolResultPart(part["toolCallId"], part["toolName"], "This call has not ended yet.")
    denied = refusal(part.get("approval", {}).get("reason") or "none given.")
    reason = reason_text(part.get("errorText") or denied)
    if part.get("output"):
        reason += f"\nUntil then it had put out:\n{result_text(part['output'], part['toolCallId'])}"
    return ToolResultPart(part["toolCallId"], part["toolName"], reason, is_error=True)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def step_messages(content: list[dict[str, Any]], calls: list[ToolCall], *, model: str = "") -> list[ModelMessage]:
    """Return a committed step of the present turn and the results of its calls.

    Reasoning goes back only where its provider signed it; all of it is exact, arguments and results too.

    Args:
        model: the model that reads it, which gets no reasoning of another; "" where all steps are its own.
    """
    said: list[Part] = []
    in_order = iter(calls)
    for stored in content:
        item = exact(stored)
        if item is None:
            continue
        if item["type"] == "text":
            said.append(TextPart(item["text"]))
        elif item["type"] == "reasoning" and item.get("extra") and _is_of(item, model):
            said.append(ReasoningPart(item["text"], item.get("extra", {})))
        elif item["type"] == "call":
            call = next(in_order, None)
            said.append(ToolCallPart(item["id"], item["name"], _object(_exact_arguments(call) if call else {})))
    view = [ModelMessage("assistant", tuple(said))] if said else []
    if calls:
        view.append(ModelMessage("tool", tuple(_result(call) for call in calls)))
    return view


def _is_of(item: dict[str, Any], model: str) -> bool:
    """Whether reasoning was signed for this model; items that do not say are of the version before."""
    return not model or item.get("model", model) == model


def _exact_arguments(call: ToolCall) -> Any:
    with suppress(SealBroken):
        return call.exact_arguments()
    return call.arguments  # the server has another key since: the model reads placeholders


def _exact_output(call: ToolCall) -> Any:
    with suppress(SealBroken):
        return call.exact_output()
    return call.output


def _result(call: ToolCall) -> ToolResultPart:
    if call.state == ToolCall.State.DONE:
        return ToolResultPart(call.provider_id, call.name, result_text(_exact_output(call), call.id))
    reason = refusal(call.error) if call.state == ToolCall.State.DENIED else call.error
    return ToolResultPart(call.provider_id, call.name, reason_text(reason), is_error=True)


def refusal(reason: str) -> str:
    """Return what a model reads of a call that policy or a person refused."""
    return f"This call was refused and did not run. The reason: {reason}"


def calls_of(turn_id: uuid.UUID, step: int) -> list[ToolCall]:
    """Return the calls of a step, in the model's order."""
    return list(ToolCall.objects.filter(turn_id=turn_id, step=step).order_by("position"))


@dataclass(frozen=True, slots=True)
class StepView:
    """A committed step of the present turn as a model reads it, and what was delivered behind it."""

    number: int
    messages: list[ModelMessage]
    followups: list[ModelMessage]


def committed_steps(turn: Turn, *, through: int, model: str = "") -> list[StepView]:
    """Return the turn's steps up to ``through``; 0 is what was delivered before the first.

    Args:
        model: who reads them, if it is another model than the turn's.
    """
    steps = {step.number: step.content for step in Step.objects.filter(turn=turn, number__lte=through)}
    calls: dict[int, list[ToolCall]] = {}
    for call in ToolCall.objects.filter(turn=turn).order_by("position"):
        calls.setdefault(call.step, []).append(call)
    delivered: dict[int | None, list[Message]] = {}
    for message in _delivered(turn.id):
        delivered.setdefault(message.after_step, []).append(message)
    view = [StepView(0, [], followups(delivered.get(0, [])))]
    for number in range(1, through + 1):
        messages = step_messages(steps[number], calls.get(number, []), model=model or turn.model)
        view.append(StepView(number, messages, followups(delivered.get(number, []))))
    return view
