"""The pages of approvals: the inbox, where notifications lead, remembered rules, and the count on every page."""

from __future__ import annotations

import json
import re
import uuid
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from approvals.models import Action, AuditEntry, Rule
from approvals.objects import action_object
from approvals.rules import remember
from copilot.models import Session, User
from copilot.turns.sessions import delete_session
from tests.approvals.asking import decide_now
from tests.approvals.waiting import Call, notes, overdue, waiting
from tests.factories import make_session

pytestmark = pytest.mark.django_db
HOSTILE = "</pre><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
PAGES = ("approvals", "approval-items", "approval-rules", "approval-log")


@pytest.fixture
def page(client: Client, user: User) -> Client:
    """A browser in which the user is logged in."""
    client.force_login(user)
    return client


def waits(session: Session, *texts: str) -> Action:
    """An action in ``session`` about a note for each text, or about one."""
    return waiting(*notes(*texts), session=session)


def html_of(client: Client, name: str = "approvals") -> str:
    return str(client.get(reverse(name)).content.decode())


def question(text: str, *options: str) -> Call:
    return "ask_user", {"question": text, "options": list(options)}


def listed(html: str) -> list[str]:
    """The actions on a page, in order."""
    return re.findall(r'<article class="asked" id="approval-([0-9a-f-]+)"', html)


def text_of(html: str) -> str:
    """What is read of a page without its scripts."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


# --- who sees them ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_one_has_to_be_logged_in(client: Client, name: str) -> None:
    answer = client.get(reverse(name))
    assert (answer.status_code, answer["Location"].split("?")[0]) == (302, reverse("login"))


def test_nothing_of_others_is_shown(page: Client, other_user: User) -> None:
    waits(make_session(other_user, title="Their plan"), "their secret")
    remember(user=other_user, session_id=uuid.uuid4(), scope="always", tool="theirs", arguments={}, surface="web")
    their_own = Client()
    their_own.force_login(other_user)
    theirs = {"Their plan", "their secret", "theirs"}

    def seen_by(browser: Client) -> set[str]:
        html = "".join(html_of(browser, name) for name in PAGES)
        return {text for text in theirs if text in html}

    assert (seen_by(page), seen_by(their_own)) == (set(), theirs)


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_not_kept_by_caches(page: Client, name: str) -> None:
    assert "no-store" in page.get(reverse(name))["Cache-Control"]


# --- the inbox --------------------------------------------------------------------------------


def test_what_waits_is_listed_over_all_sessions_the_soonest_end_first(page: Client, user: User) -> None:
    late, soon = waits(make_session(user)), waits(make_session(user))
    Action.objects.filter(pk=soon.pk).update(expires_at=late.expires_at - timedelta(hours=1))
    temporary = waits(make_session(user, temporary=True))
    overdue(waits(make_session(user)))
    decide_now(waits(make_session(user)), "reject")
    for name in ("approvals", "approval-items"):
        assert listed(html_of(page, name)) == [str(each.pk) for each in (soon, late, temporary)]


def test_each_is_readable_without_scripts_and_leads_to_its_session(page: Client, user: User) -> None:
    session = make_session(user, title="Spring release")
    action = waits(session, "first note", "second note")
    html = html_of(page)
    assert f'href="{reverse("session", args=[session.pk])}#approval-{action.pk}"' in html
    text = text_of(html)
    for shown in ("Spring release", "demo_note", '"text": "first note"', '"text": "second note"'):
        assert shown in text
    assert '<p class="empty" id="nothing" hidden>' in html


def test_a_question_is_shown_with_its_options(page: Client, user: User) -> None:
    waiting(question("Where to?", "North", "South"), session=make_session(user))
    text = text_of(html_of(page))
    assert all(shown in text for shown in ("Where to?", "North", "South"))


def test_scripts_read_the_public_form_exactly(page: Client, user: User) -> None:
    action = waits(make_session(user), HOSTILE)
    html = html_of(page)
    (attribute,) = re.findall(r'data-approval="([^"]*)"', html)
    assert json.loads(unescape(attribute)) == action_object(action)


def test_texts_of_models_cannot_become_markup(page: Client, user: User) -> None:
    action = waits(make_session(user, title=HOSTILE), HOSTILE)
    requests = [{**request, "name": HOSTILE, "description": HOSTILE} for request in action.requests]
    Action.objects.filter(pk=action.pk).update(requests=requests)
    waiting(question(HOSTILE, HOSTILE, "other"), session=make_session(user))
    remember(user=user, session_id=uuid.uuid4(), scope="always", tool=HOSTILE, arguments={}, surface="web")
    for name in PAGES:
        html = html_of(page, name)
        assert "<img" not in html
        assert "<script>" not in html


def test_an_empty_inbox_says_so(page: Client) -> None:
    html = html_of(page)
    assert '<p class="empty" id="nothing">' in html
    assert listed(html) == []


@pytest.mark.parametrize("count", [1, 12])
def test_an_inbox_costs_the_same_whatever_waits(
    page: Client, user: User, count: int, django_assert_num_queries: Any
) -> None:
    for _ in range(count):
        waits(make_session(user))
    # Login session, user; actions, titles of their sessions; how much waits, list of sessions, new links.
    with django_assert_num_queries(7):
        page.get(reverse("approvals"))


# --- where notifications lead -----------------------------------------------------------------


@pytest.mark.parametrize("decided", [False, True])
def test_an_action_leads_to_its_place_in_the_session(page: Client, user: User, decided: bool) -> None:
    action = waits(make_session(user))
    if decided:
        decide_now(action, "reject")
    answer = page.get(reverse("approval", args=[action.pk]))
    assert answer["Location"] == f"{reverse('session', args=[action.session])}#approval-{action.pk}"


def test_an_action_that_is_unknown_deleted_or_anothers_is_not_found(
    page: Client, user: User, other_user: User
) -> None:
    session = make_session(user)
    deleted = waits(session)
    delete_session(user=user, session_id=session.pk)
    for action_id in (uuid.uuid4(), deleted.pk, waits(make_session(other_user)).pk):
        assert page.get(f"/approvals/{action_id}/").status_code == 404
    assert page.get("/approvals/x/").status_code == 404


# --- the count on every page ------------------------------------------------------------------


def test_every_page_says_how_much_waits(page: Client, user: User) -> None:
    action = waits(make_session(user))
    waits(make_session(user))
    for path in ("/", f"/c/{action.session}/", "/approvals/rules/", "/no-such-page/"):
        assert "<title>(2) " in page.get(path).content.decode(), path
    home = html_of(page, "home")
    assert '<span class="badge count" id="waiting"><span>2</span>' in home


def test_nothing_is_counted_where_nothing_waits(page: Client, user: User, other_user: User) -> None:
    waits(make_session(other_user))
    overdue(waits(make_session(user)))
    home = html_of(page, "home")
    assert "<title>New chat" in home
    assert '<span class="badge count" id="waiting" hidden>' in home


def test_pages_for_anybody_ask_the_database_nothing(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert client.get(reverse("login")).status_code == 200
        assert client.get("/no-such-page/").status_code == 404


def test_the_sidebar_marks_what_goes_on(page: Client, user: User) -> None:
    waits(make_session(user, title="Waits"))
    make_session(user, title="Idle")
    items = dict(re.findall(r"<li ([^>]*)><a [^>]*>(Waits|Idle)</a>", html_of(page, "home")))
    marks = {title: 'data-activity="requires_action"' in attributes for attributes, title in items.items()}
    assert marks == {"Waits": True, "Idle": False}


# --- remembered rules -------------------------------------------------------------------------


def keep(user: User, tool: str = "shell", scope: str = "session", session: Session | None = None) -> Rule:
    session_id = session.pk if session else uuid.uuid4()
    arguments = {"command": "git status", "items": "all"}
    return remember(
        user=user,
        session_id=session_id,
        scope=scope,
        tool=tool,
        arguments=arguments,
        pattern={"command": "git *", "items": "all"} if scope == "session" else {},
        surface="web",
    )


def test_rules_say_what_they_allow_and_where(page: Client, user: User) -> None:
    session = make_session(user, title="Spring release")
    keep(user, session=session)
    keep(user, "mcp:github:push", "always")
    text = text_of(html_of(page, "approval-rules"))
    assert re.search(r"mcp:github:push whatever the arguments are in all chats, since", text)
    assert re.search(r"shell command git \* items all in Spring release , since", text)


def test_without_rules_the_page_says_how_they_come_about(page: Client) -> None:
    assert "Nothing is remembered." in html_of(page, "approval-rules")


def test_a_rule_is_revoked_by_its_button(user: User) -> None:
    rule, other = keep(user), keep(user, "other")
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    html = html_of(browser, "approval-rules")
    address = reverse("revoke-approval-rule", args=[rule.pk])
    assert f'action="{address}"' in html
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', html)
    assert token
    answer = browser.post(address, {"csrfmiddlewaretoken": token[1]})
    assert (answer.status_code, answer["Location"]) == (302, reverse("approval-rules"))
    assert list(Rule.objects.all()) == [other]
    entry = AuditEntry.objects.get(event="rule_revoked")
    assert (entry.actor, entry.surface, entry.tool) == ("ada", "web", "shell")


def test_revoking_needs_the_pages_token_and_a_post(user: User) -> None:
    rule = keep(user)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    address = reverse("revoke-approval-rule", args=[rule.pk])
    assert browser.post(address).status_code == 403
    assert browser.get(address).status_code == 405
    assert Rule.objects.exists()


def test_nobody_revokes_the_rules_of_others(page: Client, other_user: User) -> None:
    rule = keep(other_user)
    assert page.post(reverse("revoke-approval-rule", args=[rule.pk])).status_code == 404
    assert Rule.objects.exists()
