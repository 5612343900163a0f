"""What the page of a session says of decisions: how they were made, and which one is waited for."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from approvals import outcome
from approvals.models import Action
from chat import asked
from copilot.models import Message, Session, Turn, User
from copilot.turns.sessions import create_session

pytestmark = pytest.mark.django_db
CALL = "01981f5e-8a40-7c11-9f62-3a8d2f0c1b11"
SCRIPTS = Path(__file__).parents[2] / "approvals" / "static" / "approvals"


@pytest.fixture
def session(client: Client, user: User) -> Session:
    """A session of whoever is logged in."""
    client.force_login(user)
    return create_session(user=user, title="Notes")


def decided(session: Session, decision: dict[str, Any] | None, **over: Any) -> Action:
    """A finished turn with one call, and what became of the question whether it may run."""
    values = {"status": "completed", "outcome": "stop", "model": "demo/demo", "last_seq": 1}
    turn = Turn.objects.create(session=session, user=session.user, finished_at=timezone.now(), **values)
    part = {"type": "dynamic-tool", "toolName": "demo_note", "toolCallId": CALL, "state": "output-available"}
    part |= {"input": {"text": "new"}, "output": "done", "approval": {"id": f"x.{CALL}", "approved": True}}
    Message.objects.create(
        session=session, turn=turn, role="assistant", state="done", seq=1, number=1, parts=[part]
    )
    request = {"tool_call_id": CALL, "name": "demo_note", "arguments": {"text": "old"}, "sha256": "0" * 64}
    request |= {"schema": {}, "allowed_decisions": ["approve", "edit", "reject", "respond"]}
    fields: dict[str, Any] = {"user": session.user, "session": session.id, "turn": turn.id, "requests": [request]}
    fields |= {
        "expires_at": timezone.now() + timedelta(days=1),
        "resolved_at": timezone.now(),
        "status": "expired",
    }
    if decision is not None:
        made = {"decisions": [{"tool_call_id": CALL, **decision}], "decided_by": session.user}
        fields |= {**made, "status": "decided", "surface": "web", "scope": "once", "digest": "x"}
    return Action.objects.create(**{**fields, **over})


def shown(client: Client, session: Session) -> str:
    """Return the summary of the call's card in one line, without markup."""
    html = client.get(reverse("session-messages", args=[session.id])).content.decode()
    summary = re.search(r"<summary>(.*?)</summary>", html, re.DOTALL)
    assert summary, html
    return " ".join(re.sub(r"<[^>]+>", " ", summary[1]).split())


def test_a_card_says_who_decided_what_where_and_when(client: Client, session: Session) -> None:
    action = decided(session, {"type": "approve"}, scope="always")
    assert action.resolved_at is not None
    clock = f"{action.resolved_at:%H:%M} UTC"
    name = session.user.get_username()
    assert shown(client, session) == f"demo_note done Approved by {name} on the web, {clock} · always allowed"
    html = client.get(reverse("session", args=[session.id])).content.decode()
    assert f'<time datetime="{action.resolved_at:%Y-%m-%dT%H:%M:%S}' in html


@pytest.mark.parametrize(
    ("over", "line"),
    [
        ({}, "Nobody decided in time"),
        ({"kind": "ask_user_question", "question": "Which?"}, "Nobody answered in time"),
        ({"status": "cancelled"}, "Not decided: stopped before"),
    ],
)
def test_what_nobody_decided_says_so(client: Client, session: Session, over: dict[str, Any], line: str) -> None:
    decided(session, None, **over)
    assert shown(client, session) == f"demo_note done {line}"


def test_edited_arguments_are_shown_beside_those_that_were_asked_about(client: Client, session: Session) -> None:
    decided(session, {"type": "edit", "arguments": {"text": "new"}})
    html = client.get(reverse("session", args=[session.id])).content.decode()
    assert re.search(r"Asked for</h3><pre>[^<]*old[^<]*</pre>\s*<h3>Input</h3><pre>[^<]*new", html)


def test_decisions_cost_one_query_however_many(
    client: Client, session: Session, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    decided(session, {"type": "approve"})
    # login session, user; session, messages, their turns, decisions
    with django_assert_num_queries(6):
        client.get(reverse("session-messages", args=[session.id]))


def test_what_is_asked_of_others_is_not_shown(client: Client, session: Session, other_user: User) -> None:
    decided(session, {"type": "approve"})
    client.force_login(other_user)
    assert client.get(reverse("session", args=[session.id])).status_code == 404


def test_pages_and_scripts_word_decisions_alike() -> None:
    script = (SCRIPTS / "outcome.js").read_text()
    for words in (outcome.VERBS, outcome.SURFACES, outcome.REMEMBERED):
        assert all(f'{name}: "{word}"' in script for name, word in words.items())
    assert all(f'"{line}"' in script for line in outcome.UNDECIDED.values())


def test_the_card_without_scripts_has_the_words_of_the_one_with_them() -> None:
    scripts = "".join((SCRIPTS / name).read_text() for name in ("call.js", "card.js", "scope.js"))
    for words in (asked._CHOICES, asked._OPENS, asked._SCOPES):
        assert all(f'{name}: "{word}"' in scripts for name, word in words.items())
    for label in ("Approve", "Reject", "Approve all", "Answer", "Do not answer"):
        assert f'button("{label}"' in scripts
