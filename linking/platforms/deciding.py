"""Approvals and questions as messages with buttons, and presses as decisions."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal

from linking.platforms.base import Button
from linking.platforms.markdown import code, exact, plain

Object = dict[str, Any]

#: A batch of more calls than this is decided as a whole, or in Holdfast.
CALLS_MAX = 8
#: Longer requests are not approved from a chat: what is approved must have been shown whole.
SHOWN_MAX = 12_000
LABEL_MAX = 40
#: So many half-made choices are kept.
CHOICES_MAX = 1000

_VERBS: dict[str, Literal["approve", "reject", "option"]] = {"a": "approve", "r": "reject", "o": "option"}


@dataclass(frozen=True, slots=True)
class Pressed:
    """What a button says: ``index`` is the call or the option, None for all calls."""

    approval: str
    verb: Literal["approve", "reject", "option"]
    index: int | None


@dataclass(frozen=True, slots=True)
class Card:
    """A message that asks; without buttons once it is decided."""

    text: str
    buttons: list[list[Button]] = field(default_factory=list)


def card(approval: Object) -> Card:
    """Return how an open approval or question is shown."""
    if approval["kind"] == "ask_user_question":
        return _question(approval)
    requests = approval["requests"]
    count = "a tool" if len(requests) == 1 else f"{len(requests)} tools"
    text = f"**Approval needed**: the agent wants to use {count}.\n\n{_requests(approval)}"
    if len(text) > SHOWN_MAX:
        head = ", ".join(code(request["name"]) for request in requests)
        text = (
            f"**Approval needed** for {head}.\n\nToo long to be shown here. Decide in Holdfast, under Approvals."
        )
        return Card(text, [[_button(approval, "r", None, "❌ Reject")]] if _all_allow(requests, "reject") else [])
    return Card(text, _buttons(approval))


def outcome(approval: Object) -> Card:
    """Return how the same is shown when it is decided or over."""
    if approval["kind"] == "ask_user_question":
        said = (
            f"**{plain(str(approval.get('answer')))}**" if approval["status"] == "decided" else "_No answer came._"
        )
        return Card(f"❓ {approval.get('question', '')}\n\n{said}")
    if approval["status"] != "decided":
        return Card(f"_Not decided: it is over._\n\n{_short(approval)}")
    by = approval.get("decided_by") or "the owner"
    return Card(f"**Decided** by {plain(str(by))}.\n\n{_short(approval)}")


def read_press(data: str) -> Pressed | None:
    """Return what a button says, or None when it is none of ours; the platform lets people change it."""
    verb, _, rest = data.partition(":")
    hexed, _, index = rest.partition(":")
    try:
        approval = str(uuid.UUID(hex=hexed))
    except ValueError:
        return None
    if verb not in _VERBS or len(index) > 3 or (index and not (index.isascii() and index.isdecimal())):
        return None
    return Pressed(approval, _VERBS[verb], int(index) if index else None)


class Choices:
    """Decisions about batches that people are in the midst of.

    Each person's are apart: what somebody else pressed must not count when the owner decides the rest.
    """

    def __init__(self) -> None:
        self._chosen: OrderedDict[tuple[str, str], dict[int, str]] = OrderedDict()

    def take(self, approval: Object, person: str, pressed: Pressed) -> Object | str:
        """Return the decision if the person has decided on every call, else what to tell them.

        Raises:
            ValueError: the button does not fit what is asked.
        """
        if approval["kind"] == "ask_user_question":
            return {"answer": _option(approval, pressed)}
        requests = approval["requests"]
        verb = pressed.verb
        if verb == "option" or (pressed.index is not None and pressed.index >= len(requests)):
            raise ValueError(pressed.verb)
        key = (approval["id"], person)
        indexes = range(len(requests)) if pressed.index is None else [pressed.index]
        chosen = {**self._chosen.get(key, {}), **dict.fromkeys(indexes, str(verb))}
        if len(chosen) < len(requests):
            self._chosen[key] = chosen
            self._chosen.move_to_end(key)
            while len(self._chosen) > CHOICES_MAX:
                self._chosen.popitem(last=False)
            return _progress(requests, chosen)
        self._chosen.pop(key, None)
        decisions = [{"tool_call_id": each["tool_call_id"], "type": chosen[n]} for n, each in enumerate(requests)]
        return {"decisions": decisions}


def _requests(approval: Object) -> str:
    requests = approval["requests"]
    shown = []
    for n, request in enumerate(requests, 1):
        number = f"{n}. " if len(requests) > 1 else ""
        shown.append(f"{number}{code(request['name'])}\n```json\n{exact(request['arguments'])}\n```")
    reason = approval.get("reason")
    return "\n\n".join([*shown, plain(str(reason))] if reason else shown)


def _short(approval: Object) -> str:
    """The calls by name, each with what was decided about it."""
    decided = {each["tool_call_id"]: each["type"] for each in approval.get("decisions") or ()}
    marks = {"approve": "✅", "edit": "✅ (edited)", "reject": "❌", "respond": "💬"}
    return "\n".join(
        f"{marks.get(decided.get(request['tool_call_id'], ''), '▫️')} {code(request['name'])}"
        for request in approval["requests"]
    )


def _buttons(approval: Object) -> list[list[Button]]:
    requests = approval["requests"]
    rows = []
    if 1 < len(requests) <= CALLS_MAX:
        for n, request in enumerate(requests):
            row = []
            if "approve" in request["allowed_decisions"]:
                row.append(_button(approval, "a", n, f"✅ {n + 1}"))
            if "reject" in request["allowed_decisions"]:
                row.append(_button(approval, "r", n, f"❌ {n + 1}"))
            rows.append(row)
    several = " all" if len(requests) > 1 else ""
    last = []
    if _all_allow(requests, "approve"):
        last.append(_button(approval, "a", None, f"✅ Approve{several}"))
    if _all_allow(requests, "reject"):
        last.append(_button(approval, "r", None, f"❌ Reject{several}"))
    return [row for row in [*rows, last] if row]


def _all_allow(requests: list[Object], decision: str) -> bool:
    return all(decision in request["allowed_decisions"] for request in requests)


def _button(approval: Object, verb: str, index: int | None, label: str) -> Button:
    ending = "" if index is None else f":{index}"
    style: Literal["plain", "good", "bad"] = {"a": "good", "r": "bad"}.get(verb, "plain")  # type: ignore[assignment]
    return Button(label, f"{verb}:{uuid.UUID(approval['id']).hex}{ending}", style)


def _question(approval: Object) -> Card:
    options = [str(option) for option in approval.get("options") or ()]
    text = f"❓ {approval.get('question', '')}"
    if any(len(option) > LABEL_MAX for option in options):
        text += "\n\n" + "\n".join(f"{n}. {plain(option)}" for n, option in enumerate(options, 1))
    how = (
        "Press one, or reply to this message with your answer."
        if options
        else "Reply to this message with your answer."
    )
    rows = [[_button(approval, "o", n, _label(n, option))] for n, option in enumerate(options)]
    return Card(f"{text}\n\n_{how}_", rows)


def _label(index: int, option: str) -> str:
    return option if len(option) <= LABEL_MAX else f"{index + 1}. {option[: LABEL_MAX - 5]}…"


def _option(approval: Object, pressed: Pressed) -> str:
    options = approval.get("options") or []
    if pressed.verb != "option" or pressed.index is None or pressed.index >= len(options):
        raise ValueError(pressed.verb)
    return str(options[pressed.index])


def _progress(requests: list[Object], chosen: dict[int, str]) -> str:
    marks = {"approve": "✅", "reject": "❌"}
    return "  ".join(f"{marks.get(chosen.get(n, ''), '❔')} {n + 1}" for n in range(len(requests)))
