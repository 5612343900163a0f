"""What makes no difference makes none: blank words, the same words again, patterns that nobody can afford."""

from __future__ import annotations

import time

import pytest
from django.test import Client

from approvals.actions import decide
from approvals.decisions import Wish
from approvals.models import AuditEntry, Rule
from common.schemas import problem_of
from tests.approvals.waiting import notes, waiting
from tests.factories import make_session

pytestmark = pytest.mark.django_db


def test_a_blank_reason_is_none_and_the_same_decision_without_it_is_a_repetition() -> None:
    action = waiting()
    [call] = [request["tool_call_id"] for request in action.requests]
    for reason in ({"reason": "  "}, {}, {"reason": ""}):
        wish = Wish(decisions=[{"tool_call_id": call, "type": "reject", **reason}])
        assert decide(user=action.user, action_id=action.pk, wish=wish, surface="web").status == "decided"
    assert AuditEntry.objects.filter(event="decided").count() == 1


def test_a_reason_may_go_with_an_approval_and_is_in_the_log() -> None:
    action = waiting()
    [call] = [request["tool_call_id"] for request in action.requests]
    wish = Wish(decisions=[{"tool_call_id": call, "type": "approve", "reason": "It is due."}])
    decide(user=action.user, action_id=action.pk, wish=wish, surface="web")
    assert AuditEntry.objects.get(event="decided").text == "It is due."


def test_an_edit_is_not_remembered_the_call_was_not_allowed_as_it_was() -> None:
    action = waiting(*notes("rm -rf /"))
    [call] = [request["tool_call_id"] for request in action.requests]
    edit = {"tool_call_id": call, "type": "edit", "arguments": {"text": "ls"}}
    decide(user=action.user, action_id=action.pk, wish=Wish(decisions=[edit], scope="always"), surface="web")
    assert not Rule.objects.exists()


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 40 + "!"}),
        ({"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}, {"a" * 40 + "!": 1}),
        ({"properties": {"a": {"uniqueItems": True}}}, {"a": [{"n": n} for n in range(3000)]}),
    ],
    ids=["pattern", "name", "duplicates"],
)
def test_a_schema_cannot_keep_the_server_busy(schema: dict[str, object], arguments: dict[str, object]) -> None:
    began = time.monotonic()
    assert problem_of(arguments, schema) is None
    assert time.monotonic() - began < 1


def test_a_schema_still_refuses_names_that_it_does_not_have() -> None:
    assert problem_of({"b": 1}, {"properties": {"a": {}}, "additionalProperties": False}) is not None


def test_approvals_that_are_over_are_listed_in_pages(client: Client) -> None:
    session = make_session()
    client.force_login(session.user)
    ids = []
    for _ in range(3):
        action = waiting(session=session)
        ids.append(str(action.pk))
        [call] = [request["tool_call_id"] for request in action.requests]
        wish = Wish(decisions=[{"tool_call_id": call, "type": "reject"}])
        decide(user=action.user, action_id=action.pk, wish=wish, surface="web")
        session.turns.filter(status="queued").update(
            status="cancelled", finished_at=action.created_at, outcome="stopped", last_seq=99
        )
    first = client.get("/api/v1/approvals?limit=2").json()
    second = client.get(first["next"]).json()
    listed = [each["id"] for each in first["results"] + second["results"]]
    assert (listed, second["next"]) == (ids[::-1], None)
