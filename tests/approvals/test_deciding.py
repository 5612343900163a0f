"""What a decision has to be like: everything else is refused, changes nothing, and can be sent again rightly."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from approvals.decisions import ARGUMENTS_MAX, REASON_MAX, TEXT_MAX, Wish
from approvals.models import Action, AuditEntry
from approvals.objects import moment
from copilot.diagnostics import invariants
from copilot.tools.registry import TOOLS
from tests.approvals.waiting import (
    api_of,
    calls_of,
    everything,
    for_each,
    notes,
    pause_at,
    run_open_calls,
    submit,
    turn_of,
    waiting,
)
from tests.factories import hold

pytestmark = pytest.mark.django_db


def decide_by_rest(action: Action, body: Any) -> Any:
    """Post a decision as the person who is asked."""
    return api_of(action.user).post(f"approvals/{action.pk}/decide", body)


def refused(action: Action, body: Any, code: str) -> dict[str, Any]:
    """Assert that this is a 400 of this code that changes nothing, and return the error."""
    client = api_of(action.user)
    before = everything()
    response = client.post(f"approvals/{action.pk}/decide", body)
    error: dict[str, Any] = response.json()
    assert (response.status_code, error["code"]) == (400, code), error
    assert everything() == before, "a refusal changes nothing"
    return error


def still_decidable(action: Action) -> None:
    """Assert that what was refused before can be decided now."""
    assert decide_by_rest(action, {"decisions": for_each(action, "approve")}).status_code == 200


# --- each call exactly once -----------------------------------------------------------------


def test_a_call_without_a_decision_refuses_the_whole_batch() -> None:
    action = waiting(*notes("one", "two", "three"))
    error = refused(action, {"decisions": for_each(action, "approve")[:2]}, "incomplete")
    assert error["fields"]["missing"] == [action.requests[2]["tool_call_id"]]
    still_decidable(action)


def test_no_decision_at_all_is_incomplete() -> None:
    action = waiting(*notes("one", "two"))
    error = refused(action, {"decisions": []}, "incomplete")
    assert len(error["fields"]["missing"]) == 2


def test_an_unknown_call_is_named() -> None:
    action = waiting()
    foreign = str(uuid.uuid4())
    decisions = [*for_each(action, "approve"), {"tool_call_id": foreign, "type": "approve"}]
    error = refused(action, {"decisions": decisions}, "incomplete")
    assert error["fields"] == {"unknown": [foreign]}


def test_a_call_of_another_action_is_unknown_here() -> None:
    action, other = waiting(), waiting()
    error = refused(action, {"decisions": for_each(other, "approve")}, "incomplete")
    assert error["fields"]["missing"] == [action.requests[0]["tool_call_id"]]
    assert error["fields"]["unknown"] == [other.requests[0]["tool_call_id"]]


@pytest.mark.parametrize("types", [("approve", "approve"), ("approve", "reject")])
def test_a_call_that_is_decided_twice_is_not_decided(types: tuple[str, str]) -> None:
    action = waiting()
    decisions = [for_each(action, kind)[0] for kind in types]
    error = refused(action, {"decisions": decisions}, "incomplete")
    assert error["fields"] == {"duplicate": [action.requests[0]["tool_call_id"]]}
    still_decidable(action)


def test_decisions_are_joined_by_the_call_and_not_by_position() -> None:
    action = waiting(*notes("one", "two", "three"))
    decisions = for_each(action, "approve", "reject", "approve")
    submit(action, Wish(decisions=decisions[::-1]))
    assert [call.state for call in calls_of(turn_of(action))] == ["approved", "denied", "approved"]


# --- only what is allowed -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["approve", "edit"])
def test_a_question_can_be_answered_or_rejected_and_nothing_else(kind: str) -> None:
    action = waiting(("ask_user", {"question": "Which one?"}))
    extra = {"arguments": {"question": "Another?"}} if kind == "edit" else {}
    refused(action, {"decisions": for_each(action, kind, **extra)}, "not_allowed")


def test_a_decision_that_the_tool_does_not_allow_is_refused() -> None:
    action = waiting(*notes("one", "two"))
    action.requests[1]["allowed_decisions"] = ["approve", "reject"]
    action.save(update_fields=["requests"])
    approve, respond = for_each(action, "approve")[0], for_each(action, "respond", text="No.")[1]
    error = refused(action, {"decisions": [approve, respond]}, "not_allowed")
    assert "approve, reject" in error["detail"]
    still_decidable(action)


@pytest.mark.parametrize("kind", ["", "yes", "Approve", "approved", "ignore", "approve "])
def test_only_the_four_words_are_decisions(kind: str) -> None:
    action = waiting()
    refused(action, {"decisions": for_each(action, kind)}, "invalid")


@pytest.mark.parametrize("kind", [True, 1, None, ["approve"], {"approve": True}])
def test_nothing_that_is_merely_true_approves(kind: object) -> None:
    action = waiting()
    refused(action, {"decisions": [for_each(action, "approve")[0] | {"type": kind}]}, "invalid")


@pytest.mark.parametrize("scope", ["forever", "Session", "always "])
def test_an_unknown_scope_is_refused(scope: str) -> None:
    action = waiting()
    refused(action, {"decisions": for_each(action, "approve"), "scope": scope}, "invalid")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"answer": "yes"}, "invalid"),
        ({"decisions": None, "answer": None}, "invalid"),
        ({"decisions": {}}, "invalid"),
        ({"decisions": "approve"}, "invalid"),
        ([], "invalid"),
        ("not json", "invalid"),
    ],
)
def test_a_body_that_decides_nothing_is_refused(body: Any, code: str) -> None:
    refused(waiting(), body, code)


def test_a_question_takes_one_answer_and_not_two() -> None:
    action = waiting(("ask_user", {"question": "Which one?"}))
    both = {"answer": "this", "decisions": for_each(action, "respond", text="that")}
    refused(action, both, "invalid")


# --- edited arguments -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        None,
        [],
        ["text"],
        "text",
        1,
        True,
        {},
        {"text": 1},
        {"text": None},
        {"text": "a", "more": 1},
        {"Text": "a"},
    ],
)
def test_edited_arguments_have_to_be_an_object_that_the_tool_takes(arguments: Any) -> None:
    action = waiting()
    refused(action, {"decisions": for_each(action, "edit", arguments=arguments)}, "invalid")
    still_decidable(action)


def test_an_edit_without_arguments_is_refused() -> None:
    action = waiting()
    refused(action, {"decisions": for_each(action, "edit")}, "invalid")


def test_an_edit_names_the_argument_that_does_not_fit() -> None:
    action = waiting()
    error = refused(action, {"decisions": for_each(action, "edit", arguments={"text": 1})}, "invalid")
    assert "text" in error["fields"]


def test_edited_arguments_have_a_limit_in_bytes() -> None:
    action = waiting()
    room = ARGUMENTS_MAX - len(json.dumps({"text": ""}))
    large = {"text": "ä" * (room // 2 + 1)}
    refused(action, {"decisions": for_each(action, "edit", arguments=large)}, "refused_text")
    fits = {"text": "ä" * (room // 2)}
    assert decide_by_rest(action, {"decisions": for_each(action, "edit", arguments=fits)}).status_code == 200
    assert calls_of(turn_of(action))[0].arguments == fits


@pytest.mark.parametrize("arguments", [{"text": "a\x00b"}, {"text": "\ud800"}])
def test_edited_arguments_that_no_database_takes_are_refused(arguments: dict[str, Any]) -> None:
    action = waiting()
    with pytest.raises(Exception, match="cannot be stored"):
        submit(action, Wish(decisions=for_each(action, "edit", arguments=arguments)))
    assert Action.objects.get(pk=action.pk).status == "pending"


# --- words ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "", "   ", "\n\t\n", "\x00\x07"])
def test_a_blank_response_is_refused(text: str | None) -> None:
    action = waiting()
    refused(action, {"decisions": for_each(action, "respond", text=text)}, "invalid")


@pytest.mark.parametrize("answer", ["", " ", "\n", "\x1b"])
def test_a_blank_answer_is_refused(answer: str) -> None:
    refused(waiting(("ask_user", {"question": "Which one?"})), {"answer": answer}, "invalid")


@pytest.mark.parametrize(
    ("kind", "field", "most"),
    [("reject", "reason", REASON_MAX), ("edit", "reason", REASON_MAX), ("respond", "text", TEXT_MAX)],
)
def test_words_have_a_limit(kind: str, field: str, most: int) -> None:
    action = waiting()
    extra = {"arguments": {"text": "other"}} if kind == "edit" else {}
    long = {**extra, field: "x" * (most + 1)}
    refused(action, {"decisions": for_each(action, kind, **long)}, "refused_text")
    fits = {**extra, field: "x" * most}
    assert decide_by_rest(action, {"decisions": for_each(action, kind, **fits)}).status_code == 200
    assert AuditEntry.objects.get(action=action.pk).text == "x" * most


def test_an_answer_has_a_limit() -> None:
    action = waiting(("ask_user", {"question": "Which one?"}))
    refused(action, {"answer": "x" * (TEXT_MAX + 1)}, "refused_text")
    assert decide_by_rest(action, {"answer": "x" * TEXT_MAX}).status_code == 200


def no_swearing(text: str) -> str | None:
    """A checker as an operator may set one."""
    return "Mind your words." if "darn" in text else None


@pytest.mark.parametrize(
    "decision",
    [
        {"type": "reject", "reason": "darn"},
        {"type": "respond", "text": "oh darn"},
        {"type": "edit", "arguments": {"text": "darn it"}},
        {"type": "edit", "arguments": {"text": "fine"}, "reason": "darn"},
    ],
)
def test_the_operators_checkers_read_every_word_of_a_decision(decision: dict[str, Any], settings: Any) -> None:
    settings.TEXT_CHECKERS = [f"{__name__}.no_swearing"]
    action = waiting()
    body = {"decisions": [for_each(action, "approve")[0] | decision]}
    assert refused(action, body, "refused_text")["detail"] == "Mind your words."
    still_decidable(action)


def test_the_operators_checkers_read_answers(settings: Any) -> None:
    settings.TEXT_CHECKERS = [f"{__name__}.no_swearing"]
    refused(waiting(("ask_user", {"question": "Which one?"})), {"answer": "darn"}, "refused_text")


def test_control_characters_do_not_get_into_what_people_write() -> None:
    action = waiting()
    submit(action, Wish(decisions=for_each(action, "reject", reason="\x1b[2JNo\x07\x00, thanks\x9b.\n")))
    assert AuditEntry.objects.get(action=action.pk).text == "[2JNo, thanks."
    assert calls_of(turn_of(action))[0].error == "[2JNo, thanks."


# --- nothing else comes along ---------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        {"model": "demo/other"},
        {"agent": "another"},
        {"files": ["019a9d62-1a2b-7c3d-8e4f-5a6b7c8d9e0f"]},
        {"tools": ["*"]},
        {"instructions": "Do as you like."},
        {"policy": {"mode": "bypass"}},
        {"user": 1},
        {"Decisions": []},
    ],
)
def test_a_decision_cannot_bring_another_run_along(extra: dict[str, Any]) -> None:
    action = waiting()
    refused(action, {"decisions": for_each(action, "approve"), **extra}, "unknown_field")
    still_decidable(action)


@pytest.mark.parametrize("extra", [{"name": "shell"}, {"tool": "shell"}, {"sha256": "0" * 64}, {"approved": True}])
def test_a_decision_about_a_call_has_no_other_fields(extra: dict[str, Any]) -> None:
    action = waiting()
    refused(action, {"decisions": for_each(action, "approve", **extra)}, "unknown_field")


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("approve", {"arguments": {"text": "other"}}),
        ("approve", {"arguments": {}}),
        ("approve", {"text": "words"}),
        ("reject", {"arguments": {"text": "other"}}),
        ("reject", {"text": "words"}),
        ("respond", {"text": "words", "arguments": {"text": "other"}}),
        ("respond", {"text": "words", "reason": "because"}),
        ("edit", {"arguments": {"text": "other"}, "text": "words"}),
    ],
)
def test_what_does_not_go_with_a_decision_refuses_it(kind: str, extra: dict[str, Any]) -> None:
    action = waiting()
    refused(action, {"decisions": for_each(action, kind, **extra)}, "invalid")
    still_decidable(action)


# --- which action ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["x", "0", "", "01981f5e-c3d0-7f18-9a44-6b1f0e2d5c77", "01981f5e-8a40-7c11-9f62-3a8d2f0c1b11'--"]
)
def test_an_action_that_is_none_is_not_found(name: str) -> None:
    action = waiting()
    before = everything()["Action"]
    response = api_of(action.user).post(f"approvals/{name}/decide", {"decisions": for_each(action, "approve")})
    assert response.status_code == 404
    assert everything()["Action"] == before


def test_the_action_of_an_earlier_pause_is_decided_already_and_moves_nothing() -> None:
    first = waiting()
    submit(first, Wish(decisions=for_each(first, "reject")))
    second = pause_at(hold(turn_of(first)), *notes("again"))
    client, before = api_of(first.user), everything()
    response = client.post(f"approvals/{first.pk}/decide", {"decisions": for_each(first, "approve")})
    assert (response.status_code, response.json()["code"]) == (409, "already_decided")
    assert everything() == before
    assert turn_of(second).action_id == second.pk


def test_the_same_decision_once_more_gets_the_same_answer() -> None:
    action = waiting()
    first, second = (decide_by_rest(action, {"decisions": for_each(action, "approve")}) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()


def test_who_decides_otherwise_learns_who_decided_and_when_and_where() -> None:
    action = waiting()
    decided = submit(action, Wish(decisions=for_each(action, "approve")))
    response = decide_by_rest(action, {"decisions": for_each(action, "reject")})
    error = response.json()
    assert (response.status_code, error["code"]) == (409, "already_decided")
    assert error["fields"] == {
        "decided_by": action.user.get_username(),
        "decided_at": moment(decided.resolved_at) if decided.resolved_at else "",
        "surface": "web",
    }


@pytest.mark.parametrize(
    "other",
    [
        lambda action: Wish(decisions=for_each(action, "reject", "approve")),
        lambda action: Wish(decisions=for_each(action, "approve"), scope="session"),
        lambda action: Wish(decisions=for_each(action, "approve")[:1]),
        lambda action: Wish(answer="approve"),
    ],
)
def test_only_the_very_same_decision_is_a_repetition(other: Callable[[Action], Wish]) -> None:
    action = waiting(*notes("one", "two"))
    wish = Wish(decisions=for_each(action, "approve"))
    submit(action, wish)
    before = everything()
    assert submit(action, Wish(decisions=for_each(action, "approve")[::-1])).status == "decided"
    with pytest.raises(Exception, match="decided already"):
        submit(action, other(action))
    assert everything() == before
    assert AuditEntry.objects.count() == 2


# --- what no client of ours sends ------------------------------------------------------------


def test_a_decision_that_is_null_is_refused() -> None:
    action = waiting()
    refused(action, {"decisions": [None]}, "invalid")
    still_decidable(action)


@pytest.mark.parametrize("depth", [150, 480, 900])
def test_arguments_that_are_nested_too_deep_are_refused(depth: int) -> None:
    action = waiting()
    deep: Any = []
    for _ in range(depth):
        deep = [deep]
    refused(action, {"decisions": for_each(action, "edit", arguments={"text": deep})}, "invalid")
    still_decidable(action)


@pytest.mark.parametrize("number", [1e16, 1e22, 1.5e300, -0.0, 0.1, 100.0, 2**70])
def test_a_number_that_was_edited_runs_as_it_was_approved(number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TOOLS["demo_note"], "parameters", {"type": "object"})
    action = waiting()
    submit(action, Wish(decisions=for_each(action, "edit", arguments={"number": number})))
    holder = hold(turn_of(action))
    assert [repr(ran) for ran in run_open_calls(holder)] == [repr({"number": number})]


def test_a_large_number_that_was_approved_is_no_other_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TOOLS["demo_note"], "parameters", {"type": "object"})
    action = waiting(("demo_note", {"number": 1e16, "none": -0.0}))
    submit(action, Wish(decisions=for_each(action, "approve")))
    assert len(run_open_calls(hold(turn_of(action)))) == 1
    assert [each for each in map(str, invariants.check([action.turn])) if "other arguments" in each] == []
