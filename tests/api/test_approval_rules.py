"""``/approval-rules``: what the caller wants remembered, and forgetting it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from approvals.models import AuditEntry, Rule
from approvals.rules import remember
from copilot.models import User
from linking.keys import issue_key
from tests.api.conftest import Api

SESSION = uuid.UUID("01981f5e-8a40-7c11-9f62-3a8d2f0c1b11")


def keep(user: User, tool: str = "shell", scope: str = "session", **over: Any) -> Rule:
    wish: dict[str, Any] = {"arguments": {"command": "git status"}, "surface": "web", **over}
    return remember(user=user, session_id=SESSION, scope=scope, tool=tool, **wish)


def test_ones_own_rules_are_listed_newest_first(api: Api, user: User, other_user: User) -> None:
    first = keep(user, pattern={"command": "git *"})
    Rule.objects.update(created_at=timezone.now() - timedelta(hours=1))
    second = keep(user, "mcp:github:push", "always")
    keep(other_user)
    listed = api.get("approval-rules").json()
    assert [row.pop("created_at")[-1] for row in listed["results"]] == ["Z", "Z"]
    assert listed == {
        "results": [
            {"id": str(second.pk), "tool": "mcp:github:push", "pattern": {}},
            {"id": str(first.pk), "tool": "shell", "pattern": {"command": "git *"}, "session": str(SESSION)},
        ],
        "next": None,
        "previous": None,
    }


def test_without_rules_the_list_is_empty(api: Api) -> None:
    assert api.get("approval-rules").json()["results"] == []


def test_a_rule_is_revoked_once(api: Api, user: User) -> None:
    rule, other = keep(user), keep(user, "other")
    assert api.delete(f"approval-rules/{rule.pk}").status_code == 204
    assert [row["id"] for row in api.get("approval-rules").json()["results"]] == [str(other.pk)]
    again = api.delete(f"approval-rules/{rule.pk}")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")
    assert AuditEntry.objects.get(event="rule_revoked").surface == "web"


@pytest.mark.parametrize("rule_id", ["x", "0", "01981f5e-c3d0-7f18-9a44-6b1f0e2d5c77"])
def test_an_unknown_rule_is_not_found(api: Api, rule_id: str) -> None:
    response = api.delete(f"approval-rules/{rule_id}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_anothers_rule_is_not_found(other_api: Api, user: User) -> None:
    rule = keep(user)
    assert other_api.delete(f"approval-rules/{rule.pk}").status_code == 404
    assert Rule.objects.filter(pk=rule.pk).exists()


@pytest.mark.parametrize(("scopes", "status"), [(["chat"], 204), (["approve"], 403)])
def test_a_key_that_may_chat_may_revoke(user: User, scopes: list[str], status: int) -> None:
    _, secret = issue_key(user=user, scopes=scopes)
    rule = keep(user)
    headers = {"Authorization": f"Bearer {secret}"}
    response = Client(headers=headers).delete(f"/api/v1/approval-rules/{rule.pk}")
    assert response.status_code == status
    assert Rule.objects.exists() is (status == 403)
    assert list(AuditEntry.objects.filter(event="rule_revoked").values_list("surface", flat=True)) == (
        ["api"] if status == 204 else []
    )


def test_nobody_else_sees_or_revokes_anything(anonymous: Api, user: User) -> None:
    rule = keep(user)
    assert anonymous.get("approval-rules").status_code == 401
    assert anonymous.delete(f"approval-rules/{rule.pk}").status_code == 401
