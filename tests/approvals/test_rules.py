"""What people want remembered: kept once, only for them, audited, and never in a stranger's turn."""

from __future__ import annotations

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from approvals import rules
from approvals.models import Action, AuditEntry, Rule
from approvals.policy import Layer, Policy, Remembered
from approvals.rules import forget_session, remember, resolve_policy, revoke, rules_for
from common.errors import Invalid, NotFound
from copilot.models import User

pytestmark = pytest.mark.django_db

TOOL = "shell"
CALL = {"command": "git status"}


@pytest.fixture
def session_id() -> uuid.UUID:
    return uuid.uuid4()


def keep(user: User, session_id: uuid.UUID, scope: str = "session", **over: Any) -> Rule:
    """Remember a call as its approval would."""
    wish: dict[str, Any] = {"tool": TOOL, "arguments": CALL, "surface": "web", **over}
    return remember(user=user, session_id=session_id, scope=scope, **wish)


def resolved(user: User, session_id: uuid.UUID, **over: Any) -> Policy:
    """The policy of a turn that this person writes in a page."""
    turn: dict[str, Any] = {
        "approval_mode": "default",
        "origin": "web",
        "in_person": True,
        "temporary": False,
        **over,
    }
    return resolve_policy(user_id=user.pk, session_id=session_id, **turn)


# --- remembering ------------------------------------------------------------------------------------


def test_a_rule_of_a_session_counts_there_and_nowhere_else(user: User, session_id: uuid.UUID) -> None:
    rule = keep(user, session_id, pattern={"command": "git *"})
    assert (rule.tool, rule.pattern, rule.session) == (TOOL, {"command": "git *"}, session_id)
    assert rules_for(user.pk, session_id) == (Remembered.of(TOOL, {"command": "git *"}),)
    assert rules_for(user.pk, uuid.uuid4()) == ()


def test_a_rule_for_always_counts_in_every_session_of_its_owner(
    user: User, other_user: User, session_id: uuid.UUID
) -> None:
    assert keep(user, session_id, "always").session is None
    assert rules_for(user.pk, uuid.uuid4()) == (Remembered(TOOL),)
    assert rules_for(other_user.pk, session_id) == ()


@pytest.mark.parametrize("scope", ["session", "always"])
def test_the_same_wish_again_changes_nothing(user: User, session_id: uuid.UUID, scope: str) -> None:
    first = keep(user, session_id, scope, pattern={"command": "git *"})
    again = keep(user, session_id, scope, pattern={"command": "git *"})
    assert first.pk == again.pk
    assert (Rule.objects.count(), AuditEntry.objects.count()) == (1, 1)


def test_wishes_that_differ_are_kept_beside_each_other(
    user: User, other_user: User, session_id: uuid.UUID
) -> None:
    keep(user, session_id)
    keep(user, session_id, "always")
    keep(user, uuid.uuid4())
    keep(user, session_id, tool="Shell")
    keep(user, session_id, pattern={"command": "git *"})
    keep(other_user, session_id)
    assert Rule.objects.count() == AuditEntry.objects.count() == 6
    assert len(rules_for(user.pk, session_id)) == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scope", ["session", "always"])
def test_the_same_wish_by_several_at_once_is_kept_once(user: User, session_id: uuid.UUID, scope: str) -> None:
    barrier = threading.Barrier(4)

    def wish() -> uuid.UUID:
        try:
            barrier.wait(timeout=10)
            return keep(user, session_id, scope).pk
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        made = {call.result() for call in [threads.submit(wish) for _ in range(4)]}
    assert made == {Rule.objects.get().pk}
    assert AuditEntry.objects.count() == 1


def test_nothing_is_remembered_of_a_decision_for_once(user: User, session_id: uuid.UUID) -> None:
    with pytest.raises(ValueError, match="once"):
        keep(user, session_id, "once")
    assert not Rule.objects.exists()


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ({"command": "ls *"}, "does not match"),
        ({"command": "GIT *"}, "does not match"),
        ({"path": "*"}, "does not match"),
        ({"depth": "*"}, "does not match"),
        ({"script": "git *"}, "exactly"),
        ({"command": "git *", "path": "*"}, "path"),
        ({"command": 1}, "a glob, as a string"),
        ({"command": "*" * 1001}, "1,000"),
        ({"command": "git *\x00"}, "cannot be stored"),
        ({str(number): "*" for number in range(11)}, "more than 10"),
    ],
)
def test_a_pattern_that_does_not_fit_the_approved_call_is_refused(
    user: User, session_id: uuid.UUID, pattern: dict[str, Any], words: str
) -> None:
    arguments = {"command": "git status", "depth": 3, "script": "git status; rm -rf /"}
    with pytest.raises(Invalid, match=words) as refused:
        keep(user, session_id, pattern=pattern, arguments=arguments)
    assert (refused.value.error_code, set(refused.value.fields)) == ("invalid", {"pattern"})
    assert not Rule.objects.exists()
    assert not AuditEntry.objects.exists()


def test_a_compound_command_is_remembered_as_exactly_itself(user: User, session_id: uuid.UUID) -> None:
    compound = {"command": "cd docs && make"}
    keep(user, session_id, arguments=compound, pattern=compound)
    policy = resolved(user, session_id)
    assert policy.judge(TOOL, compound, asks=True).outcome == "run"
    assert policy.judge(TOOL, {"command": "cd docs && make clean"}, asks=True).outcome == "ask"


def test_rules_in_one_session_are_limited(
    user: User, session_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "RULES_MAX", 2)
    keep(user, session_id, "always")
    keep(user, session_id)
    with pytest.raises(Invalid, match="Revoke"):
        keep(user, session_id, tool="other")
    assert keep(user, session_id).session == session_id  # it is there already
    assert keep(user, uuid.uuid4(), tool="other").tool == "other"


# --- revoking and forgetting ------------------------------------------------------------------------


def test_a_revoked_rule_is_gone(user: User, session_id: uuid.UUID) -> None:
    rule = keep(user, session_id)
    revoke(user=user, rule_id=str(rule.pk), surface="web")
    assert rules_for(user.pk, session_id) == ()
    with pytest.raises(NotFound):
        revoke(user=user, rule_id=rule.pk, surface="web")
    assert AuditEntry.objects.filter(event="rule_revoked").count() == 1


@pytest.mark.parametrize("rule_id", ["", "x", "01981f5e-c3d0-7f18-9a44-6b1f0e2d5c77"])
def test_an_unknown_rule_cannot_be_revoked(user: User, rule_id: str) -> None:
    with pytest.raises(NotFound):
        revoke(user=user, rule_id=rule_id, surface="web")


def test_nobody_revokes_anothers_rule(user: User, other_user: User, session_id: uuid.UUID) -> None:
    rule = keep(user, session_id)
    with pytest.raises(NotFound):
        revoke(user=other_user, rule_id=rule.pk, surface="web")
    assert Rule.objects.filter(pk=rule.pk).exists()


def test_the_audit_log_tells_who_allowed_and_revoked_what(user: User, session_id: uuid.UUID) -> None:
    ids = {"action_id": uuid.uuid4(), "turn_id": uuid.uuid4(), "tool_call_id": uuid.uuid4()}
    rule = keep(user, session_id, "always", pattern={"command": "git *"}, surface="api", **ids)
    revoke(user=user, rule_id=rule.pk, surface="web")
    added = AuditEntry.objects.get(event="rule_added")
    assert (added.user, added.actor, added.surface) == (user, user.username, "api")
    assert (added.tool, added.scope, added.final) == (TOOL, "always", {"command": "git *"})
    assert (added.action, added.turn, added.tool_call) == tuple(ids.values())
    assert added.session == session_id
    revoked = AuditEntry.objects.get(event="rule_revoked")
    assert (revoked.user, revoked.actor, revoked.surface) == (user, user.username, "web")
    assert (revoked.tool, revoked.scope, revoked.final) == (TOOL, "always", {"command": "git *"})


def test_a_deleted_session_leaves_the_audit_log_and_what_is_remembered_elsewhere(
    user: User, session_id: uuid.UUID
) -> None:
    elsewhere = uuid.uuid4()
    for where in (session_id, elsewhere):
        keep(user, where)
        Action.objects.create(user=user, session=where, turn=uuid.uuid4(), expires_at=timezone.now())
    keep(user, session_id, "always")
    forget_session(session_id)
    assert set(Rule.objects.values_list("session", flat=True)) == {None, elsewhere}
    assert list(Action.objects.values_list("session", flat=True)) == [elsewhere]
    assert AuditEntry.objects.filter(session=session_id).count() == 2


# --- the policy of a turn ---------------------------------------------------------------------------


def test_a_policy_is_made_of_what_everybody_says(user: User, session_id: uuid.UUID, settings: Any) -> None:
    settings.APPROVALS_MODE = "dont_ask"
    settings.APPROVALS_ALLOW, settings.APPROVALS_DENY, settings.APPROVALS_ASK = ["a"], ["b"], ["c*"]
    settings.APPROVALS_REASON = "Careful with {tool}."
    keep(user, session_id)
    skill = Layer(name="skill", ask=("*",))
    policy = resolved(user, session_id, approval_mode="ask_all", tightening=[skill])
    assert policy == Policy(
        mode="dont_ask",
        in_person=True,
        reason="Careful with {tool}.",
        operator=Layer(name="operator", allow=("a",), deny=("b",), ask=("c*",)),
        tightening=(skill,),
        session=Layer(name="session", ask=("*",)),
        rules=(Remembered(TOOL),),
    )
    assert Policy.from_json(json.loads(json.dumps(policy.as_json()))) == policy


def test_without_wishes_a_tool_decides_by_itself(user: User, session_id: uuid.UUID) -> None:
    policy = resolved(user, session_id, in_person=False)
    assert policy.as_json() == {}
    assert policy.judge("calculator", {}, asks=False).outcome == "run"
    assert policy.judge(TOOL, CALL, asks=True).outcome == "ask"


@pytest.mark.parametrize(
    ("over", "outcome"),
    [
        ({}, "run"),
        ({"approval_mode": "ask_all"}, "run"),
        ({"in_person": False}, "ask"),
        ({"in_person": False, "origin": "bot"}, "ask"),
        ({"temporary": True}, "ask"),
        ({"origin": "background", "in_person": False}, "refuse"),
        ({"tightening": [Layer(name="parent", ask=("*",))]}, "ask"),
    ],
)
@pytest.mark.parametrize("scope", ["session", "always"])
def test_a_rule_counts_where_its_owner_writes_in_person(
    user: User, session_id: uuid.UUID, over: dict[str, Any], outcome: str, scope: str
) -> None:
    keep(user, session_id, scope)
    assert resolved(user, session_id, **over).judge(TOOL, CALL, asks=True).outcome == outcome


@pytest.mark.parametrize(
    ("origin", "outcome"),
    [
        ("web", "ask"),
        ("key", "ask"),
        ("bot", "ask"),
        ("child", "ask"),
        ("background", "refuse"),
        ("cron", "refuse"),
    ],
)
def test_only_where_people_can_answer_are_they_asked(
    user: User, session_id: uuid.UUID, origin: str, outcome: str
) -> None:
    assert resolved(user, session_id, origin=origin).judge(TOOL, CALL, asks=True).outcome == outcome


def test_a_policy_takes_one_query_at_most(
    user: User, session_id: uuid.UUID, settings: Any, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        resolved(user, session_id)
    with django_assert_num_queries(0):
        resolved(user, session_id, in_person=False)
        resolved(user, session_id, temporary=True)
    settings.APPROVALS_ENABLED = False
    with django_assert_num_queries(0):
        assert not resolved(user, session_id).enabled


def test_a_policy_does_not_change_with_the_settings(user: User, session_id: uuid.UUID, settings: Any) -> None:
    before = resolved(user, session_id)
    settings.APPROVALS_DENY = [TOOL]
    assert before.judge(TOOL, CALL, asks=True).outcome == "ask"
    assert resolved(user, session_id).judge(TOOL, CALL, asks=True).outcome == "refuse"
