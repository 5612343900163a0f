"""What people are asked is shown exactly, and what they press means what it says."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from linking.platforms.deciding import CALLS_MAX, SHOWN_MAX, Choices, Pressed, card, outcome, read_press
from linking.platforms.markdown import code, exact, plain

ID = str(uuid.UUID(int=7))


def _approval(*arguments: Any, allowed: tuple[str, ...] = ("approve", "reject")) -> dict[str, Any]:
    requests = [
        {"tool_call_id": f"c{n}", "name": "shell", "arguments": each, "allowed_decisions": list(allowed)}
        for n, each in enumerate(arguments)
    ]
    return {"id": ID, "kind": "tool_approval", "status": "pending", "turn": "t", "requests": requests}


def _labels(shown: Any) -> list[list[str]]:
    return [[button.label for button in row] for row in shown.buttons]


def test_one_call_has_two_buttons() -> None:
    shown = card(_approval({"command": "ls"}))
    assert _labels(shown) == [["✅ Approve", "❌ Reject"]]
    assert '"command": "ls"' in shown.text


def test_a_batch_has_buttons_for_each_call_and_for_all() -> None:
    assert _labels(card(_approval(1, 2))) == [
        ["✅ 1", "❌ 1"],
        ["✅ 2", "❌ 2"],
        ["✅ Approve all", "❌ Reject all"],
    ]
    assert len(card(_approval(*range(CALLS_MAX + 1))).buttons) == 1


def test_only_what_is_allowed_is_offered() -> None:
    assert _labels(card(_approval(1, allowed=("reject",)))) == [["❌ Reject"]]
    assert _labels(card(_approval(1, allowed=("respond",)))) == []


def test_what_cannot_be_shown_whole_cannot_be_approved() -> None:
    shown = card(_approval({"text": "x" * SHOWN_MAX}))
    assert _labels(shown) == [["❌ Reject"]]
    assert "Decide in Holdfast" in shown.text


def test_every_button_fits_and_can_be_read() -> None:
    question = {"id": ID, "kind": "ask_user_question", "status": "pending", "question": "?", "options": ["a"] * 30}
    for shown in (card(_approval(1, 2, 3)), card({**question, "requests": []})):
        for button in (button for row in shown.buttons for button in row):
            assert len(button.data.encode()) <= 64
            pressed = read_press(button.data)
            assert pressed is not None
            assert pressed.approval == ID


@pytest.mark.parametrize(
    "data",
    ["", "a", "a:", "a:xyz", f"z:{ID}", f"a:{ID}:-1", f"a:{ID}:1:2", f"a:{ID}:1e3", f"a:{ID}:²", f"a:{ID}:9999"],
    ids=["empty", "short", "no-id", "bad-id", "verb", "minus", "more", "float", "superscript", "long"],
)
def test_what_no_button_says_is_nothing(data: str) -> None:
    assert read_press(data) is None


def test_a_person_decides_a_batch_bit_by_bit() -> None:
    choices, approval = Choices(), _approval(1, 2)
    assert choices.take(approval, "ada", Pressed(ID, "approve", 0)) == "✅ 1  ❔ 2"
    # One can think again before it is complete.
    assert choices.take(approval, "ada", Pressed(ID, "reject", 0)) == "❌ 1  ❔ 2"
    assert choices.take(approval, "ada", Pressed(ID, "approve", 1)) == {
        "decisions": [{"tool_call_id": "c0", "type": "reject"}, {"tool_call_id": "c1", "type": "approve"}]
    }


def test_nobody_decides_with_what_somebody_else_chose() -> None:
    choices, approval = Choices(), _approval(1, 2)
    choices.take(approval, "mallory", Pressed(ID, "approve", 0))
    assert choices.take(approval, "ada", Pressed(ID, "reject", 1)) == "❔ 1  ❌ 2"


@pytest.mark.parametrize(
    "pressed", [Pressed(ID, "approve", 2), Pressed(ID, "option", 0)], ids=["no-such-call", "option"]
)
def test_a_button_that_does_not_fit_decides_nothing(pressed: Pressed) -> None:
    with pytest.raises(ValueError):
        Choices().take(_approval(1, 2), "ada", pressed)


@pytest.mark.parametrize("index", [None, 1], ids=["none", "too-many"])
def test_only_an_option_answers_a_question(index: int | None) -> None:
    question = {"id": ID, "kind": "ask_user_question", "options": ["red"], "requests": []}
    with pytest.raises(ValueError):
        Choices().take(question, "ada", Pressed(ID, "option", index))
    assert Choices().take(question, "ada", Pressed(ID, "option", 0)) == {"answer": "red"}


def test_the_outcome_tells_each_call() -> None:
    decisions = [{"tool_call_id": "c0", "type": "approve"}, {"tool_call_id": "c1", "type": "reject"}]
    shown = outcome({**_approval(1, 2), "status": "decided", "decided_by": "ada_l", "decisions": decisions})
    assert shown.text == "**Decided** by ada\\_l.\n\n✅ `shell`\n❌ `shell`"
    assert shown.buttons == []
    assert "Not decided" in outcome({**_approval(1), "status": "expired"}).text


@pytest.mark.parametrize("hidden", ["`", "\u202e", "\u200b", "\x07", "\U000e0041", "\ud800"], ids=ascii)
def test_nothing_hides_in_what_is_approved(hidden: str) -> None:
    shown = exact({"a": f"x{hidden}y"})
    assert hidden not in shown
    assert json.loads(shown) == {"a": f"x{hidden}y"}
    assert hidden not in code(f"x{hidden}y")[1:-1]


def test_what_others_wrote_does_nothing_in_markdown() -> None:
    assert plain("[a](b) *c* <d>") == "\\[a\\]\\(b\\) \\*c\\* \\<d\\>"
