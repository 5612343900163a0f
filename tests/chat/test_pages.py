"""The pages of the web chat: who sees them, and what the server draws on them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from chat.transcript import CUT, STOPPED, TOOL_STATES
from copilot.agent.loop import DECLINED
from copilot.models import Message, Session, Turn, User
from copilot.turns.sessions import create_session

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def page(client: Client, user: User) -> Client:
    """A browser in which the user is logged in."""
    client.force_login(user)
    return client


@pytest.fixture
def session(user: User) -> Session:
    return create_session(user=user, title="Recursion")


def ended(session: Session, status: str, outcome: str, **over: Any) -> Turn:
    """A turn that is over."""
    values = {"model": "demo/demo", "last_seq": 1, "finished_at": timezone.now(), **over}
    return Turn.objects.create(session=session, user=session.user, status=status, outcome=outcome, **values)


def say(
    session: Session, role: str, *parts: dict[str, Any], turn: Turn | None = None, state: str = "done"
) -> Message:
    """A message at the end of the transcript."""
    seq = session.messages.count() + 1
    return Message.objects.create(
        session=session, role=role, state=state, seq=seq, number=seq, parts=list(parts), turn=turn
    )


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def address(session: Session, name: str = "session") -> str:
    return reverse(name, args=[session.id])


# --- who sees them ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["session", "session-messages"])
def test_a_session_is_its_owners_alone(client: Client, other_user: User, session: Session, name: str) -> None:
    anonymous = client.get(address(session, name))
    assert anonymous.status_code == 302
    assert anonymous["Location"].startswith(reverse("login"))
    client.force_login(other_user)
    assert client.get(address(session, name)).status_code == 404
    client.force_login(session.user)
    assert client.get(address(session, name)).status_code == 200


def test_a_new_session_is_made_by_post_alone(page: Client, user: User) -> None:
    assert page.get(reverse("new-session")).status_code == 405
    answer = page.post(reverse("new-session"))
    assert answer["Location"] == address(Session.objects.get(user=user))


def test_a_new_session_needs_the_pages_token(user: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    assert strict.post(reverse("new-session")).status_code == 403
    assert not Session.objects.exists()


def test_home_lists_the_persons_sessions_only(page: Client, session: Session, other_user: User) -> None:
    create_session(user=other_user, title="Somebody else's")
    html = page.get(reverse("home")).content.decode()
    assert "Recursion" in html
    assert "Somebody" not in html


def test_pages_are_not_kept_by_caches(page: Client, session: Session) -> None:
    assert "no-store" in page.get(address(session))["Cache-Control"]


# --- what is drawn ----------------------------------------------------------------------------


def test_texts_of_people_and_models_cannot_become_markup(page: Client, session: Session) -> None:
    Session.objects.filter(id=session.id).update(title=HOSTILE)
    turn = ended(session, "failed", "unknown", error={"detail": HOSTILE, "hint": HOSTILE})
    say(session, "user", text(HOSTILE), turn=turn)
    call: dict[str, Any] = {
        "type": "dynamic-tool",
        "toolName": HOSTILE,
        "toolCallId": "1",
        "state": "output-error",
    }
    call |= {"input": {"x": HOSTILE}, "errorText": HOSTILE}
    reasoning = {"type": "reasoning", "text": HOSTILE}
    say(session, "assistant", reasoning, call, text(HOSTILE), turn=turn, state="partial")
    html = page.get(address(session)).content.decode()
    assert html.count("&lt;img src=x") >= 9
    assert "<img" not in html
    assert_no_inline_code(html)


def test_a_refused_call_says_why(page: Client, session: Session) -> None:
    refused: dict[str, Any] = {"type": "dynamic-tool", "toolName": "shell", "toolCallId": "1", "input": {}}
    refused |= {"state": "output-denied", "approval": {"id": "1", "approved": False, "reason": "Not on a Sunday."}}
    say(session, "assistant", refused, turn=ended(session, "completed", "stop"))
    html = page.get(address(session)).content.decode()
    assert "refused" in html
    assert "Not on a Sunday." in html


def assert_no_inline_code(html: str) -> None:
    for attributes in re.findall(r"<script\b([^>]*)>", html):
        assert 'src="/static/chat/' in attributes
    assert "<style" not in html
    for tag in re.findall(r"<\w[^>]*>", html):
        assert not re.search(r"\s(style|on\w+)=", tag), tag


@pytest.mark.parametrize("path", ["/", "/login/", "/no-such-page/"])
def test_pages_have_no_inline_code(page: Client, path: str) -> None:
    if path == "/login/":
        page.logout()
    response = page.get(path)
    assert_no_inline_code(response.content.decode())
    assert "'unsafe" not in response["Content-Security-Policy"]


def test_an_answer_is_markdown_and_a_question_is_not(page: Client, session: Session) -> None:
    say(session, "user", text("*plain*"))
    say(session, "assistant", text("**strong**"))
    html = page.get(address(session)).content.decode()
    assert "*plain*" in html
    assert "<strong>strong</strong>" in html


def test_tools_and_thoughts_are_folded_away(page: Client, session: Session) -> None:
    call: dict[str, Any] = {
        "type": "dynamic-tool",
        "toolName": "calculator",
        "toolCallId": "1",
        "state": "output-available",
    }
    call |= {"input": {"expression": "2*3"}, "output": {"result": 6}}
    say(session, "assistant", {"type": "step-start"}, {"type": "reasoning", "text": "Hm."}, call, text("6"))
    html = page.get(address(session)).content.decode()
    assert html.count("<details") == 2
    assert "&quot;expression&quot;: &quot;2*3&quot;" in html
    assert '<span class="tool-state">done</span>' in html


def test_a_failed_turn_shows_its_error(page: Client, session: Session) -> None:
    error = {"detail": "The provider is limiting requests.", "hint": "Wait a minute."}
    turn = ended(session, "failed", "rate_limit", error=error)
    say(session, "assistant", turn=turn, state="failed")
    html = page.get(address(session)).content.decode()
    line = '<p class="turn-error">The provider is limiting requests. Wait a minute. <code>rate_limit</code></p>'
    assert line in html


def test_a_stopped_turn_is_no_error(page: Client, session: Session) -> None:
    say(session, "assistant", text("so far"), turn=ended(session, "cancelled", "stopped"), state="partial")
    html = page.get(address(session)).content.decode()
    assert '<p class="turn-stopped">Stopped.</p>' in html
    assert "turn-error" not in html


@pytest.mark.parametrize("outcome", CUT)
def test_an_answer_that_ended_early_says_so_below_its_last_message(
    page: Client, session: Session, outcome: str
) -> None:
    early = ended(session, "completed", outcome)
    for number in range(2):
        say(session, "user", text("please"), turn=early)
        say(session, "assistant", text(f"so far {number}"), turn=early)
    say(session, "assistant", text("whole"), turn=ended(session, "completed", "stop"))
    articles = page.get(address(session)).content.decode().split("<article")
    assert [CUT[outcome] in article for article in articles[1:]] == [False, False, False, True, False]


def test_a_refusal_that_says_so_itself_says_it_once(page: Client, session: Session) -> None:
    say(session, "assistant", text(DECLINED), turn=ended(session, "completed", "content-filter"))
    assert CUT["content-filter"] not in page.get(address(session)).content.decode()


def test_a_turn_that_was_stopped_before_it_said_anything_says_so_once(page: Client, session: Session) -> None:
    silent, partial = ended(session, "cancelled", "stopped"), ended(session, "cancelled", "stopped")
    for turn in (silent, silent, partial):
        say(session, "user", text("please"), turn=turn)
    say(session, "assistant", text("so far"), turn=partial, state="partial")
    html = page.get(address(session)).content.decode()
    second, third = (html.split("<article")[number] for number in (2, 3))
    assert html.count("turn-stopped") == 2
    assert "turn-stopped" in second
    assert "turn-stopped" not in third


def test_answers_of_the_demo_model_say_so(page: Client, session: Session) -> None:
    say(session, "assistant", text("canned"), turn=ended(session, "completed", "stop"))
    say(session, "assistant", text("real"), turn=ended(session, "completed", "stop", model="openai/x"))
    html = page.get(address(session, "session-messages")).content.decode()
    assert html.count('<span class="tag">demo</span>') == 1


def test_the_live_view_words_things_like_the_templates() -> None:
    scripts = Path(__file__).parents[2] / "chat" / "static" / "chat"
    parts, live = (scripts / "parts.js").read_text(), (scripts / "live.js").read_text()
    assert all(f'"{state}": "{label}"' in parts for state, label in TOOL_STATES.items())
    assert all(f'{reason}: "{sentence}"' in live for reason, sentence in STOPPED.items())
    assert all(f'"{reason}": "{sentence}"' in live for reason, sentence in CUT.items())
    assert f'DECLINED = "{DECLINED}"' in live


# --- pages of a long transcript -----------------------------------------------------------------


def seqs(html: str) -> list[int]:
    return [int(seq) for seq in re.findall(r'data-seq="(\d+)"', html)]


def test_a_long_session_shows_its_newest_messages_and_a_way_back(page: Client, session: Session) -> None:
    for number in range(55):
        say(session, "user", text(f"message {number}"))
    html = page.get(address(session)).content.decode()
    assert seqs(html) == list(range(6, 56))
    assert 'href="?before=6"' in html
    assert seqs(page.get(address(session) + "?before=6").content.decode()) == [1, 2, 3, 4, 5]
    after = page.get(address(session, "session-messages") + "?after=53")
    assert seqs(after.content.decode()) == [54, 55]
    assert after["X-Has-Newer"] == "0"


@pytest.mark.parametrize("value", ["", "x", "-1", "²", "1e3", "9" * 30])
def test_a_bound_that_is_no_number_is_as_good_as_none(page: Client, session: Session, value: str) -> None:
    say(session, "user", text("hello"))
    assert seqs(page.get(address(session), {"before": value}).content.decode()) == [1]


def test_messages_in_the_making_are_not_drawn(page: Client, session: Session) -> None:
    turn = ended(session, "completed", "stop")
    say(session, "assistant", text("half"), turn=turn, state="open")
    Message.objects.create(session=session, role="user", state="queued", number=2, parts=[text("later")])
    assert seqs(page.get(address(session)).content.decode()) == []


def test_a_page_costs_the_same_whatever_its_length(
    page: Client, session: Session, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        say(session, "assistant", text(str(number)), turn=ended(session, "completed", "stop"))
        create_session(user=session.user, title=str(number))
    # login session, user; session, messages, their turns, one that waits; how much waits, sessions, new links
    with django_assert_num_queries(9):
        page.get(address(session))


def test_sessions_are_grouped_by_the_day_of_their_last_activity(
    page: Client, session: Session, make_user: Callable[..., User]
) -> None:
    old = create_session(user=session.user, title="Old")
    Session.objects.filter(id=old.id).update(updated_at=timezone.now() - timedelta(days=400))
    User.objects.filter(id=session.user_id).update(time_zone="No/Such_Zone")
    html = page.get(reverse("home")).content.decode()
    assert html.index("Today") < html.index("Recursion") < html.index("Old")


# --- who wrote it -----------------------------------------------------------------------------


def test_a_message_that_a_bot_sent_says_who_wrote_it(page: Client, session: Session) -> None:
    message = say(session, "user", text("hello"))
    Message.objects.filter(pk=message.pk).update(origin="bot", author=f"Bob {HOSTILE}")
    drawn = page.get(address(session)).content.decode()
    assert HOSTILE not in drawn
    assert drawn.count("Bob &lt;script&gt;") == 2
    assert '<bdi class="author">Bob' in drawn


def test_a_message_of_the_page_bears_no_name(page: Client, session: Session) -> None:
    say(session, "user", text("hello"))
    drawn = page.get(address(session)).content.decode()
    assert '<h2 class="visually-hidden">You</h2>' in drawn
    assert "<bdi" not in drawn
