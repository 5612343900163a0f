"""The log of what became of what a person was asked: over REST and on its page."""

from __future__ import annotations

import re
import uuid
from html import unescape
from typing import Any

import pytest
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse

from approvals.actions import cancel, expire
from approvals.models import Action, AuditEntry
from approvals.rules import remember, revoke
from approvals.selectors import titles_of
from common.db import db_now
from copilot.models import Session, User
from copilot.turns.sessions import delete_session
from linking.keys import issue_key
from tests.api.conftest import Api
from tests.approvals.asking import decide_now
from tests.approvals.waiting import api_of, notes, overdue, waiting
from tests.factories import make_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(user: User) -> Api:
    return api_of(user)


@pytest.fixture
def session(user: User) -> Session:
    return make_session(user, title="Spring release")


def asks(session: Session, *texts: str) -> Action:
    return waiting(*notes(*(texts or ("hello",))), session=session)


def entries(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = api.get("approval-log", **query)
    assert answer.status_code == 200, answer.content
    listed: list[dict[str, Any]] = answer.json()["results"]
    return listed


def page_of(user: User, **query: Any) -> str:
    """What is read of the log's page, with what is folded."""
    client = Client()
    client.force_login(user)
    html = client.get(reverse("approval-log"), query).content.decode()
    main = html.split("<main")[1]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


# --- what it says -----------------------------------------------------------------------------


def test_a_decision_says_who_what_where_and_with_which_arguments(api: Api, user: User, session: Session) -> None:
    action = asks(session)
    decide_now(action, "edit", arguments={"text": "goodbye"}, reason="Politely.")
    [entry] = entries(api)
    assert entry.pop("at").endswith("Z")
    assert uuid.UUID(entry.pop("id"))
    assert entry == {
        "event": "decided",
        "actor": "ada",
        "surface": "web",
        "approval": str(action.pk),
        "session": str(session.pk),
        "turn": str(action.turn),
        "tool_call_id": action.requests[0]["tool_call_id"],
        "tool": "demo_note",
        "decision": "edit",
        "scope": "once",
        "text": "Politely.",
        "shown": {"text": "hello"},
        "final": {"text": "goodbye"},
    }
    page = page_of(user)
    for shown in ("approved with changes demo_note", "Politely.", '"text": "hello"', '"text": "goodbye"'):
        assert shown in page
    assert "by ada on the web · Spring release" in page


def test_titles_are_read_of_those_sessions_only_that_are_named(user: User, session: Session) -> None:
    make_session(user, title="Not asked for")
    assert titles_of(user, [session.pk, None]) == {session.pk: "Spring release"}


def test_each_call_of_a_batch_has_its_entry(api: Api, session: Session) -> None:
    decide_now(asks(session, "one", "two"), "approve", "reject")
    found = {entry["shown"]["text"]: entry["decision"] for entry in entries(api)}
    assert found == {"one": "approve", "two": "reject"}


def test_what_nobody_decided_says_why(api: Api, user: User, session: Session) -> None:
    late = asks(session)
    overdue(late)
    assert expire(late.pk)
    stopped = asks(session)
    assert cancel(stopped.pk, reason="stopped", actor="ada", surface="web")
    found = {entry["approval"]: entry for entry in entries(api)}
    assert (found[str(late.pk)]["event"], found[str(late.pk)]["surface"]) == ("expired", "server")
    assert "actor" not in found[str(late.pk)]
    assert (found[str(stopped.pk)]["event"], found[str(stopped.pk)]["text"]) == ("cancelled", "stopped")
    page = page_of(user)
    assert re.search(r"expired .* by the server", page)
    assert re.search(r"stopped Its turn was stopped\. .* by ada on the web", page)


def test_rules_that_are_added_and_revoked_are_in_it(api: Api, user: User, session: Session) -> None:
    wish: dict[str, Any] = {"arguments": {"command": "git push"}, "pattern": {"command": "git *"}}
    rule = remember(user=user, session_id=session.pk, scope="session", tool="shell", surface="api", **wish)
    revoke(user=user, rule_id=rule.pk, surface="web")
    found = {entry["event"]: (entry["surface"], entry["tool"], entry["final"]) for entry in entries(api)}
    assert found == {
        "rule_added": ("api", "shell", {"command": "git *"}),
        "rule_revoked": ("web", "shell", {"command": "git *"}),
    }
    page = page_of(user)
    assert re.search(r"rule revoked shell Pattern .*git \*.* by ada on the web · for this chat", page)
    assert re.search(r"rule added shell Pattern .*git \*.* by ada over the API · for this chat", page)


def test_nothing_tells_hidden_values_from_each_other(api: Api, session: Session) -> None:
    decide_now(asks(session), "approve")
    assert not [name for name in entries(api)[0] if "sha" in name]


def test_it_stays_when_its_session_is_deleted(api: Api, user: User, session: Session) -> None:
    decide_now(asks(session), "reject")
    delete_session(user=user, session_id=session.pk)
    assert [entry["decision"] for entry in entries(api)] == ["reject"]
    page = page_of(user)
    assert "rejected demo_note" in page
    assert "Spring release" not in page


def test_an_empty_log_says_so(user: User, api: Api) -> None:
    assert entries(api) == []
    assert "Nothing was decided yet." in page_of(user)


# --- who reads it -----------------------------------------------------------------------------


def test_nobody_reads_the_log_of_others(api: Api, user: User, other_user: User) -> None:
    decide_now(asks(make_session(other_user), "their secret"), "approve")
    assert entries(api) == []
    assert "their secret" not in page_of(user)
    assert entries(api_of(other_user))[0]["shown"] == {"text": "their secret"}
    assert Client().get("/api/v1/approval-log").status_code == 401


@pytest.mark.parametrize(("scopes", "status"), [(["chat"], 200), (["approve"], 403)])
def test_a_key_that_may_chat_may_read_it(user: User, scopes: list[str], status: int) -> None:
    _, secret = issue_key(user=user, scopes=scopes)
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    assert client.get("/api/v1/approval-log").status_code == status


# --- pages of it ------------------------------------------------------------------------------


@pytest.fixture
def long_log(user: User) -> list[str]:
    """Names of tools, newest first; some of the entries are of the same moment."""
    for number in range(7):
        tool = f"tool-{number}"
        remember(user=user, session_id=uuid.uuid4(), scope="always", tool=tool, arguments={}, surface="web")
    same = AuditEntry.objects.filter(tool__in=["tool-1", "tool-2", "tool-3"])
    QuerySet.update(same, at=db_now())  # past the log's own refusal
    return list(AuditEntry.objects.order_by("-at", "-id").values_list("tool", flat=True))


def test_pages_follow_each_other_without_gap_or_repetition(api: Api, long_log: list[str]) -> None:
    seen, cursor = [], {}
    while True:
        body = api.get("approval-log", limit=3, **cursor).json()
        seen += [entry["tool"] for entry in body["results"]]
        if body["next"] is None:
            break
        cursor = {"cursor": body["next"]}
    assert seen == long_log
    assert len(set(seen)) == 7
    back = api.get("approval-log", limit=3, cursor=body["previous"]).json()
    assert [entry["tool"] for entry in back["results"]] == long_log[3:6]


def test_the_page_leads_to_older_and_newer_ones(user: User, long_log: list[str]) -> None:
    client = Client()
    client.force_login(user)

    def tools(html: str) -> list[str]:
        return re.findall(r'<span class="tool-name">([^<]*)</span>', html)

    def follow(html: str, rel: str) -> str:
        link = re.search(rf'href="([^"]*)" rel="{rel}"', html)
        assert link
        return str(client.get(unescape(link[1])).content.decode())

    first = client.get(reverse("approval-log"), {"limit": 3}).content.decode()
    assert 'rel="prev"' not in first
    second = follow(first, "next")
    assert (tools(first), tools(second)) == (long_log[:3], long_log[3:6])
    assert tools(follow(second, "prev")) == long_log[:3]
    assert 'rel="next"' not in follow(second, "next")


@pytest.mark.parametrize("query", [{"cursor": "nonsense"}, {"limit": "x"}, {"limit": "0"}])
def test_a_bad_place_is_refused_over_rest_and_begins_anew_on_the_page(
    api: Api, user: User, query: dict[str, str]
) -> None:
    answer = api.get("approval-log", **query)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    client = Client()
    client.force_login(user)
    assert client.get(reverse("approval-log"), query)["Location"] == reverse("approval-log")


@pytest.mark.parametrize("count", [1, 20])
def test_a_page_costs_the_same_however_much_is_on_it(
    api: Api, user: User, count: int, django_assert_num_queries: Any
) -> None:
    for number in range(count):
        remember(
            user=user, session_id=uuid.uuid4(), scope="session", tool=str(number), arguments={}, surface="web"
        )
    # Login session, user; entries.
    with django_assert_num_queries(3):
        entries(api)
    client = Client()
    client.force_login(user)
    # Also: titles of their sessions; how much waits, list of sessions, new links.
    with django_assert_num_queries(7):
        client.get(reverse("approval-log"))
